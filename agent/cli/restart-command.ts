import type { Command } from 'commander'
import { systemClock } from '../clock.ts'
import { addExamples } from '../config/command-line.ts'
import { addFlags, group, onOff, readFlags } from '../config/setting.ts'
import { ANY_POD } from '../lease/operator-annotations.ts'
import type { Request } from './request-run.ts'
import { REQUEST_SETTINGS } from './request-settings.ts'
import type { Restarted, RestartPlan } from './restart.ts'
import { handover } from './switchover-command.ts'

export const RESTART_SETTINGS = {
  ...group('Request', {
    inPlace: onOff(
      'stop and start LangFlow in the leader’s pod, instead of a handover; users wait for the start',
    ),
  }),
  ...REQUEST_SETTINGS,
}

export function addRestart(program: Command): void {
  const command = program
    .command('restart')
    .description('replace the LangFlow that serves by a new one: by a handover, or in place')
  addFlags(command, RESTART_SETTINGS)
  addExamples(command, [
    ['Hand over to a LangFlow that has just been prepared, with a reason', '--reason "it leaks memory"'],
    ['Restart LangFlow in its pod, for example if there is only one replica', '--in-place --yes'],
  ])
  command.action(async () => {
    const { inPlace: isInPlace, ...options } = readFlags(command, RESTART_SETTINGS)
    const { runRequest } = await import('./request-run.ts')
    const { reason } = options
    process.exitCode = isInPlace
      ? await runRequest(command, await inPlace(reason), options)
      : await runRequest(command, await byHandover(reason), options)
  })
}

/** A switchover, which also names the alternative if no replica can take over. */
async function byHandover(reason: string | null): ReturnType<typeof handover> {
  const { OperationError } = await import('./exit-codes.ts')
  const request = await handover(ANY_POD, reason)
  const advise = (error: unknown): never => {
    if (!(error instanceof OperationError) || error.code !== 'not_ready') throw error
    throw new OperationError('not_ready', `${error.message}; add --in-place to restart it without a handover`)
  }
  return {
    ...request,
    plan: (cluster) => request.plan(cluster).catch(advise),
    write: (cluster, confirmed) => request.write(cluster, confirmed).catch(advise),
  }
}

async function inPlace(reason: string | null): Promise<Request<RestartPlan, Restarted>> {
  const cli = await import('./restart.ts')
  const { phaseLine } = await import('./following.ts')
  return {
    plan: (cluster) => cli.readRestartPlan(cluster, systemClock),
    question: cli.restartQuestion,
    write: (cluster, confirmed) => cli.requestRestart(cluster, systemClock, confirmed, reason),
    requested: ({ from }) => ({ from }),
    describeRequested: cli.describeRestartRequest,
    follow: (cluster, plan, follow) => cli.followRestart(cluster, systemClock, plan, follow),
    phaseLine,
    outcome: (done) => {
      return { ok: true, result: { result: 'restarted', ...done }, text: cli.describeRestarted(done) }
    },
  }
}
