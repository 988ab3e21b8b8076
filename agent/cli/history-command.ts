import type { Command } from 'commander'
import { addExamples } from '../config/command-line.ts'
import { addFlags, readFlags } from '../config/setting.ts'
import { OPERATE_SETTINGS, OUTPUT_SETTINGS } from './cluster-settings.ts'

export const HISTORY_SETTINGS = { ...OPERATE_SETTINGS, ...OUTPUT_SETTINGS }

export function addHistory(program: Command): void {
  const command = program
    .command('history')
    .description(
      'show the last terms: the leader, why the term began and ended, and the time without a server',
    )
  addFlags(command, HISTORY_SETTINGS)
  addExamples(command, [
    ['Show the recorded terms, newest first', '-n langflow'],
    [
      'Print the longest time without a server, in milliseconds',
      "-o json | jq '[.terms[].gapMs // 0] | max'",
    ],
  ])
  command.action(async () => {
    const { output, ...from } = readFlags(command, HISTORY_SETTINGS)
    const { formatted, operating, write } = await import('./output.ts')
    const { historyTable } = await import('./history-table.ts')
    const { sourceOf } = await import('./overview.ts')
    await operating(output, async () => {
      using source = await sourceOf(from)
      const terms = await source.history()
      await write(formatted(output, { terms }, () => historyTable(terms, Date.now())))
    })
  })
}
