import { eventually } from '../bench/takeover/wait.ts'
import { mono } from './client.ts'
import type { Installation } from './installation.ts'
import { type Moment, momentOf } from './moment.ts'
import { isAlive, nodeProgram } from './processes.ts'

/** Stops the API server for so long, right after a renewal: some of the grant is used up in any case. */
export async function withoutApiServer(one: Installation, ms: number): Promise<Moment> {
  await one.settled()
  const leader = await one.leader()
  await eventually('a renewal was acknowledged', 10_000, async () => {
    const { leadership } = await one.status(leader)
    return (leadership.killInMs ?? 0) > 13_700
  })
  const { pid } = nodeProgram('kube-apiserver')
  const moment = { ...(await momentOf(one)), from: mono(), wall: Date.now() }
  process.kill(pid, 'SIGSTOP')
  try {
    await eventually(`${ms} ms have passed`, 2 * ms, () => mono() - moment.from >= ms)
  } finally {
    if (isAlive(pid)) process.kill(pid, 'SIGCONT')
  }
  return moment
}
