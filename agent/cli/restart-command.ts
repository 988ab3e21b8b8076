import type { Command } from 'commander'
import { addExamples } from '../config/command-line.ts'
import { addFlags, group, onOff, readFlags } from '../config/setting.ts'
import { ANY_POD } from '../lease/operator-annotations.ts'
import type { Request } from './request-run.ts'
import { REQUEST_SETTINGS } from './request-settings.ts'
import type { Plan } from './switchover.ts'
import type { Switched } from './switchover-progress.ts'

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
    const { inPlace, ...options } = readFlags(command, RESTART_SETTINGS)
    const { runRequest } = await import('./request-run.ts')
    const { restartInPlace } = await import('./restart.ts')
    const { reason } = options
    process.exitCode = inPlace
      ? await runRequest(command, restartInPlace(reason), options)
      : await runRequest(command, await byHandover(reason), options)
  })
}

/** A switchover, which also names the alternative if no replica can take over. */
async function byHandover(reason: string | null): Promise<Request<Plan, Switched>> {
  const { OperationError } = await import('./exit-codes.ts')
  const { switchover } = await import('./switchover-progress.ts')
  const request = switchover(ANY_POD, reason)
  const plan: typeof request.plan = (lease, rows) => {
    try {
      return request.plan(lease, rows)
    } catch (error) {
      if (!(error instanceof OperationError) || error.code !== 'not_ready') throw error
      const advice = 'add --in-place to restart it without a handover'
      throw new OperationError('not_ready', `${error.message}; ${advice}`)
    }
  }
  return { ...request, plan }
}
