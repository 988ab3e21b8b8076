import { setTimeout as sleep } from 'node:timers/promises'
import type { Pod } from '../../harness/pod.ts'
import { until } from '../../harness/wait.ts'
import type { Pair } from './pair.ts'
import type { Routes } from './routes.ts'

/** The coldest first, as in all tables. */
export const MODES = ['cold', 'warm'] as const
export type Mode = (typeof MODES)[number]

export interface Fault {
  readonly title: string
  /** What is done, in one sentence. */
  readonly about: string
  /** How it is called in the overview. */
  readonly short: string
  /** Whether another replica has to take over. */
  readonly moves?: true
  /** Where none has to: whether the same LangFlow process must go on. */
  readonly survives?: boolean
  /** Whether the Lease is a fast one: where its length decides. */
  readonly isFast?: true
  /** Resolves once the fault itself is over. */
  inject(at: { readonly pair: Pair; readonly leader: Pod; readonly routes: Routes }): Promise<void>
  /** Brings back what it has taken away. */
  mend?(pair: Pair, hit: Pod): Promise<void>
}

export const FAST_FLAGS = ['--lease-duration=6s', '--renew-deadline=4s', '--retry-period=1s']

/** The same with a fast Lease. */
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
    'SIGKILL to the leader’s agent and to the init of its LangFlow container, with which the kernel ends all of LangFlow: as a node does that fails.',
  moves: true,
  inject: async ({ leader }) => leader.kill(),
  mend: (pair, hit) => pair.replace(hit),
}

const api: Fault = {
  title: `The API server is frozen for ${API_FREEZE_MS / 1000} s`,
  short: `API frozen ${API_FREEZE_MS / 1000} s`,
  about: `SIGSTOP to kube-apiserver, SIGCONT after ${API_FREEZE_MS / 1000} s. Until then requests go on to the replica that was ready before, and wait where it is frozen as well; then the client hears at once whether the gate is still closed.`,
  survives: true,
  async inject({ pair, leader, routes }) {
    const { plane } = pair.options.testbed
    // One retry period later 12 s would be as long as the grant.
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
      if (code !== 0) throw new Error(`the agent that was told to end ended with exit code ${code}`)
      hit.startAgent()
    },
  },
  agent: {
    title: 'The agent is killed and started again',
    short: 'agent killed',
    about: 'SIGKILL to the leader’s agent; it is started again at once, as the kubelet does with a sidecar.',
    survives: true,
    async inject({ leader }) {
      leader.agent.signal('SIGKILL')
      await leader.agent.exited
      leader.startAgent()
    },
  },
  api,
  // The Lease ends sooner than the API server comes back.
  'api-fast': { ...fast(api), survives: false },
} satisfies Record<string, Fault>

export type FaultName = keyof typeof ALL
export const FAULTS: Readonly<Record<FaultName, Fault>> = ALL

/** Resolves soon after the leader's next renewal was acknowledged. */
async function renewal(leader: Pod): Promise<void> {
  let left = Number.POSITIVE_INFINITY
  await until('a renewal', async () => {
    const before = left
    left = (await leader.status()).leadership.killInMs ?? 0
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
