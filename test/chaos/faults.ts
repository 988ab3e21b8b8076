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

/** What a fault takes hold of: two that take hold of the same thing are never active together. */
export type Part = 'link' | 'agent' | 'container' | 'pod' | 'api' | 'lease'

/** One planned fault: everything about it that a seed decides. */
export interface Fault {
  readonly id: number
  readonly kind: string
  /** Milliseconds of planned time, which stands still while the run rests. */
  readonly at: number
  /** How long it lasts, in milliseconds; 0: over at once. */
  readonly ms: number
  /** Aimed at whoever leads then; otherwise, or where nobody does, at this slot. */
  readonly leader: boolean
  readonly slot: number
  /** In [0, 1): how bad, for the kinds that come in degrees. */
  readonly degree: number
}

/** Ends a fault. */
export type Heal = () => unknown

/** Brings a fault about, and returns what ends it. Throws `Missed` where there is nothing to hit at the moment. */
type Inject = (scene: ChaosScene, slot: Slot, fault: Fault) => Promise<Heal> | Heal

interface Kind {
  readonly hits: Part
  /** The shortest and the longest it may last, in milliseconds. */
  readonly ms: readonly [shortest: number, longest: number]
  readonly inject: Inject
}

/** A fault that came to nothing: it is counted, and the run goes on. */
export class Missed extends Error {}

/** Over at once. */
const sudden = (hits: Part, act: (scene: ChaosScene, slot: Slot, fault: Fault) => unknown): Kind => ({
  hits,
  ms: [0, 0],
  async inject(scene, slot, fault) {
    await act(scene, slot, fault)
    return () => {}
  },
})

/** Over once it is healed. */
const lasting = (hits: Part, ms: readonly [number, number], inject: Inject): Kind => ({ hits, ms, inject })

const LONG = [1_000, 30_000] as const
const FLAP_MS = 400
const onLink = (act: (link: TcpProxy, degree: number) => unknown): Kind =>
  lasting('link', LONG, async (_scene, { link }, { degree }) => {
    await act(link, degree)
    return () => link.heal()
  })

/** The network between one pod and the API server. */
const LINK_FAULTS = {
  'link is a black hole': onLink((link) => link.partition()),
  'requests are held back': onLink((link) => link.flow({ toServer: 'hold' })),
  'replies are held back': onLink((link) => link.flow({ toClient: 'hold' })),
  // Renewals come each 2 s: at least one commits meanwhile.
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

/** What all pods share: kube-apiserver, etcd behind it, and the rights that it grants. */
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
  'right to the Lease is withdrawn': lasting('api', [1_000, 16_000], async (scene) => {
    const { stdout } = await scene.kubectl('get', 'rolebinding', ACCOUNT, '--output=json')
    const { kind, apiVersion, metadata, roleRef, subjects } = JSON.parse(stdout)
    const binding = { kind, apiVersion, metadata: { name: metadata.name }, roleRef, subjects }
    return undone(
      scene,
      () => scene.kubectl('delete', 'rolebinding', ACCOUNT),
      () => scene.apply(binding),
    )
  }),
  'writes of the Lease are refused': lasting('api', [1_000, 16_000], (scene, _slot, { degree }) => {
    const code = CODES[Math.floor(degree * CODES.length)] as number
    return undone(
      scene,
      () => scene.refusals.begin(code),
      () => scene.refusals.end(),
    )
  }),
} as const satisfies Record<string, Kind>

/** The way back may meet an API server that is still coming up, and is tried again; also where `act` failed, and yet went through. */
async function undone(scene: ChaosScene, act: Heal, undo: () => Promise<unknown>): Promise<Heal> {
  const heal = () => scene.insist(undo)
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

/** As a person with kubectl: reads, then patches. */
const edit = (change: (spec: Spec, scene: ChaosScene, slot: number) => Spec): Kind =>
  sudden('lease', async (scene, { index }) => {
    const { stdout } = await scene.kubectl('get', 'lease', LEASE, '--output=json')
    const { spec = {} } = JSON.parse(stdout) as { spec?: Spec }
    await scene.patch(change(spec, scene, index))
  })

let strangers = 0

/**
 * What people do to the Lease that the product must stand. Left out is what it cannot: a faked release, a shortened
 * duration, a Lease deleted and applied again before a candidate that has just started could see its holder.
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
  if (tree === undefined) throw new Missed('its container is not up')
  return tree
}

/** Those of its workload that are not stopped by anybody. */
const running = (pod: Pod) => treeOf(pod).workload.filter(({ state }) => state !== 'T')

function present<T>(what: T | undefined): T {
  if (what === undefined) throw new Missed('no workload there')
  return what
}

/** Signals the process that was looked at, and no other that has its number by now. */
export function signalSame(stat: ProcessStat, signal: NodeJS.Signals): void {
  if (isSame(stat, readStat(stat.pid))) process.kill(stat.pid, signal)
}

/** The processes of one pod, and what a kubelet does to them. */
const PROCESS_FAULTS = {
  'agent is killed': toAgent('SIGKILL'),
  'agent is killed and stays away': lasting('agent', [5_000, 25_000], (_scene, { pod, kubelet }, { ms }) => {
    kubelet.hold('agent', ms)
    pod.agent.signal('SIGKILL')
    return () => {}
  }),
  'agent is told to end': toAgent('SIGTERM'),
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
  'socket is removed': sudden('agent', (_scene, { pod }) =>
    rmSync(join(pod.directory, 'run', 'launcher.sock'), { force: true }),
  ),
  'launcher is frozen': lasting('container', LONG, ({ stillness }, { pod }) => {
    const { launcher } = treeOf(pod)
    const over = stillness.begin(pod)
    signalSame(launcher, 'SIGSTOP')
    return () => {
      signalSame(launcher, 'SIGCONT')
      over()
    }
  }),
  'container is killed': toLauncher('SIGKILL'),
  'container is told to end': toLauncher('SIGTERM'),
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
      // What the launcher has frozen meanwhile is the launcher's to thaw.
      const last = container.events().findLast((event) => event.startsWith('workload_'))
      if (last !== 'workload_frozen') for (const one of stopped) signalSame(one, 'SIGCONT')
    }
  }),
  'workload falls ill': sudden('container', async (_scene, { pod }) =>
    present(await ask(pod.port, '/sicken', 1_000).catch(() => undefined)),
  ),
  'pod is suspended': lasting('pod', LONG, ({ stillness }, { pod }) => {
    const { agent } = pod
    const { launcher } = treeOf(pod)
    const stopped = running(pod)
    const over = stillness.begin(pod)
    agent.signal('SIGSTOP')
    for (const one of [launcher, ...stopped]) signalSame(one, 'SIGSTOP')
    return () => {
      // The workload first: the worst that can happen.
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

/** Beside those that hit only the container: faults that leave a replica its Lease, whatever else they meet. */
const GENTLE: readonly string[] = [
  'connections are reset',
  'watch is truncated',
  'Lease is annotated',
  'log collector hangs',
  'socket is removed',
] satisfies (keyof typeof LINK_FAULTS | keyof typeof LEASE_EDITS | keyof typeof PROCESS_FAULTS)[]

export const KINDS: readonly string[] = Object.keys(ALL)

export function kindOf(name: string): Kind {
  const kind = ALL[name]
  if (kind === undefined) throw new Error(`no fault is called "${name}"`)
  return kind
}

/** Its agent keeps the Lease of a replica whose container is in trouble until nothing lives there. */
export function mayCostLease(name: string): boolean {
  return kindOf(name).hits !== 'container' && !GENTLE.includes(name)
}
