import type { Command } from 'commander'
import { systemClock } from '../clock.ts'
import { addExamples } from '../config/command-line.ts'
import { addFlags, group, onOff, optional, readFlags, setting, type Values } from '../config/setting.ts'
import { parseDuration } from '../config/values.ts'
import { print } from '../exit.ts'
import { ANY_POD, describeTarget } from '../lease/operator-annotations.ts'
import { DRY_RUN, OPERATE_SETTINGS, OUTPUT_SETTINGS } from './cluster-settings.ts'
import type { Terminal } from './terminal.ts'

export const SWITCHOVER_SETTINGS = {
  ...group('Switchover', {
    to: optional('<pod>', describeTarget(ANY_POD), 'the next leader', parsePod),
    yes: { ...onOff('do not ask for confirmation; required if there is no terminal'), short: '-y' },
    wait: setting(
      '[boolean]',
      'true',
      'wait until the next leader serves; --wait=false returns after the request is written',
      parseBoolean,
    ),
    timeoutMs: setting(
      '<duration>',
      '2m',
      'how long to wait; after that, the request is withdrawn unless the handover has already started',
      (text) => parseDuration(text, 1_000),
    ),
    dryRun: DRY_RUN,
  }),
  ...OPERATE_SETTINGS,
  ...OUTPUT_SETTINGS,
}

export function addSwitchover(program: Command): void {
  const command = program.command('switchover').description('hand over to another replica')
  addFlags(command, SWITCHOVER_SETTINGS)
  addExamples(command, [
    ['Hand over to the best prepared replica, after a confirmation', ''],
    ['Hand over to one pod, without a confirmation', '--to langflow-1 --yes'],
    ['Report whether the handover would be requested', '--dry-run'],
    ['Print the phases and the time without a server, for a script', '--yes -o json'],
    ['Request the handover, and do not wait for it', '--yes --wait=false'],
  ])
  command.action(async () => {
    const options = readFlags(command, SWITCHOVER_SETTINGS)
    const { terminalToAskOn } = await import('./terminal.ts')
    const terminal = terminalToAskOn(command, options.yes || options.dryRun)
    const { operating } = await import('./output.ts')
    process.exitCode = await operating(options.output, () => switchover(options, terminal))
  })
}

/** Resolves to the exit code. @param terminal the terminal for the confirmation; `null` skips the confirmation */
async function switchover(
  { to, wait, timeoutMs, output, ...at }: Values<typeof SWITCHOVER_SETTINGS>,
  terminal: Terminal | null,
): Promise<number> {
  const { Cluster } = await import('./cluster.ts')
  const { EXIT_CODES } = await import('./exit-codes.ts')
  const { formatted, write } = await import('./output.ts')
  const { describeRequested, question, readPlan, requestSwitchover } = await import('./switchover.ts')
  const progress = await import('./switchover-progress.ts')
  const { confirm, interruption } = await import('./terminal.ts')
  using interrupted = interruption()
  const { signal } = interrupted
  using cluster = await Cluster.connect(at)
  const asked = to ?? ANY_POD
  const confirmed = terminal === null ? null : await readPlan(cluster, systemClock, asked)
  if (terminal !== null && confirmed !== null) await confirm(terminal, question(confirmed), signal)
  const plan = await requestSwitchover(cluster, systemClock, asked, confirmed)
  if (!wait || at.dryRun) {
    const { from, candidates } = plan
    const result = { result: at.dryRun ? 'would_request' : 'requested', asked, from, candidates }
    await write(formatted(output, result, () => describeRequested(plan, at.dryRun)))
    return EXIT_CODES.fine
  }
  const show = output === 'table' ? print : (line: string) => void process.stderr.write(line)
  const switched = await progress.followSwitchover(cluster, systemClock, plan, {
    timeoutMs,
    signal,
    tell: (phase) => show(progress.phaseLine(phase)),
  })
  const isElsewhere = progress.isElsewhere(switched, plan)
  const result = { result: isElsewhere ? 'elsewhere' : 'switched', asked, ...switched }
  await write(formatted(output, result, () => progress.describeSwitched(switched, plan)))
  return isElsewhere ? EXIT_CODES.failed : EXIT_CODES.fine
}

/** `pod/langflow-0`, as kubectl prints it, or the name alone, or `*` for the best prepared replica. */
function parsePod(text: string): string {
  const name = text.replace(/^pods?\//, '')
  if (name === ANY_POD || /^[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?$/.test(name)) return name
  throw new Error('use the name of a pod, such as langflow-1, or remove the flag')
}

/** The flag without a value is `true`. */
function parseBoolean(text: string): boolean {
  if (text === 'true' || text === 'false') return text === 'true'
  throw new Error('use true or false')
}
