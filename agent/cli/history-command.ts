import type { Command } from 'commander'
import { addExamples } from '../config/command-line.ts'
import { historyOptions } from './cluster-settings.ts'

export function addHistory(program: Command): void {
  const command = program
    .command('history')
    .description('the last terms: who led, why each began and ended, and how long nobody served')
  const options = historyOptions(command)
  addExamples(command, [
    ['The terms that the Lease remembers, newest first', '-n langflow'],
    ['The longest time without a server, in milliseconds', "-o json | jq '[.terms[].gapMs // 0] | max'"],
  ])
  command.action(async () => {
    const { output, url, ...at } = options()
    const { formatted, operating, paintFor, write } = await import('./output.ts')
    const { historyTable } = await import('./history-table.ts')
    const { sourceOf } = await import('./status-source.ts')
    await operating(output, async () => {
      using source = await sourceOf(url, at)
      const terms = await source.history()
      const asTable = () => historyTable(terms, Date.now(), paintFor(process.stdout))
      await write(formatted(output, { terms }, asTable))
    })
  })
}
