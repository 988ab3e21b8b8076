import type { Command } from 'commander'
import { addExamples } from '../../config/command-line.ts'
import { addFlags, group, optional, readFlags } from '../../config/setting.ts'
import { OPERATE_SETTINGS } from '../cluster-settings.ts'

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

export function addReport(program: Command): void {
  const command = program
    .command('report')
    .description('write status, history, settings and logs of langflow-leader into one text file')
  addFlags(command, REPORT_SETTINGS)
  addExamples(command, [
    ['Write a file for an issue or a colleague', '-n langflow'],
    ['Print the report', '--file - | less'],
  ])
  command.action(async () => {
    const { runReport } = await import('./report.ts')
    process.exitCode = await runReport(readFlags(command, REPORT_SETTINGS))
  })
}
