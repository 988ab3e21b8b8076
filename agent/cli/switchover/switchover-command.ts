import type { Command } from 'commander'
import { addExamples } from '../../config/command-line.ts'
import { addFlags, group, onOff, optional, readFlags, setting, type Values } from '../../config/setting.ts'
import { parseDuration } from '../../config/values.ts'
import {
  ANY_POD,
  describeTarget,
  LONGEST_REASON,
  type OperatorRequest,
} from '../../lease/operator-annotations.ts'
import { OPERATE_SETTINGS, OUTPUT_SETTINGS } from '../cluster-settings.ts'

const TO = group('Request', { to: optional('<pod>', describeTarget(ANY_POD), 'the next leader', podName) })

export const RESUME_SETTINGS = { ...OPERATE_SETTINGS, ...OUTPUT_SETTINGS }
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
  ...RESUME_SETTINGS,
}
const NOW = group('Request', { now: onOff('do not wait for a moment without requests in flight') })
export const FAILOVER_SETTINGS = { ...TO, ...REQUEST_SETTINGS }
export const SWITCHOVER_SETTINGS = { ...NOW, ...FAILOVER_SETTINGS }
export const RESTART_SETTINGS = {
  ...group('Request', {
    inPlace: onOff('stop and start LangFlow in the leader’s pod; users wait for the start'),
  }),
  ...NOW,
  ...REQUEST_SETTINGS,
}
type Options = Values<typeof REQUEST_SETTINGS> &
  Partial<Values<typeof SWITCHOVER_SETTINGS> & Values<typeof RESTART_SETTINGS>>

export function addSwitchover(program: Command): void {
  addRequest(program, 'switchover', 'hand over to another replica', SWITCHOVER_SETTINGS, [
    ['Report whether a handover is possible', ''],
    ['Hand over to one pod', '--to langflow-1 --yes'],
    ['Hand over without a wait for the requests in flight', '--now --yes'],
  ])
}

export function addFailover(program: Command): void {
  const about = 'take the leadership from a leader that renews its Lease, but does not answer'
  addRequest(program, 'failover', about, FAILOVER_SETTINGS, [
    ['Take the leadership from the leader', '--yes'],
    ['Give it to one pod, with a reason', '--to langflow-1 --reason "its fronts are cut off" --yes'],
  ])
}

export function addRestart(program: Command): void {
  const about = 'replace the LangFlow that serves by a new one: by a handover, or in place'
  addRequest(program, 'restart', about, RESTART_SETTINGS, [
    ['Hand over to a LangFlow that has just been prepared', '--reason "it leaks memory" --yes'],
    ['Restart LangFlow in its pod, for example if there is only one replica', '--in-place --yes'],
  ])
}

function addRequest(
  program: Command,
  name: OperatorRequest['what'],
  about: string,
  settings: typeof REQUEST_SETTINGS,
  examples: Parameters<typeof addExamples>[1],
): void {
  const command = program.command(name).description(about)
  addFlags(command, settings)
  addExamples(command, examples)
  command.action(async () => {
    const { to = null, inPlace = false, now = false, ...options } = readFlags(command, settings) as Options
    const { runRequest } = await import('./switchover-progress.ts')
    const what = name === 'restart' && !inPlace ? 'switchover' : name
    process.exitCode = await runRequest({ what, to: inPlace ? '' : (to ?? ANY_POD), now }, options)
  })
}

export function parseReason(text: string): string {
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
