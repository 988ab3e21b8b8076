import { group, onOff, optional, setting } from '../config/setting.ts'
import { parseDuration } from '../config/values.ts'
import { ANY_POD, describeTarget, LONGEST_REASON } from '../lease/operator-annotations.ts'
import { DRY_RUN, OPERATE_SETTINGS, OUTPUT_SETTINGS } from './cluster-settings.ts'

export const TO = optional('<pod>', describeTarget(ANY_POD), 'the next leader', parsePod)

/** The flags of commands that request something from the leader. */
export const REQUEST_SETTINGS = {
  ...group('Request', {
    reason: optional('<text>', 'none', 'the reason, for the log, the Event and the history', parseReason),
    yes: { ...onOff('do not ask for confirmation; required if there is no terminal'), short: '-y' },
    wait: setting(
      '[boolean]',
      'true',
      'wait until LangFlow serves again; --wait=false returns after the request is written',
      parseBoolean,
    ),
    timeoutMs: setting(
      '<duration>',
      '2m',
      'how long to wait; after that, the request is withdrawn unless the leader has already begun to obey it',
      (text) => parseDuration(text, 1_000),
    ),
    dryRun: DRY_RUN,
  }),
  ...OPERATE_SETTINGS,
  ...OUTPUT_SETTINGS,
}

export function parseReason(text: string): string {
  if (text.length > LONGEST_REASON) throw new Error(`use at most ${LONGEST_REASON} characters`)
  if (/\p{Cc}/u.test(text)) throw new Error('use one line without control characters')
  if (text.trim() === '') throw new Error('give a reason, or remove the flag')
  return text.trim()
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
