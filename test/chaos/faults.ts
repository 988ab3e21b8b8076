import { BLOCKED_MS, type Fault as CatalogueFault, FAULTS, type Heal } from '../harness/faults/catalogue.ts'
import type { ChaosScene, Slot } from './scene.ts'

/** The target of a fault. Two faults with the same target are never active at the same time. */
export type Part = keyof typeof FAULTS | 'pod'

/** One planned fault. The seed decides all its fields. */
export interface Fault {
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

interface Kind {
  readonly hits: Part
  /** The shortest and the longest duration in milliseconds. */
  readonly ms: readonly [shortest: number, longest: number]
  readonly inject: (scene: ChaosScene, slot: Slot, fault: Fault) => Promise<Heal> | Heal
}

const AT_ONCE = [0, 0] as const
const LONG = [1_000, 30_000] as const

/** The durations of the faults that do not heal immediately. */
const DURATIONS: Readonly<Record<string, readonly [shortest: number, longest: number]>> = {
  'link is a black hole': LONG,
  'requests are held back': LONG,
  'replies are held back': LONG,
  // The leader renews every 2 s, so that at least one renewal commits during the fault.
  'replies are lost after the commit': [2_500, 9_000],
  'link is slow': LONG,
  'connections are refused': LONG,
  'connections flap': [2_000, 15_000],
  'API server hangs': [1_000, 40_000],
  'API server is killed': [500, 12_000],
  'API server restarts with a compacted history': [500, 3_000],
  'etcd is killed': [500, 10_000],
  'permission for the Lease is revoked': [1_000, 16_000],
  'writes of the Lease are rejected': [1_000, 16_000],
  'agent is frozen': LONG,
  'agent’s event loop is blocked': [BLOCKED_MS, BLOCKED_MS],
  'log collector hangs': [5_000, 30_000],
  'workload is frozen': [1_000, 15_000],
}

const catalogued = (hits: Part, name: string, fault: CatalogueFault): Kind => ({
  hits,
  ms: DURATIONS[name] ?? AT_ONCE,
  inject: (scene, { pod, link }, { degree }) => fault({ scene, pod, link, degree }),
})

/** Faults that a kubelet causes, and those of a whole pod. */
const OF_THE_KUBELET: Readonly<Record<string, Kind>> = {
  'agent is killed and stays away': {
    hits: 'agent',
    ms: [5_000, 25_000],
    inject: (_scene, { pod, kubelet }, { ms }) => {
      kubelet.hold('agent', ms)
      pod.agent.signal('SIGKILL')
      return () => {}
    },
  },
  'pod is replaced': {
    hits: 'pod',
    ms: AT_ONCE,
    inject: (_scene, slot) => {
      const replaced = slot.replace()
      return () => replaced
    },
  },
  'node is lost': {
    hits: 'pod',
    ms: [500, 20_000],
    inject: async (_scene, slot) => {
      await slot.kubelet.kill()
      return () => slot.fill()
    },
  },
}

const ALL: Readonly<Record<string, Kind>> = {
  ...Object.fromEntries(
    Object.entries(FAULTS).flatMap(([part, faults]) =>
      Object.entries(faults).map(([name, fault]) => [name, catalogued(part as Part, name, fault)] as const),
    ),
  ),
  ...OF_THE_KUBELET,
}

export const KINDS: readonly string[] = Object.keys(ALL)

export function kindOf(name: string): Kind {
  const kind = ALL[name]
  if (kind === undefined) throw new Error(`the fault "${name}" does not exist`)
  return kind
}
