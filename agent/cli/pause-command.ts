import type { Command } from 'commander'
import { addExamples } from '../config/command-line.ts'
import { addFlags, group, optional, readFlags, type Values } from '../config/setting.ts'
import { parseDuration } from '../config/values.ts'
import { UNTIL_RESUMED } from '../lease/operator-annotations.ts'
import { DRY_RUN, OPERATE_SETTINGS, OUTPUT_SETTINGS } from './cluster-settings.ts'
import { parseReason } from './request-settings.ts'

export const PAUSE_SETTINGS = {
  ...group('Pause', {
    forMs: optional('<duration>', UNTIL_RESUMED, 'the duration of the pause, such as 30m', (text) =>
      parseDuration(text, 10_000),
    ),
    reason: optional('<text>', 'none', 'the reason, which status shows', parseReason),
    dryRun: DRY_RUN,
  }),
  ...OPERATE_SETTINGS,
  ...OUTPUT_SETTINGS,
}

export const RESUME_SETTINGS = {
  ...group('Resume', { dryRun: DRY_RUN }),
  ...OPERATE_SETTINGS,
  ...OUTPUT_SETTINGS,
}

export type PauseOptions = Values<typeof PAUSE_SETTINGS>
export type ResumeOptions = Values<typeof RESUME_SETTINGS>

export function addPause(program: Command): void {
  const command = program
    .command('pause')
    .description('pause takeovers: the leader stays, and a LangFlow that fails is not restarted')
  addFlags(command, PAUSE_SETTINGS)
  addExamples(command, [
    ['Pause for 30 minutes, and give a reason', '--for 30m --reason "network maintenance"'],
    ['Pause until langflow-leader resume', ''],
    ['Change the end to one hour from now, and keep the reason', '--for 1h'],
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
