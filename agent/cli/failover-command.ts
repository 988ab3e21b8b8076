import type { Command } from 'commander'
import { addExamples } from '../config/command-line.ts'
import { addFlags, group, readFlags } from '../config/setting.ts'
import { ANY_POD } from '../lease/operator-annotations.ts'
import { REQUEST_SETTINGS, TO } from './request-settings.ts'

export const FAILOVER_SETTINGS = { ...group('Request', { to: TO }), ...REQUEST_SETTINGS }

export function addFailover(program: Command): void {
  const command = program
    .command('failover')
    .description('take the leadership from a leader that renews its Lease, but does not answer')
  addFlags(command, FAILOVER_SETTINGS)
  addExamples(command, [
    ['Take the leadership from the leader, after a confirmation', ''],
    ['Give it to one pod, with a reason', '--to langflow-1 --reason "its fronts are cut off"'],
    ['Report whether the failover would be requested', '--dry-run'],
  ])
  command.action(async () => {
    const { to, ...options } = readFlags(command, FAILOVER_SETTINGS)
    const { runRequest } = await import('./request-run.ts')
    const { failover } = await import('./failover.ts')
    process.exitCode = await runRequest(command, failover(to ?? ANY_POD, options.reason), options)
  })
}
