import { rmSync } from 'node:fs'
import { join } from 'node:path'
import { isSame, type ProcessStat, readStat } from '../../agent/processes/proc.ts'
import { ACCOUNT } from '../harness/control-plane.ts'
import type { TcpProxy } from '../harness/faults/tcp-proxy.ts'
import type { Pod } from '../harness/pod.ts'
import { ask } from '../harness/replica.ts'
import { LEASE } from '../harness/scene.ts'
import { mono } from '../harness/wait.ts'
import type { ChaosScene, Slot } from './scene.ts'

/** The target of a fault. Two faults with the same target are never active at the same time. */
export type Part = 'link' | 'agent' | 'container' | 'pod' | 'api' | 'lease'

/** One planned fault. The seed decides all its fields. */
export interface Fault {
  readonly id: number
  readonly kind: string
  /** Milliseconds of planned time, which doesn't advance while the run rests. */
  readonly at: number
  /** Its duration in milliseconds. 0: it heals immediately. */
  readonly ms: number
  /** Whether the target is the leader of that time. */
  readonly leader: boolean
  /** The target if `leader` is false, or if no replica leads. */
  readonly slot: number
  /** Severity in [0, 1), for kinds that have degrees. */
  readonly degree: number
}

/** Ends a fault. */
export type Heal = () => unknown

/** Begins a fault, and returns the function that ends it. Throws `Missed` if the fault has no target at the moment. */
type Inject = (scene: ChaosScene, slot: Slot, fault: Fault) => Promise<Heal> | Heal

interface Kind {
  readonly hits: Part
  /** The shortest and the longest duration in milliseconds. */
  readonly ms: readonly [shortest: number, longest: number]
  readonly inject: Inject
}

/** A fault found no target. The run counts it and continues. */
export class Missed extends Error {}

/** A fault that heals immediately. */
const sudden = (hits: Part, act: (scene: ChaosScene, slot: Slot, fault: Fault) => unknown): Kind => ({
  hits,
  ms: [0, 0],
  async inject(scene, slot, fault) {
    await act(scene, slot, fault)
    return () => {}
  },
})

/** A fault that lasts until it is healed. */
const lasting = (hits: Part, ms: readonly [number, number], inject: Inject): Kind => ({ hits, ms, inject })

const LONG = [1_000, 30_000] as const
const FLAP_MS = 400
const onLink = (act: (link: TcpProxy, degree: number) => unknown): Kind =>
  lasting('link', LONG, async (_scene, { link }, { degree }) => {
    await act(link, degree)
    return () => link.heal()
  })

/** Faults of the network between one pod and the API server. */
const LINK_FAULTS = {
  'link is a black hole': onLink((link) => link.partition()),
  'requests are held back': onLink((link) => link.flow({ toServer: 'hold' })),
  'replies are held back': onLink((link) => link.flow({ toClient: 'hold' })),
  // The leader renews every 2 s, so that at least one renewal commits during the fault.
  'replies are lost after the commit': lasting('link', [2_500, 9_000], (_scene, { link }) => {
    link.flow({ toClient: 'hold' })
    return () => {
      link.reset()
      link.flow({ toClient: 'pass' })
    }
  }),
  'link is slow': onLink((link, degree) => {
    const delayMs = Math.round(50 + degree ** 2 * 4_000)
    link.flow({ toServer: { delayMs }, toClient: { delayMs } })
  }),
  'connections are refused': onLink((link) => link.refuse()),
  'connections are reset': sudden('link', (_scene, { link }) => link.reset()),
  'connections flap': lasting('link', [2_000, 15_000], (_scene, { link }) => {
    const timer = setInterval(() => link.reset(), FLAP_MS)
    return () => clearInterval(timer)
  }),
  'watch is truncated': sudden('link', (_scene, { link }) => link.truncate()),
} as const satisfies Record<string, Kind>

const CODES = [429, 500, 503, 504]

/** Faults that affect all pods: those of kube-apiserver, etcd and RBAC. */
const API_SERVER_FAULTS = {
  'API server hangs': lasting('api', [1_000, 40_000], ({ plane }) => {
    plane.pause()
    return () => plane.resume()
  }),
  'API server is killed': lasting('api', [500, 12_000], async ({ plane }) => {
    await plane.stopApiServer('SIGKILL')
    return () => plane.startApiServer()
  }),
  'API server restarts with a compacted history': lasting('api', [500, 3_000], async ({ plane }) => {
    await plane.stopApiServer('SIGTERM')
    await plane.compact()
    return () => plane.startApiServer()
  }),
  'etcd is killed': lasting('api', [500, 10_000], async ({ plane }) => {
    await plane.stopEtcd()
    return () => plane.startEtcd()
  }),
  'permission for the Lease is revoked': lasting('api', [1_000, 16_000], async (scene) => {
    const { stdout } = await scene.kubectl('get', 'rolebinding', ACCOUNT, '--output=json')
    const { kind, apiVersion, metadata, roleRef, subjects } = JSON.parse(stdout)
    const binding = { kind, apiVersion, metadata: { name: metadata.name }, roleRef, subjects }
    return undone(
      scene,
      () => scene.kubectl('delete', 'rolebinding', ACCOUNT),
      () => scene.apply(binding),
    )
  }),
  'writes of the Lease are rejected': lasting('api', [1_000, 16_000], (scene, _slot, { degree }) => {
    const code = CODES[Math.floor(degree * CODES.length)] as number
    return undone(
      scene,
      () => scene.refusals.begin(code),
      () => scene.refusals.end(),
    )
  }),
} as const satisfies Record<string, Kind>

/**
 * Begins a fault by `act`, and heals it by `undo`. The undo is retried while the API server is starting. It also runs if `act`
 * failed, because the API server may have applied it.
 */
async function undone(scene: ChaosScene, act: Heal, undo: () => Promise<unknown>): Promise<Heal> {
  const heal = () => scene.untilDone(undo)
  try {
    await act()
  } catch (error) {
    await heal()
    throw error
  }
  return heal
}

interface Spec {
  readonly holderIdentity?: string
  readonly leaseTransitions?: number
}

/** Edits the Lease as a person with kubectl does: reads it, then patches it. */
const edit = (change: (spec: Spec, scene: ChaosScene, slot: number) => Spec): Kind =>
  sudden('lease', async (scene, { index }) => {
    const { stdout } = await scene.kubectl('get', 'lease', LEASE, '--output=json')
    const { spec = {} } = JSON.parse(stdout) as { spec?: Spec }
    await scene.patch(change(spec, scene, index))
  })

let strangers = 0

/**
 * Edits of the Lease by people that the product must tolerate. Three edits are documented limits, and so are missing here: a
 * faked release, a shortened duration, and a Lease that is deleted and recreated before a new candidate has read its holder.
 */
const LEASE_EDITS = {
  'Lease is deleted': sudden('lease', async (scene) => {
    await scene.kubectl('delete', 'lease', LEASE, '--wait=false')
    scene.leaseDeletedAt = mono()
  }),
  'Lease is given to a stranger': edit(() => ({ holderIdentity: `stranger-${++strangers}` })),
  'Lease is given to another replica': edit(({ leaseTransitions = 0 }, { slots }, index) => ({
    holderIdentity: (slots[(index + 1) % slots.length] as Slot).identity,
    leaseTransitions: leaseTransitions + 1,
  })),
  'Lease is cleared': edit(() => ({ holderIdentity: '' })),
  'epoch is raised': edit(({ leaseTransitions = 0 }) => ({ leaseTransitions: leaseTransitions + 1 })),
  'Lease is annotated': sudden('lease', (scene, _slot, { id }) =>
    scene.kubectl('annotate', 'lease', LEASE, '--overwrite', `note=${id}`),
  ),
} as const satisfies Record<string, Kind>

const BLOCKED_MS = 20_000

const toAgent = (signal: NodeJS.Signals) => sudden('agent', (_scene, { pod }) => pod.agent.signal(signal))
const toLauncher = (signal: NodeJS.Signals) =>
  sudden('container', (_scene, { pod }) => signalSame(treeOf(pod).launcher, signal))

function treeOf(pod: Pod) {
  const tree = pod.tree()
  if (tree === undefined) throw new Missed('the container of its target does not run')
  return tree
}

/** The processes of the workload that aren't stopped. */
const running = (pod: Pod) => treeOf(pod).workload.filter(({ state }) => state !== 'T')

function present<T>(what: T | undefined): T {
  if (what === undefined) throw new Missed('its target has no workload')
  return what
}

/** Signals the process of `stat`, but not another process that has reused its pid. */
export function signalSame(stat: ProcessStat, signal: NodeJS.Signals): void {
  if (isSame(stat, readStat(stat.pid))) process.kill(stat.pid, signal)
}

/** Faults of one pod's processes, including those that a kubelet causes. */
const PROCESS_FAULTS = {
  'agent is killed': toAgent('SIGKILL'),
  'agent is killed and stays away': lasting('agent', [5_000, 25_000], (_scene, { pod, kubelet }, { ms }) => {
    kubelet.hold('agent', ms)
    pod.agent.signal('SIGKILL')
    return () => {}
  }),
  'agent is terminated': toAgent('SIGTERM'),
  'agent is frozen': lasting('agent', LONG, (_scene, { pod: { agent } }) => {
    agent.signal('SIGSTOP')
    return () => agent.signal('SIGCONT')
  }),
  'agent’s event loop is blocked': lasting('agent', [BLOCKED_MS, BLOCKED_MS], (_scene, { pod }) => {
    pod.agent.signal('SIGUSR2')
    return () => {}
  }),
  'log collector hangs': lasting('agent', [5_000, 30_000], (_scene, { pod: { agent } }) => {
    agent.stopReading()
    return () => agent.process.stdout?.resume()
  }),
  'agent socket is removed': sudden('agent', (_scene, { pod }) =>
    rmSync(join(pod.directory, 'run', 'launcher.sock'), { force: true }),
  ),
  'launcher is frozen': lasting('container', LONG, ({ frozenLaunchers }, { pod }) => {
    const { launcher } = treeOf(pod)
    const over = frozenLaunchers.begin(pod)
    signalSame(launcher, 'SIGSTOP')
    return () => {
      signalSame(launcher, 'SIGCONT')
      over()
    }
  }),
  'container is killed': toLauncher('SIGKILL'),
  'container is terminated': toLauncher('SIGTERM'),
  'tini is killed': sudden('container', (_scene, { pod }) =>
    signalSame(present(treeOf(pod).tini), 'SIGKILL'),
  ),
  'workload is killed': sudden('container', (_scene, { pod }) =>
    signalSame(present(treeOf(pod).workload[0]), 'SIGKILL'),
  ),
  'workload is frozen': lasting('container', [1_000, 15_000], (_scene, { pod }) => {
    const { container } = pod
    const stopped = running(pod)
    present(stopped[0])
    for (const one of stopped) signalSame(one, 'SIGSTOP')
    return () => {
      // If the launcher has frozen the workload during the fault, only the launcher may thaw it.
      const last = container.events().findLast((event) => event.startsWith('workload_'))
      if (last !== 'workload_frozen') for (const one of stopped) signalSame(one, 'SIGCONT')
    }
  }),
  'workload becomes unhealthy': sudden('container', async (_scene, { pod }) =>
    present(await ask(pod.port, '/sicken', 1_000).catch(() => undefined)),
  ),
  'pod is suspended': lasting('pod', LONG, ({ frozenLaunchers }, { pod }) => {
    const { agent } = pod
    const { launcher } = treeOf(pod)
    const stopped = running(pod)
    const over = frozenLaunchers.begin(pod)
    agent.signal('SIGSTOP')
    for (const one of [launcher, ...stopped]) signalSame(one, 'SIGSTOP')
    return () => {
      // The workload continues first, which is the worst order.
      for (const one of [...stopped, launcher]) signalSame(one, 'SIGCONT')
      agent.signal('SIGCONT')
      over()
    }
  }),
  'pod is replaced': lasting('pod', [0, 0], (_scene, slot) => {
    const replaced = slot.replace()
    return () => replaced
  }),
  'node is lost': lasting('pod', [500, 20_000], async (_scene, slot) => {
    await slot.kubelet.kill()
    return () => slot.fill()
  }),
} as const satisfies Record<string, Kind>

const ALL: Record<string, Kind> = { ...LINK_FAULTS, ...API_SERVER_FAULTS, ...LEASE_EDITS, ...PROCESS_FAULTS }

/** Faults that don't cost a replica its Lease, in addition to all faults of a container. */
const GENTLE: readonly string[] = [
  'connections are reset',
  'watch is truncated',
  'Lease is annotated',
  'log collector hangs',
  'agent socket is removed',
] satisfies (keyof typeof LINK_FAULTS | keyof typeof LEASE_EDITS | keyof typeof PROCESS_FAULTS)[]

export const KINDS: readonly string[] = Object.keys(ALL)

export function kindOf(name: string): Kind {
  const kind = ALL[name]
  if (kind === undefined) throw new Error(`the fault "${name}" does not exist`)
  return kind
}

/**
 * Whether the fault may cost a replica its Lease. A fault of the container doesn't: the agent keeps the Lease until all
 * processes of the container have ended.
 */
export function mayCostLease(name: string): boolean {
  return kindOf(name).hits !== 'container' && !GENTLE.includes(name)
}
