import type { Command } from 'commander'
import { addExamples } from '../config/command-line.ts'
import { addFlags, group, optional, readFlags, type Values } from '../config/setting.ts'
import { parseDuration } from '../config/values.ts'
import { LONGEST_REASON, UNTIL_RESUMED } from '../lease/operator-annotations.ts'
import { OPERATE_SETTINGS, OUTPUT_SETTINGS } from './cluster-settings.ts'

export const PAUSE_SETTINGS = {
  ...group('Pause', {
    forMs: optional('<duration>', UNTIL_RESUMED, 'how long it lasts, such as 30m', (text) =>
      parseDuration(text, 10_000),
    ),
    reason: optional('<text>', 'none', 'why, for whoever looks', parseReason),
  }),
  ...OPERATE_SETTINGS,
  ...OUTPUT_SETTINGS,
}

export const RESUME_SETTINGS = { ...OPERATE_SETTINGS, ...OUTPUT_SETTINGS }

export type PauseOptions = Values<typeof PAUSE_SETTINGS>
export type ResumeOptions = Values<typeof RESUME_SETTINGS>

export function addPause(program: Command): void {
  const command = program
    .command('pause')
    .description('let no takeover start and leave LangFlow alone, for a while')
  addFlags(command, PAUSE_SETTINGS)
  addExamples(command, [
    ['For half an hour, and say why', '--for 30m --reason "database upgrade"'],
    ['Until somebody resumes', ''],
    ['An hour from now instead, for the same reason', '--for 1h'],
  ])
  command.action(async () => {
    const options = readFlags(command, PAUSE_SETTINGS)
    const { runPause } = await import('./pause.ts')
    process.exitCode = await runPause(options)
  })
}

export function addResume(program: Command): void {
  const command = program.command('resume').description('end a pause')
  addFlags(command, RESUME_SETTINGS)
  addExamples(command, [['End the pause of the Lease in namespace team', '-n team']])
  command.action(async () => {
    const options = readFlags(command, RESUME_SETTINGS)
    const { runResume } = await import('./pause.ts')
    process.exitCode = await runResume(options)
  })
}

function parseReason(text: string): string {
  if (text.length > LONGEST_REASON) throw new Error(`use at most ${LONGEST_REASON} characters`)
  if (/\p{Cc}/u.test(text)) throw new Error('use one line, without control characters')
  if (text.trim() === '') throw new Error('say why, or leave it out')
  return text.trim()
}
