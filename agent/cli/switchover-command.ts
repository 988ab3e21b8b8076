import type { Command } from 'commander'
import { systemClock } from '../clock.ts'
import { addExamples } from '../config/command-line.ts'
import { addFlags, group, readFlags } from '../config/setting.ts'
import { ANY_POD } from '../lease/operator-annotations.ts'
import type { Request } from './request-run.ts'
import { REQUEST_SETTINGS, TO } from './request-settings.ts'
import type { Plan } from './switchover.ts'
import type { Switched } from './switchover-progress.ts'

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
    const request = await handover(to ?? ANY_POD, options.reason)
    process.exitCode = await runRequest(command, request, options)
  })
}

/** A switchover. @param to the name of a pod, or `*` */
export async function handover(to: string, reason: string | null): Promise<Request<Plan, Switched>> {
  const { describeRequested, question, readPlan, requestSwitchover } = await import('./switchover.ts')
  const progress = await import('./switchover-progress.ts')
  return {
    plan: (cluster) => readPlan(cluster, systemClock, to),
    question,
    write: (cluster, confirmed) => requestSwitchover(cluster, systemClock, to, confirmed, reason),
    requested: ({ from, candidates }) => ({ asked: to, from, candidates }),
    describeRequested,
    follow: (cluster, plan, follow) => progress.followSwitchover(cluster, systemClock, plan, follow),
    phaseLine: progress.switchoverLine,
    outcome: (switched, plan) => {
      const ok = !progress.isElsewhere(switched, plan)
      const result = { result: ok ? 'switched' : 'elsewhere', asked: to, ...switched }
      return { ok, result, text: progress.describeSwitched(switched, plan) }
    },
  }
}
