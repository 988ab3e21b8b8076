import type { Command } from 'commander'
import { systemClock } from '../clock.ts'
import { addExamples } from '../config/command-line.ts'
import { addFlags, group, readFlags } from '../config/setting.ts'
import { ANY_POD } from '../lease/operator-annotations.ts'
import type { FailedOver, FailoverPlan } from './failover.ts'
import type { Request } from './request-run.ts'
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
    process.exitCode = await runRequest(command, await failover(to ?? ANY_POD, options.reason), options)
  })
}

/** @param to the name of a pod, or `*` */
async function failover(to: string, reason: string | null): Promise<Request<FailoverPlan, FailedOver>> {
  const cli = await import('./failover.ts')
  const { phaseLine } = await import('./following.ts')
  return {
    plan: (cluster) => cli.readFailoverPlan(cluster, systemClock, to),
    question: cli.failoverQuestion,
    write: (cluster, confirmed) => cli.requestFailover(cluster, systemClock, to, confirmed, reason),
    requested: ({ from, able }) => ({ asked: to, from, able }),
    describeRequested: cli.describeFailoverRequest,
    follow: (cluster, plan, follow) => cli.followFailover(cluster, systemClock, plan, follow),
    phaseLine,
    outcome: (done, plan) => {
      const ok = !cli.failedElsewhere(done, plan)
      const result = { result: ok ? 'failed_over' : 'elsewhere', asked: to, ...done }
      return { ok, result, text: cli.describeFailedOver(done, plan) }
    },
  }
}
