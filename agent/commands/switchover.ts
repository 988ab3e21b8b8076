import type { Command } from 'commander'
import { systemClock } from '../clock.ts'
import { addExamples } from '../config/examples.ts'
import { addSettings, readSettings, type Values } from '../config/setting.ts'
import { SWITCHOVER_SETTINGS } from '../operate/switchover-settings.ts'

export function addSwitchover(program: Command): void {
  const command = program
    .command('switchover')
    .description('have another replica lead, now and in the planned order')
  addSettings(command, SWITCHOVER_SETTINGS)
  addExamples(command, [
    ['Ask, then hand over to whoever is prepared best, and look on', ''],
    ['Hand over to one pod, without asking', '--to langflow-1 --yes'],
    ['For a script: the phases and the time without a server', '--yes -o json'],
    ['Only ask for it', '--yes --wait=false'],
  ])
  command.action(async () => {
    const options = readSettings(command, SWITCHOVER_SETTINGS, process.env)
    const { terminal } = await import('../operate/confirm.ts')
    const person = options.yes ? null : terminal(process)
    if (!options.yes && person === null) command.error('there is no terminal to ask on: add --yes')
    const { operating } = await import('../operate/output.ts')
    await operating(options.output, () => switchover(options, person))
  })
}

async function switchover(
  options: Values<typeof SWITCHOVER_SETTINGS>,
  person: import('../operate/confirm.ts').Terminal | null,
): Promise<void> {
  const { Cluster } = await import('../operate/cluster.ts')
  const { confirm } = await import('../operate/confirm.ts')
  const { interruption } = await import('../operate/interruption.ts')
  const { formatted, write } = await import('../operate/output.ts')
  const { ANYBODY, lookAt, requestSwitchover } = await import('../operate/switchover.ts')
  const { followSwitchover } = await import('../operate/switchover-progress.ts')
  const report = await import('../operate/switchover-report.ts')
  using interrupted = interruption()
  const { signal } = interrupted
  const { output, timeoutMs, to } = options
  const asked = to ?? ANYBODY
  const cluster = await Cluster.connect(options)
  try {
    const planned = person === null ? null : await lookAt(cluster, systemClock, asked)
    if (person !== null && planned !== null) await confirm(person, report.question(planned), signal)
    const plan = await requestSwitchover(cluster, systemClock, asked, planned)
    const { from } = plan
    if (!options.wait) {
      const result = { result: 'requested', asked, from }
      return await write(formatted(output, result, () => report.describeRequested(plan)))
    }
    const progress = output === 'table' ? process.stdout : process.stderr
    const switched = await followSwitchover(cluster, systemClock, plan, {
      timeoutMs,
      signal,
      tell: (phase) => progress.write(report.phaseLine(phase)),
    })
    const result = { result: 'switched', asked, ...switched }
    await write(formatted(output, result, () => report.describeSwitched(switched, plan)))
    if (report.isElsewhere(switched.to, asked)) process.exitCode = 1
  } finally {
    cluster.close()
  }
}
