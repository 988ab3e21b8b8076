import type { Command } from 'commander'
import { addExamples } from '../config/command-line.ts'
import type { Settings, Values } from '../config/setting.ts'
import { addFlags, choice, group, onOff, optional, readFlags, setting } from '../config/setting.ts'
import { parseDuration } from '../config/values.ts'
import { ANY_POD, describeTarget, LONGEST_REASON, UNTIL_RESUMED } from '../lease/operator-annotations.ts'
import { OPERATE_SETTINGS, OUTPUT_SETTINGS } from './cluster-settings.ts'
import type { Format } from './output.ts'
import type { runRequest } from './switchover/switchover-progress.ts'

// The commands that read one Lease or write its annotations. Each loads its code when it runs: an agent from the same file loads none.

const FORMATS = choice(['table', 'wide', 'json', 'yaml'], 'the output format (wide adds columns)')
export const STATUS_SETTINGS = {
  ...OPERATE_SETTINGS,
  ...group('Output', { output: { ...FORMATS, short: '-o' } }),
}
export const COMMON_SETTINGS = { ...OPERATE_SETTINGS, ...OUTPUT_SETTINGS }

const TO = group('Request', { to: optional('<pod>', describeTarget(ANY_POD), 'the next leader', podName) })
const NOW = group('Request', { now: onOff('do not wait for a moment without requests in flight') })
export const REQUEST_SETTINGS = {
  ...group('Request', {
    reason: optional('<text>', 'none', 'the reason, for the log and the Event', parseReason),
    yes: {
      ...onOff('write the request; without it, the command only checks whether the request is possible'),
      short: '-y',
    },
    timeoutMs: setting(
      '<duration>',
      '2m',
      'how long to wait; after that, the request is withdrawn unless the leader has already begun to obey it',
      (text) => parseDuration(text, 1_000),
    ),
  }),
  ...COMMON_SETTINGS,
}
const DEAD = group('Request', {
  membersDead: onOff(
    'the leader and all its failsafe members are dead: let another replica follow without --failsafe-max',
  ),
})
export const FAILOVER_SETTINGS = { ...TO, ...DEAD, ...REQUEST_SETTINGS }
export const SWITCHOVER_SETTINGS = { ...NOW, ...TO, ...REQUEST_SETTINGS }
export const RESTART_SETTINGS = {
  ...group('Request', {
    inPlace: onOff('stop and start LangFlow in the leader’s pod; users wait for the start'),
  }),
  ...NOW,
  ...REQUEST_SETTINGS,
}

export const PAUSE_SETTINGS = {
  ...group('Pause', {
    forMs: optional('<duration>', UNTIL_RESUMED, 'the duration of the pause, such as 30m', (text) =>
      parseDuration(text, 10_000),
    ),
    reason: optional('<text>', 'none', 'the reason, which status shows', parseReason),
  }),
  ...COMMON_SETTINGS,
}

export const REPORT_SETTINGS = {
  ...group('Report', {
    file: optional(
      '<path>',
      'langflow-leader-report-<namespace>-<time>.txt',
      'the file to write, which must not exist; - for standard output',
      (text) => text,
    ),
  }),
  ...OPERATE_SETTINGS,
}

export function addOperations(program: Command): void {
  add(program, 'status', {
    about: 'show the leader, the standbys, and why a standby is not ready',
    settings: STATUS_SETTINGS,
    examples: [
      ['Show the replicas in the current namespace', ''],
      ['Ask one agent, without the API server', '--url http://127.0.0.1:8090'],
      [
        'Print the pods that can take over',
        "-o json | jq -r '.replicas[] | select(.status.couldTakeOver).pod'",
      ],
    ],
    run: async (options) => (await import('./status-table.ts')).runStatus(options),
  })
  add(program, 'history', {
    about: 'show the last terms: the leader, why the term began and ended, and the time without a server',
    settings: COMMON_SETTINGS,
    examples: [
      ['Show the recorded terms, newest first', '-n langflow'],
      [
        'Print the longest time without a server, in milliseconds',
        "-o json | jq '[.terms[].gapMs // 0] | max'",
      ],
    ],
    run: async (options) => (await import('./status-table.ts')).runHistory(options),
  })
  add(program, 'switchover', {
    about: 'hand over to another replica',
    settings: SWITCHOVER_SETTINGS,
    examples: [
      ['Report whether a handover is possible', ''],
      ['Hand over to one pod', '--to langflow-1 --yes'],
      ['Hand over without a wait for the requests in flight', '--now --yes'],
    ],
    run: ({ to, now, ...options }) => request({ what: 'switchover', to: to ?? ANY_POD, now }, options),
  })
  add(program, 'failover', {
    about: 'take the leadership from a leader that renews its Lease, but does not answer',
    settings: FAILOVER_SETTINGS,
    examples: [
      ['Take the leadership from the leader', '--yes'],
      ['Replace a leader that was lost together with its failsafe members', '--members-dead --yes'],
    ],
    run: ({ to, membersDead, ...options }) =>
      request({ what: 'failover', to: to ?? ANY_POD, now: false, membersDead }, options),
  })
  add(program, 'restart', {
    about: 'replace the LangFlow that serves by a new one: by a handover, or in place',
    settings: RESTART_SETTINGS,
    examples: [
      ['Hand over to a LangFlow that has just been prepared', '--reason "it leaks memory" --yes'],
      ['Restart LangFlow in its pod, for example if there is only one replica', '--in-place --yes'],
    ],
    run: ({ inPlace, now, ...options }) =>
      request(inPlace ? { what: 'restart', to: '', now } : { what: 'switchover', to: ANY_POD, now }, options),
  })
  add(program, 'pause', {
    about: 'pause takeovers: the leader stays, and a LangFlow that fails is not restarted',
    settings: PAUSE_SETTINGS,
    examples: [
      ['Pause for 30 minutes, and give a reason', '--for 30m --reason "network maintenance"'],
      ['Change the end to one hour from now, and keep the reason', '--for 1h'],
    ],
    run: async ({ forMs, reason, ...options }) =>
      (await import('./switchover/pause.ts')).runPause(options, { forMs, reason }),
  })
  add(program, 'resume', {
    about: 'end a pause',
    settings: COMMON_SETTINGS,
    examples: [['End the pause of the Lease in namespace team', '-n team']],
    run: async (options) => (await import('./switchover/pause.ts')).runPause(options, null),
  })
  add(program, 'report', {
    about: 'write status, history, settings and logs of langflow-leader into one text file',
    settings: REPORT_SETTINGS,
    examples: [
      ['Write a file for an issue or a colleague', '-n langflow'],
      ['Print the report', '--file - | less'],
    ],
    run: async (options) => (await import('./report/report.ts')).runReport(options),
  })
}

interface Operation<S extends Settings> {
  readonly about: string
  readonly settings: S
  readonly examples: Parameters<typeof addExamples>[1]
  /** Resolves to the exit code. */
  readonly run: (options: Values<S>) => Promise<number>
}

function add<S extends Settings>(program: Command, name: string, operation: Operation<S>): void {
  const { about, settings, examples, run } = operation
  const command = program.command(name).description(about)
  addFlags(command, settings)
  addExamples(command, examples)
  command.action(async () => {
    const options = readFlags(command, settings)
    const { operating } = await import('./output.ts')
    const format = 'output' in options ? (options.output as Format) : 'table'
    process.exitCode = await operating(format, () => run(options))
  })
}

async function request(...asked: Parameters<typeof runRequest>): Promise<number> {
  return (await import('./switchover/switchover-progress.ts')).runRequest(...asked)
}

function parseReason(text: string): string {
  if (text.length > LONGEST_REASON) throw new Error(`use at most ${LONGEST_REASON} characters`)
  if (/\p{Cc}/u.test(text)) throw new Error('use one line without control characters')
  if (text.trim() === '') throw new Error('give a reason, or remove the flag')
  return text.trim()
}

/** `pod/langflow-0`, as kubectl prints it, or the name alone, or `*` for the best prepared replica. */
function podName(text: string): string {
  if (text === '') throw new Error('name a pod, or remove the flag')
  return text.replace(/^pods?\//, '')
}
