import type { Lease, LeaseSpec } from '../../../agent/lease/lease.ts'
import {
  FAILOVER_TO,
  PAUSED,
  PAUSED_UNTIL,
  RESTART,
  SWITCHOVER_TO,
} from '../../../agent/lease/operator-annotations.ts'
import type { Replica } from '../replica.ts'
import type { World } from '../world.ts'
import { type Fault, type Kind, MISSED, once, type Row, repeated } from './fault.ts'

function onLease(rows: readonly Row[], strike: (world: World, fault: Fault) => unknown): Kind {
  return {
    rows,
    shared: true,
    strike: once((world, fault) => (world.server.lease === null ? MISSED : strike(world, fault))),
  }
}

function edit(
  rows: readonly Row[],
  change: (spec: LeaseSpec, world: World, fault: Fault) => LeaseSpec,
): Kind {
  return onLease(rows, (world, fault) =>
    world.server.edit((lease) => ({ ...lease, spec: change(lease.spec ?? {}, world, fault) })),
  )
}

/** The same fault, but only its targets are excused for it. */
function unshared({ rows, strike }: Kind): Kind {
  return { rows, strike }
}

function timestamp(world: World, aheadMs = 0): string {
  return new Date(1_700_000_000_000 + world.timeline.now + aheadMs).toISOString()
}

/** Sets annotations. The value `undefined` removes one. */
function annotate({ server }: World, notes: Readonly<Record<string, string | undefined>>): void {
  server.edit((lease) => {
    const all = Object.entries({ ...lease.metadata.annotations, ...notes })
    const annotations = Object.fromEntries(
      all.filter((note): note is [string, string] => note[1] !== undefined),
    )
    return { ...lease, metadata: { ...lease.metadata, annotations } }
  })
}

/** Makes `holder` the holder. `raise`: also raises the epoch, as candidates do. A person may forget that. */
function takenBy(holder: string, raise: boolean, world: World, lease: Lease): Lease {
  const more = raise && lease.spec?.holderIdentity !== holder ? 1 : 0
  return {
    ...lease,
    spec: {
      ...lease.spec,
      holderIdentity: holder,
      renewTime: timestamp(world),
      leaseDurationSeconds: 15,
      leaseTransitions: (lease.spec?.leaseTransitions ?? 0) + more,
    },
  }
}

const STRANGER_RENEWS_MS = 2_000
const HOUR_MS = 3_600_000
/** Lease durations that a person writes. Some are shorter than the holder's, and some are longer. */
const DURATIONS_S = [1, 3, 10, 20, 40]

export const LEASE_EDITS = {
  'Lease deleted': onLease(['T9'], ({ server }) => server.delete()),
  'Lease deleted, candidates restart': {
    rows: ['T9'],
    shared: true,
    strike: (world, fault, target) => {
      if (fault.targets[0] === world.replicas.indexOf(target)) world.server.delete()
      target.crashAgent(fault.degree * 2_000)
    },
  },
  // `kubectl delete`, and later `kubectl apply -f deploy/langflow.yaml`.
  'Lease deleted and recreated': onLease(['T9'], ({ server, timeline }, { degree }) => {
    server.delete()
    timeline.in(degree ** 3 * 3_000, () => server.apply())
  }),
  // `kubectl replace -f deploy/langflow.yaml`.
  'Lease spec emptied': unshared(edit(['T9'], () => ({}))),
  'holder replaced': onLease(['T2'], (world, { at, degree }) => {
    const holder = `stranger-${at}`
    const take = () => world.server.edit((lease) => takenBy(holder, degree % 0.2 < 0.1, world, lease))
    take()
    if (degree < 0.4) return undefined
    return repeated(world, () => {
      if (world.server.lease?.spec?.holderIdentity === holder) take()
      return STRANGER_RENEWS_MS
    })
  }),
  'holder replaced by another replica': onLease(['T2'], (world, { targets }) => {
    const { identity } = world.replicas[targets[0] as number] as Replica
    world.server.edit((lease) => takenBy(identity, true, world, lease))
  }),
  'holder cleared': unshared(edit(['T2'], (spec) => ({ ...spec, holderIdentity: '' }))),
  // Half of these have the annotation about the releasing holder and look like a release. Candidates don't accept the others.
  'release faked': onLease(['T2'], (world, { degree }) =>
    world.server.edit(({ metadata, spec }) => {
      const releasedBy = { 'langflow-leader/released': `${spec?.holderIdentity} ${spec?.leaseTransitions}` }
      const now = degree < 0.5 ? {} : { renewTime: timestamp(world), acquireTime: timestamp(world) }
      return {
        metadata: degree % 0.5 < 0.25 ? metadata : { ...metadata, annotations: releasedBy },
        spec: { ...spec, holderIdentity: '', leaseDurationSeconds: 1, ...now },
      }
    }),
  ),
  'epoch raised': edit([], (spec) => ({ ...spec, leaseTransitions: (spec.leaseTransitions ?? 0) + 1 })),
  'epoch at its maximum': edit([], (spec) => ({ ...spec, leaseTransitions: 2 ** 31 - 1 })),
  'renew time edited': edit([], (spec, world, { degree }) => ({
    ...spec,
    renewTime: timestamp(world, (degree < 0.5 ? -1 : 1) * HOUR_MS),
  })),
  'acquire time edited': edit([], (spec, world) => ({ ...spec, acquireTime: timestamp(world) })),
  'duration edited': edit([], (spec, _world, { degree }) => ({
    ...spec,
    leaseDurationSeconds: DURATIONS_S[Math.floor(degree * DURATIONS_S.length)] as number,
  })),
  // `langflow-leader pause`, with and without `--for`, and `langflow-leader resume`.
  'takeovers paused': onLease([], (world, { degree, ms }) => {
    const until = degree < 0.5 ? { [PAUSED_UNTIL]: timestamp(world, ms) } : {}
    annotate(world, { [PAUSED]: 'true', ...until })
    return () => annotate(world, { [PAUSED]: undefined, [PAUSED_UNTIL]: undefined })
  }),
  // `langflow-leader switchover`, with and without `--to`.
  'switchover requested': onLease([], (world, { degree, targets }) => {
    const { identity } = world.replicas[targets[0] as number] as Replica
    annotate(world, { [SWITCHOVER_TO]: degree < 0.5 ? '*' : identity })
  }),
  // `langflow-leader failover`, with and without `--to`.
  'failover requested': onLease([], (world, { degree, targets }) => {
    const { identity } = world.replicas[targets[0] as number] as Replica
    annotate(world, { [FAILOVER_TO]: degree < 0.5 ? '*' : identity })
  }),
  // `langflow-leader restart --in-place`.
  'restart requested': onLease([], (world) => annotate(world, { [RESTART]: 'in-place' })),
  'Lease annotated': onLease([], ({ server, timeline }) => {
    const annotations = { note: String(timeline.now) }
    server.edit((lease) => ({ ...lease, metadata: { ...lease.metadata, annotations } }))
  }),
} as const satisfies Record<string, Kind>
