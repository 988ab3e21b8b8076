import type { Lease } from '../../agent/lease/lease.ts'
import type { LeaseErrorCode } from '../../agent/lease/lease-api.ts'
import type { Disturbance } from './network.ts'
import type { Random } from './random.ts'
import type { Replica } from './replica.ts'
import type { World } from './world.ts'

/** One thing that goes wrong, and for how long. A plan is a list of them; each can be left out. */
export interface Fault {
  readonly id: number
  readonly kind: FaultKind
  /** Real time in milliseconds. */
  readonly at: number
  readonly ms: number
  /** Indexes of the replicas that it concerns. */
  readonly targets: readonly number[]
  /** In [0, 1): how bad, for the kinds that come in degrees. */
  readonly degree: number
}

/** A function ends the fault; anything else: it ends by itself. */
type Heal = unknown
type Strike = (world: World, fault: Fault, target: Replica) => Heal

const ERRORS: readonly LeaseErrorCode[] = ['unauthorized', 'forbidden', 'throttled', 'server', 'invalid']

function network(disturb: (degree: number) => Disturbance): Strike {
  return (_world, { degree }, { network }) => {
    const disturbance = disturb(degree)
    network.add(disturbance)
    return () => network.remove(disturbance)
  }
}

function behaviour(change: (replica: Replica, degree: number) => () => void): Strike {
  return (_world, { degree }, replica) => change(replica, degree)
}

/** Struck once, whatever the targets. */
function shared(strike: (world: World, fault: Fault) => Heal): Strike {
  return (world, fault, target) =>
    target === world.replicas[fault.targets[0] as number] ? strike(world, fault) : undefined
}

function edit(change: (world: World, lease: Lease) => Lease): Strike {
  return shared((world) => world.server.edit((lease) => change(world, lease)))
}

/** `raise`: counts the transition, as candidates do; a person may forget it. */
function takenBy(holder: string, raise: boolean, world: World, lease: Lease): Lease {
  const renewTime = new Date(1_700_000_000_000 + world.timeline.now).toISOString()
  const more = raise && lease.spec?.holderIdentity !== holder ? 1 : 0
  const leaseTransitions = (lease.spec?.leaseTransitions ?? 0) + more
  return {
    ...lease,
    spec: { ...lease.spec, holderIdentity: holder, renewTime, leaseDurationSeconds: 15, leaseTransitions },
  }
}

const STRANGER_RENEWS_MS = 2_000

export const FAULTS = {
  // The network between a machine and the API server.
  cut: network(() => ({ cut: true })),
  refused: network(() => ({ refused: true, watchCut: true })),
  'writes lost': network(() => ({ lost: 'writes' })),
  'reads lost': network(() => ({ lost: 'reads' })),
  'answers lost': network(() => ({ answersLost: true })),
  slow: network((degree) => ({ slow: 50 + degree * 4_000 })),
  'late writes': network((degree) => ({ lateWrites: 1_000 + degree * 25_000 })),
  'watch silent': network(() => ({ watchSilent: true })),
  'watch cut': network(() => ({ watchCut: true })),
  'watch lags': network((degree) => ({ watchLag: 100 + degree * 15_000 })),
  'writes late, watch silent': network((degree) => ({
    watchSilent: true,
    lateWrites: 1_000 + degree * 25_000,
  })),
  'answers lost, watch lags': network((degree) => ({ answersLost: true, watchLag: degree * 15_000 })),
  errors: network((degree) => ({ error: ERRORS[Math.floor(degree * ERRORS.length)] as LeaseErrorCode })),
  'conflict after success': network(() => ({ lyingConflict: true })),

  // The API server.
  'api restarts': shared((world) => {
    world.server.stop()
    return () => world.server.start()
  }),
  'api hangs': shared((world) => {
    world.server.hangs = true
    return () => world.server.resume()
  }),
  'watches expire': shared((world) => world.server.compact()),
  'watches end': shared((world) => world.server.endWatches()),

  // People with kubectl.
  'lease deleted': shared((world) => world.server.delete()),
  'holder replaced': shared((world, { at, degree }) => {
    const holder = `stranger-${at}`
    world.server.edit((lease) => takenBy(holder, degree % 0.2 < 0.1, world, lease))
    if (degree < 0.4) return undefined
    let going = true
    const renew = () => {
      if (!going || world.server.lease?.spec?.holderIdentity !== holder) return
      world.server.edit((lease) => takenBy(holder, degree % 0.2 < 0.1, world, lease))
      world.timeline.in(STRANGER_RENEWS_MS, renew)
    }
    world.timeline.in(STRANGER_RENEWS_MS, renew)
    return () => {
      going = false
    }
  }),
  'holder is another replica': shared((world, { targets }) =>
    world.server.edit((lease) =>
      takenBy((world.replicas[targets[0] as number] as Replica).identity, true, world, lease),
    ),
  ),
  'holder cleared': edit((_world, lease) => ({ ...lease, spec: { ...lease.spec, holderIdentity: '' } })),
  'epoch raised': edit((_world, lease) => ({
    ...lease,
    spec: { ...lease.spec, leaseTransitions: (lease.spec?.leaseTransitions ?? 0) + 1 },
  })),
  annotated: edit((world, lease) => ({
    ...lease,
    metadata: { ...lease.metadata, annotations: { note: String(world.timeline.now) } },
  })),

  // Processes and machines.
  'agent frozen': (_world, _fault, { agent }) => {
    agent?.process.freeze()
    return () => agent?.process.thaw()
  },
  'agent killed': (_world, { ms }, replica) => replica.crashAgent(ms / 4),
  'launcher frozen': (_world, _fault, { launcher }) => {
    launcher?.process.freeze()
    return () => launcher?.process.thaw()
  },
  'launcher killed': (_world, { ms }, replica) => replica.crashLauncher(ms / 4),
  'launcher flaps': (world, { degree }, replica) => {
    let going = true
    const kill = () => {
      if (!going) return
      replica.crashLauncher(100)
      world.timeline.in(300 + degree * 2_000, kill)
    }
    kill()
    return () => {
      going = false
    }
  },
  'replica lost': (_world, { ms }, replica) => replica.crash(ms),
  evicted: (_world, { ms }, replica) => replica.evict(ms / 4),
  'agent ended': (_world, _fault, replica) => replica.terminateAgent(),
  suspended: (_world, _fault, { kernel }) => {
    kernel.sleep()
    return () => kernel.wake(false)
  },
  paused: (_world, _fault, replica) => {
    replica.kernel.sleep()
    replica.hiddenPauses++
    return () => replica.kernel.wake(true)
  },
  'wall clock set': (_world, { degree }, { kernel }) => kernel.setWall((degree < 0.5 ? -1 : 1) * 3_600_000),

  // Between agent and launcher.
  'link slow': (_world, { at, ms, degree }, replica) => {
    const slowMs = degree * 3_000
    replica.socket.behaviour.slowMs = slowMs
    replica.linkSlowUntil = Math.max(replica.linkSlowUntil, at + ms + slowMs)
    return () => {
      replica.socket.behaviour.slowMs = 0
    }
  },
  'grants repeated': (_world, { degree }, replica) => {
    replica.socket.behaviour.repeatMs = degree * 20_000
    return () => {
      replica.socket.behaviour.repeatMs = 0
    }
  },

  // The workload.
  'ignores SIGTERM': behaviour(({ behaviour }) => {
    behaviour.ignoresTerm = true
    return () => {
      behaviour.ignoresTerm = false
    }
  }),
  'lingers when killed': behaviour(({ behaviour }, degree) => {
    behaviour.lingersMs = degree * 6_000
    return () => {
      behaviour.lingersMs = 0
    }
  }),
  exits: behaviour(({ workload }) => {
    workload?.exit(false)
    return () => {}
  }),
  'leaves a child': behaviour(({ workload }) => {
    workload?.exit(true)
    return () => {}
  }),
  unhealthy: behaviour(({ behaviour }) => {
    behaviour.healthy = false
    return () => {
      behaviour.healthy = true
    }
  }),
  'dies at start': behaviour(({ behaviour, workload }) => {
    behaviour.diesAtStart = true
    workload?.exit(false)
    return () => {
      behaviour.diesAtStart = false
    }
  }),
  'port taken': behaviour(({ behaviour }) => {
    behaviour.portTaken = true
    return () => {
      behaviour.portTaken = false
    }
  }),
  connected: behaviour(({ behaviour }) => {
    behaviour.connected = true
    return () => {
      behaviour.connected = false
    }
  }),
} as const satisfies Record<string, Strike>

export type FaultKind = keyof typeof FAULTS

export const KINDS = Object.keys(FAULTS) as FaultKind[]

/** Faults that leave a replica its Lease, so that even one whose launcher is frozen must not be overtaken. */
const GENTLE: readonly FaultKind[] = [
  'annotated',
  'watches end',
  'grants repeated',
  'launcher frozen',
  'ignores SIGTERM',
  'unhealthy',
  'exits',
  'connected',
  'lingers when killed',
]

/** Faults of the watch, which cost a leader nothing, and ends of a replica, each of which costs one handover. */
const CALM: readonly FaultKind[] = [
  'watch lags',
  'watch silent',
  'watch cut',
  'watches expire',
  'watches end',
]
const HANDOVERS: readonly FaultKind[] = ['evicted', 'replica lost']

/** How often a workload may start at most under these faults; `Infinity`: nobody can say. */
export function mostStarts(plan: readonly Fault[]): number {
  if (!plan.every(({ kind }) => CALM.includes(kind) || HANDOVERS.includes(kind)))
    return Number.POSITIVE_INFINITY
  const handovers = plan.filter(({ kind }) => HANDOVERS.includes(kind))
  return 1 + handovers.reduce((sum, { targets }) => sum + targets.length, 0)
}

/** Faults that are worse together; in half of the runs only those of one group strike. */
const GROUPS: readonly (readonly FaultKind[])[] = [
  ['lease deleted', 'agent frozen', 'cut', 'watch silent', 'refused', 'replica lost', 'evicted'],
  [
    'agent killed',
    'holder replaced',
    'holder is another replica',
    'writes lost',
    'answers lost',
    'watch lags',
  ],
  ['link slow', 'agent ended', 'launcher frozen', 'evicted', 'holder replaced', 'unhealthy'],
  [
    'launcher killed',
    'launcher flaps',
    'agent frozen',
    'link slow',
    'lingers when killed',
    'launcher frozen',
  ],
  ['launcher flaps', 'lingers when killed'],
  ['agent killed', 'holder replaced', 'writes lost'],
  [...CALM, ...HANDOVERS],
  [
    'paused',
    'late writes',
    'writes late, watch silent',
    'exits',
    'evicted',
    'watches expire',
    'dies at start',
  ],
  [
    'answers lost, watch lags',
    'conflict after success',
    'exits',
    'epoch raised',
    'holder cleared',
    'agent ended',
  ],
]

const SHORTEST_MS = 200
const LONGEST_MS = 26_000

/** What goes wrong in a run: anything at any time, or, in every sixth run, nothing that takes a Lease away. */
export function planFaults(random: Random, replicas: number, firstAt: number, spanMs: number): Fault[] {
  const kinds = random.chance(1 / 6) ? GENTLE : random.chance(0.6) ? random.pick(GROUPS) : KINDS
  // A few kinds at a time meet each other more often than all of them would.
  const chosen = Array.from({ length: random.whole(1, 6) }, () => random.pick(kinds))
  const indexes = Array.from({ length: replicas }, (_, index) => index)
  const plan = Array.from(
    { length: random.whole(1, 10) },
    (_, id): Fault => ({
      id,
      kind: random.pick(chosen),
      at: firstAt + random.between(0, spanMs),
      ms: random.chance(0.3) ? random.between(SHORTEST_MS, 3_000) : random.between(3_000, LONGEST_MS),
      targets: random.chance(0.6) ? [random.pick(indexes)] : random.some(indexes),
      degree: random.next(),
    }),
  )
  // A pause that only the wall clock shows cannot be noticed where that is set as well: outside the guarantee.
  const set = plan.some(({ kind }) => kind === 'wall clock set')
  return plan.filter(({ kind }) => !(set && kind === 'paused')).sort((a, b) => a.at - b.at)
}

export function isHarsh(plan: readonly Fault[]): boolean {
  return plan.some(({ kind }) => !GENTLE.includes(kind))
}
