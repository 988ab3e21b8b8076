import type { Command } from 'commander'
import { addExamples } from '../../config/command-line.ts'
import { addFlags, group, optional, readFlags } from '../../config/setting.ts'
import { parseDuration } from '../../config/values.ts'
import { UNTIL_RESUMED } from '../../lease/operator-annotations.ts'
import { parseReason, RESUME_SETTINGS } from './switchover-command.ts'

export const PAUSE_SETTINGS = {
  ...group('Pause', {
    forMs: optional('<duration>', UNTIL_RESUMED, 'the duration of the pause, such as 30m', (text) =>
      parseDuration(text, 10_000),
    ),
    reason: optional('<text>', 'none', 'the reason, which status shows', parseReason),
  }),
  ...RESUME_SETTINGS,
}

export function addPause(program: Command): void {
  const command = program
    .command('pause')
    .description('pause takeovers: the leader stays, and a LangFlow that fails is not restarted')
  addFlags(command, PAUSE_SETTINGS)
  addExamples(command, [
    ['Pause for 30 minutes, and give a reason', '--for 30m --reason "network maintenance"'],
    ['Change the end to one hour from now, and keep the reason', '--for 1h'],
  ])
  command.action(async () => {
    const { forMs, reason, ...options } = readFlags(command, PAUSE_SETTINGS)
    const { runPause } = await import('./pause.ts')
    process.exitCode = await runPause(options, { forMs, reason })
  })
}

export function addResume(program: Command): void {
  const command = program.command('resume').description('end a pause')
  addFlags(command, RESUME_SETTINGS)
  addExamples(command, [['End the pause of the Lease in namespace team', '-n team']])
  command.action(async () => {
    const { runPause } = await import('./pause.ts')
    process.exitCode = await runPause(readFlags(command, RESUME_SETTINGS), null)
  })
}
