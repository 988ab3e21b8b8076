import type { Command } from 'commander'
import { systemClock } from '../clock.ts'
import { addExamples } from '../config/command-line.ts'
import { addFlags, group, onOff, optional, readFlags, setting, type Values } from '../config/setting.ts'
import { parseDuration } from '../config/values.ts'
import { print } from '../exit.ts'
import { ANYBODY, describeTarget } from '../lease/operator-annotations.ts'
import { OPERATE_SETTINGS, OUTPUT_SETTINGS } from './cluster-settings.ts'
import type { Terminal } from './terminal.ts'

export const SWITCHOVER_SETTINGS = {
  ...group('Switchover', {
    to: optional('<pod>', describeTarget(ANYBODY), 'who is to lead', parsePod),
    yes: { ...onOff('do not ask; needed where there is no terminal to ask on'), short: '-y' },
    wait: setting(
      '[boolean]',
      'true',
      'look on until the other one serves; --wait=false returns once the Lease says what is wanted',
      parseBoolean,
    ),
    timeoutMs: setting(
      '<duration>',
      '2m',
      'how long to look on; the request is taken back then, unless the leader has begun with it',
      (text) => parseDuration(text, 1_000),
    ),
  }),
  ...OPERATE_SETTINGS,
  ...OUTPUT_SETTINGS,
}

export function addSwitchover(program: Command): void {
  const command = program
    .command('switchover')
    .description('have another replica lead, now and in the planned order')
  addFlags(command, SWITCHOVER_SETTINGS)
  addExamples(command, [
    ['Ask, then hand over to whoever is prepared best, and look on', ''],
    ['Hand over to one pod, without asking', '--to langflow-1 --yes'],
    ['For a script: the phases and the time without a server', '--yes -o json'],
    ['Only ask for it', '--yes --wait=false'],
  ])
  command.action(async () => {
    const options = readFlags(command, SWITCHOVER_SETTINGS)
    const { terminalToAskOn } = await import('./terminal.ts')
    const terminal = terminalToAskOn(command, options.yes)
    const { operating } = await import('./output.ts')
    process.exitCode = await operating(options.output, () => switchover(options, terminal))
  })
}

/** Resolves to the exit code. @param terminal where to ask for confirmation; `null`: do not ask */
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
  const asked = to ?? ANYBODY
  const confirmed = terminal === null ? null : await readPlan(cluster, systemClock, asked)
  if (terminal !== null && confirmed !== null) await confirm(terminal, question(confirmed), signal)
  const plan = await requestSwitchover(cluster, systemClock, asked, confirmed)
  if (!wait) {
    const result = { result: 'requested', asked, from: plan.from }
    await write(formatted(output, result, () => describeRequested(plan)))
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

/** As kubectl prints it, `pod/langflow-0`, or its name alone; `*`: the replica that is prepared best. */
function parsePod(text: string): string {
  const name = text.replace(/^pods?\//, '')
  if (name === ANYBODY || /^[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?$/.test(name)) return name
  throw new Error('give the name of a pod, such as langflow-1, or leave it out')
}

/** A flag alone says `true`. */
function parseBoolean(text: string): boolean {
  if (text === 'true' || text === 'false') return text === 'true'
  throw new Error('use true or false')
}
