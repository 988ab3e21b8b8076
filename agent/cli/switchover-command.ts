import type { Command } from 'commander'
import { addExamples } from '../config/command-line.ts'
import { addFlags, group, readFlags } from '../config/setting.ts'
import { ANY_POD } from '../lease/operator-annotations.ts'
import { REQUEST_SETTINGS, TO } from './request-settings.ts'

export const SWITCHOVER_SETTINGS = { ...group('Request', { to: TO }), ...REQUEST_SETTINGS }

export function addSwitchover(program: Command): void {
  const command = program.command('switchover').description('hand over to another replica')
  addFlags(command, SWITCHOVER_SETTINGS)
  addExamples(command, [
    ['Hand over to the best prepared replica, after a confirmation', ''],
    ['Hand over to one pod, without a confirmation', '--to langflow-1 --yes'],
    ['Report whether the handover would be requested', '--dry-run'],
    ['Print the phases and the time without a server, for a script', '--yes -o json'],
    ['Request the handover, and do not wait for it', '--yes --wait=false'],
  ])
  command.action(async () => {
    const { to, ...options } = readFlags(command, SWITCHOVER_SETTINGS)
    const { runRequest } = await import('./request-run.ts')
    const { switchover } = await import('./switchover-progress.ts')
    process.exitCode = await runRequest(command, switchover(to ?? ANY_POD, options.reason), options)
  })
}
