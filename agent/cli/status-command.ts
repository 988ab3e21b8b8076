import type { Command } from 'commander'
import { addExamples } from '../config/command-line.ts'
import { addFlags, choice, group, readFlags } from '../config/setting.ts'
import { OPERATE_SETTINGS, OUTPUT_SETTINGS } from './cluster-settings.ts'

export const STATUS_SETTINGS = {
  ...OPERATE_SETTINGS,
  ...group('Output', {
    output: {
      ...choice(['table', 'wide', 'json', 'yaml'], 'the output format (wide adds columns)'),
      short: '-o',
    },
  }),
}

export const HISTORY_SETTINGS = { ...OPERATE_SETTINGS, ...OUTPUT_SETTINGS }

export function addStatus(program: Command): void {
  const command = program
    .command('status')
    .description('show the leader, the standbys, and why a standby is not ready')
  addFlags(command, STATUS_SETTINGS)
  addExamples(command, [
    ['Show the replicas in the current namespace', ''],
    ['Ask one agent, without the API server', '--url http://127.0.0.1:8090'],
    [
      'Print the pods that can take over',
      "-o json | jq -r '.replicas[] | select(.status.couldTakeOver).pod'",
    ],
  ])
  command.action(async () => {
    const { runStatus } = await import('./status-table.ts')
    process.exitCode = await runStatus(readFlags(command, STATUS_SETTINGS))
  })
}

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
    const { runHistory } = await import('./status-table.ts')
    await runHistory(readFlags(command, HISTORY_SETTINGS))
  })
}
