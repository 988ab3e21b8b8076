import { group, optional } from '../config/setting.ts'
import { parseDuration } from '../config/values.ts'
import { LONGEST_REASON } from '../lease/operation.ts'
import { CLUSTER_SETTINGS, OUTPUT_SETTINGS } from './settings.ts'

export const PAUSE_SETTINGS = {
  ...group('Pause', {
    forMs: optional('<duration>', 'until somebody resumes', 'how long it lasts, such as 30m', (text) =>
      parseDuration(text, 1_000),
    ),
    reason: optional('<text>', 'none', 'why, for whoever looks', parseReason),
  }),
  ...CLUSTER_SETTINGS,
  ...OUTPUT_SETTINGS,
}

export const RESUME_SETTINGS = { ...CLUSTER_SETTINGS, ...OUTPUT_SETTINGS }

function parseReason(text: string): string {
  if (text.length > LONGEST_REASON) throw new Error(`use at most ${LONGEST_REASON} characters`)
  if (/\p{Cc}/u.test(text)) throw new Error('use one line, without control characters')
  if (text.trim() === '') throw new Error('say why, or leave it out')
  return text.trim()
}
