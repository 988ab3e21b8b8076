import type { Command } from 'commander'
import { systemClock } from '../clock.ts'
import { addExamples } from '../config/command-line.ts'
import { print } from '../exit.ts'
import { ANYBODY } from '../lease/operator-annotations.ts'
import type { Terminal } from './confirm.ts'
import { type SwitchoverOptions, switchoverOptions } from './switchover-settings.ts'

export function addSwitchover(program: Command): void {
  const command = program
    .command('switchover')
    .description('have another replica lead, now and in the planned order')
  const options = switchoverOptions(command)
  addExamples(command, [
    ['Ask, then hand over to whoever is prepared best, and look on', ''],
    ['Hand over to one pod, without asking', '--to langflow-1 --yes'],
    ['For a script: the phases and the time without a server', '--yes -o json'],
    ['Only ask for it', '--yes --wait=false'],
  ])
  command.action(async () => {
    const said = options()
    const { whomToAsk } = await import('./confirm.ts')
    const person = whomToAsk(command, said.yes)
    const { operating } = await import('./output.ts')
    process.exitCode = await operating(said.output, () => switchover(said, person))
  })
}

/** Resolves to the exit code. @param person whom to ask; `null`: nobody */
async function switchover(options: SwitchoverOptions, person: Terminal | null): Promise<number> {
  const { Cluster } = await import('./cluster.ts')
  const { confirm } = await import('./confirm.ts')
  const { EXIT_CODES } = await import('./exit-codes.ts')
  const { interruption } = await import('./interruption.ts')
  const { formatted, write } = await import('./output.ts')
  const { lookAt, requestSwitchover, unlessGivenUp } = await import('./switchover.ts')
  const { followSwitchover } = await import('./switchover-progress.ts')
  const report = await import('./switchover-report.ts')
  using interrupted = interruption()
  const { signal } = interrupted
  const { output, timeoutMs } = options
  const asked = options.to ?? ANYBODY
  using cluster = await Cluster.connect(options)
  const planned =
    person === null
      ? null
      : await unlessGivenUp(cluster, systemClock, { timeoutMs, signal }, (it) =>
          lookAt(it, systemClock, asked),
        )
  if (person !== null && planned !== null) await confirm(person, report.question(planned), signal)
  const plan = await unlessGivenUp(cluster, systemClock, { timeoutMs, signal }, (it) =>
    requestSwitchover(it, systemClock, asked, planned),
  )
  if (!options.wait) {
    const result = report.requestedResult(plan)
    await write(formatted(output, result, () => report.describeRequested(plan)))
    return EXIT_CODES.fine
  }
  const show = output === 'table' ? print : (line: string) => void process.stderr.write(line)
  const tell = (phase: Parameters<typeof report.phaseLine>[0]) => show(report.phaseLine(phase))
  const switched = await followSwitchover(cluster, systemClock, plan, { timeoutMs, signal, tell })
  const result = report.switchedResult(switched, plan)
  await write(formatted(output, result, () => report.describeSwitched(switched, plan)))
  return report.isElsewhere(switched, plan) ? EXIT_CODES.failed : EXIT_CODES.fine
}
