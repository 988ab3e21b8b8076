import { setTimeout as sleep } from 'node:timers/promises'
import type { Pod } from '../../harness/pod.ts'
import { until } from '../../harness/wait.ts'
import type { Pair } from './pair.ts'
import type { Routes } from './routes.ts'

/** In the order of all tables. */
export const MODES = ['cold', 'warm'] as const
export type Mode = (typeof MODES)[number]

export interface Fault {
  readonly title: string
  /** Describes the fault in one sentence. */
  readonly about: string
  /** The fault's name in the overview. */
  readonly short: string
  /** True if another replica has to take over. */
  readonly moves?: true
  /** If no other replica has to take over: true if the same LangFlow process must continue. */
  readonly survives?: boolean
  /** True for a fault with short Lease timings, because its outcome depends on them. */
  readonly isFast?: true
  /** Causes the fault. Resolves once the fault itself is over. */
  inject(at: { readonly pair: Pair; readonly leader: Pod; readonly routes: Routes }): Promise<void>
  /** Restores what the fault removed. */
  mend?(pair: Pair, hit: Pod): Promise<void>
}

export const FAST_FLAGS = ['--lease-duration=6s', '--renew-deadline=4s', '--retry-period=1s']

/** The same fault with short Lease timings. */
const fast = (fault: Fault): Fault => ({
  ...fault,
  title: `${fault.title} (fast: 6 s, 4 s, 1 s)`,
  short: `${fault.short}, fast`,
  isFast: true,
})

const API_FREEZE_MS = 12_000

const replica: Fault = {
  title: 'The whole replica is killed',
  short: 'replica killed',
  about:
    'SIGKILL to the leader’s agent and to PID 1 of its LangFlow container, so that the kernel ends all of LangFlow, as when a node fails.',
  moves: true,
  inject: async ({ leader }) => leader.kill(),
  mend: (pair, hit) => pair.replace(hit),
}

const api: Fault = {
  title: `The API server is frozen for ${API_FREEZE_MS / 1000} s`,
  short: `API frozen ${API_FREEZE_MS / 1000} s`,
  about: `SIGSTOP to kube-apiserver, SIGCONT after ${API_FREEZE_MS / 1000} s. During the freeze, requests continue to go to the replica that was ready before it, and wait if that replica’s LangFlow is frozen. After it, the client reads immediately whether the gate is still closed.`,
  survives: true,
  async inject({ pair, leader, routes }) {
    const { plane } = pair.options.testbed
    // Just after a renewal: one retry period later, the freeze of 12 s would be as long as the rest of the grant.
    await renewal(leader)
    routes.isHeld = true
    plane.pause()
    try {
      await sleep(API_FREEZE_MS)
    } finally {
      plane.resume()
      routes.isHeld = false
    }
  },
}

const ALL = {
  worker: {
    title: 'LangFlow’s worker is killed',
    short: 'worker killed',
    about: 'SIGKILL to the uvicorn worker of the leader, as the kernel does when memory runs out.',
    moves: true,
    async inject({ leader }) {
      process.kill(workerOf(leader), 'SIGKILL')
    },
  },
  replica,
  'replica-fast': fast(replica),
  switchover: {
    title: 'Clean switchover',
    short: 'switchover',
    about: 'SIGTERM to the leader’s agent.',
    moves: true,
    inject: async ({ leader }) => leader.agent.signal('SIGTERM'),
    async mend(_, hit) {
      const { code } = await hit.agent.exited
      if (code !== 0) throw new Error(`the agent ended with exit code ${code} after SIGTERM`)
      hit.startAgent()
    },
  },
  agent: {
    title: 'The agent is killed and started again',
    short: 'agent killed',
    about:
      'SIGKILL to the leader’s agent, which is started again immediately, as the kubelet does with a sidecar.',
    survives: true,
    async inject({ leader }) {
      leader.agent.signal('SIGKILL')
      await leader.agent.exited
      leader.startAgent()
    },
  },
  api,
  // The Lease expires before the API server answers again.
  'api-fast': { ...fast(api), survives: false },
} satisfies Record<string, Fault>

export type FaultName = keyof typeof ALL
export const FAULTS: Readonly<Record<FaultName, Fault>> = ALL

/** Resolves soon after the leader's next acknowledged renewal. */
async function renewal(leader: Pod): Promise<void> {
  let left = Number.POSITIVE_INFINITY
  await until('a renewal', async () => {
    const before = left
    left = (await leader.status()).leadership.killInMs ?? 0
    return left > before
  })
}

/** The pid of LangFlow's worker, from the launcher's log. */
function workerOf(pod: Pod): number {
  const line = pod.container.lines.findLast(({ msg }) => /is served by pid/.test(msg ?? ''))
  const pid = /served by pid (\d+)/.exec(line?.msg ?? '')?.[1]
  if (pid === undefined) throw new Error(`${pod.options.identity} has no worker`)
  return pod.hostPid(Number(pid))
}
