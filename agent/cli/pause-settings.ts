import type { Command } from 'commander'
import { addFlags, group, optional, readFlags, type Values } from '../config/setting.ts'
import { parseDuration } from '../config/values.ts'
import { LONGEST_REASON, UNTIL_RESUMED } from '../lease/operator-annotations.ts'
import { OPERATE_SETTINGS, OUTPUT_SETTINGS } from './cluster-settings.ts'

const PAUSE_SETTINGS = {
  ...group('Pause', {
    forMs: optional('<duration>', UNTIL_RESUMED, 'how long it lasts, such as 30m', (text) =>
      parseDuration(text, 10_000),
    ),
    reason: optional('<text>', 'none', 'why, for whoever looks', parseReason),
  }),
  ...OPERATE_SETTINGS,
  ...OUTPUT_SETTINGS,
}

const RESUME_SETTINGS = { ...OPERATE_SETTINGS, ...OUTPUT_SETTINGS }

export type PauseOptions = Values<typeof PAUSE_SETTINGS>
export type ResumeOptions = Values<typeof RESUME_SETTINGS>

// Each adds the flags to its command, and returns what reads them: it ends with a usage error where something is wrong.

export function pauseOptions(command: Command): () => PauseOptions {
  addFlags(command, PAUSE_SETTINGS)
  return () => readFlags(command, PAUSE_SETTINGS)
}

export function resumeOptions(command: Command): () => ResumeOptions {
  addFlags(command, RESUME_SETTINGS)
  return () => readFlags(command, RESUME_SETTINGS)
}

function parseReason(text: string): string {
  if (text.length > LONGEST_REASON) throw new Error(`use at most ${LONGEST_REASON} characters`)
  if (/\p{Cc}/u.test(text)) throw new Error('use one line, without control characters')
  if (text.trim() === '') throw new Error('say why, or leave it out')
  return text.trim()
}
