import { setTimeout as sleep } from 'node:timers/promises'
import type { AgentStatus } from '../../../agent/observe/status.ts'
import type { ControlPlane } from '../../e2e/control-plane.ts'
import type { Pod } from '../../support/pod.ts'
import { until } from '../../support/until.ts'
import { API_FREEZE_MS, type FaultName } from './faults.ts'
import { killPod, type Pair } from './pair.ts'
import type { Routes } from './routes.ts'

export interface Target {
  readonly pair: Pair
  readonly leader: Pod
  readonly plane: ControlPlane
  readonly routes: Routes
}

/** Strikes the leader. Resolves once the fault itself is over. */
export const STRIKE: Readonly<Record<FaultName, (target: Target) => Promise<void>>> = {
  async worker({ leader }) {
    process.kill(workerOf(leader), 'SIGKILL')
  },
  async replica({ leader }) {
    killPod(leader)
  },
  async switchover({ leader }) {
    leader.agent.signal('SIGTERM')
  },
  async agent({ pair, leader }) {
    leader.agent.signal('SIGKILL')
    await leader.agent.exited
    pair.restartAgent(leader)
  },
  async api({ leader, plane, routes }) {
    // One retry period later 12 s would be as long as the grant.
    await renewal(leader)
    routes.hold()
    plane.pause()
    try {
      await sleep(API_FREEZE_MS)
    } finally {
      plane.resume()
      routes.release()
    }
  },
}

/** Brings back what a fault has taken away. */
export const MEND: Readonly<Partial<Record<FaultName, (pair: Pair, struck: Pod) => Promise<void>>>> = {
  replica: (pair, struck) => pair.replace(struck),
  async switchover(pair, struck) {
    const { code } = await struck.agent.exited
    if (code !== 0) throw new Error(`the agent that was told to end ended with exit code ${code}`)
    pair.restartAgent(struck)
  },
}

/** Resolves soon after the leader's next renewal was acknowledged. */
async function renewal(leader: Pod): Promise<void> {
  let left = Number.POSITIVE_INFINITY
  await until('a renewal', async () => {
    const before = left
    left = (JSON.parse((await leader.get('/status')).text) as AgentStatus).leadership.killInMs ?? 0
    return left > before
  })
}

/** LangFlow's worker, as its launcher has found it. */
function workerOf(pod: Pod): number {
  const said = pod.container.lines.findLast(({ msg }) => /is served by pid/.test(msg ?? ''))
  const pid = /served by pid (\d+)/.exec(said?.msg ?? '')?.[1]
  if (pid === undefined) throw new Error(`${pod.options.identity} has no worker`)
  return pod.hostPid(Number(pid))
}
