import type { Lease, LeaseSpec } from '../../../agent/lease/lease.ts'
import type { Replica } from '../replica.ts'
import type { World } from '../world.ts'
import { type Fault, type Kind, MISSED, repeated, type Strike, shared } from './fault.ts'

/** Of a Lease that is there. */
function onLease(strike: (world: World, fault: Fault) => unknown): Strike {
  return shared((world, fault) => (world.server.lease === null ? MISSED : strike(world, fault)))
}

function edit(change: (spec: LeaseSpec, world: World, fault: Fault) => LeaseSpec): Strike {
  return onLease((world, fault) =>
    world.server.edit((lease) => ({ ...lease, spec: change(lease.spec ?? {}, world, fault) })),
  )
}

function timestamp(world: World, aheadMs = 0): string {
  return new Date(1_700_000_000_000 + world.timeline.now + aheadMs).toISOString()
}

/** `raise`: counts the transition, as candidates do; a person may forget it. */
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
/** What a person might write, shorter than the holder's own and longer. */
const DURATIONS_S = [1, 3, 10, 20, 40]

/** People with kubectl. */
export const LEASE_EDITS = {
  'lease deleted': {
    rows: ['T9'],
    shared: true,
    strike: onLease(({ server }) => void server.delete()),
  },
  'lease deleted, candidates restart': {
    rows: ['T9'],
    shared: true,
    strike: (world, fault, target) => {
      if (fault.targets[0] === world.replicas.indexOf(target)) world.server.delete()
      target.crashAgent(fault.degree * 2_000)
      return undefined
    },
  },
  // kubectl delete; kubectl apply -f deploy/base/lease.yaml
  'lease deleted and applied': {
    rows: ['T9'],
    shared: true,
    strike: onLease(({ server, timeline }, { degree }) => {
      server.delete()
      timeline.in(degree ** 3 * 3_000, () => server.apply())
      return undefined
    }),
  },
  // kubectl replace -f deploy/base/lease.yaml
  'spec emptied': { rows: ['T9'], strike: edit(() => ({})) },
  'holder replaced': {
    rows: ['T2'],
    shared: true,
    strike: onLease((world, { at, degree }) => {
      const holder = `stranger-${at}`
      const raise = degree % 0.2 < 0.1
      world.server.edit((lease) => takenBy(holder, raise, world, lease))
      if (degree < 0.4) return undefined
      return repeated(world, () => {
        if (world.server.lease?.spec?.holderIdentity === holder)
          world.server.edit((lease) => takenBy(holder, raise, world, lease))
        return STRANGER_RENEWS_MS
      })
    }),
  },
  'holder is another replica': {
    rows: ['T2'],
    shared: true,
    strike: onLease((world, { targets }) => {
      const { identity } = world.replicas[targets[0] as number] as Replica
      world.server.edit((lease) => takenBy(identity, true, world, lease))
      return undefined
    }),
  },
  'holder cleared': { rows: ['T2'], strike: edit((spec) => ({ ...spec, holderIdentity: '' })) },
  // Without the word of who released it nobody believes it; with that it is what a release looks like.
  'release faked': {
    rows: ['T2'],
    shared: true,
    strike: onLease((world, { degree }) =>
      world.server.edit((lease) => {
        const { holderIdentity, leaseTransitions } = lease.spec ?? {}
        const said = { 'langflow-leader/released': `${holderIdentity} ${leaseTransitions}` }
        return {
          metadata: degree % 0.5 < 0.25 ? lease.metadata : { ...lease.metadata, annotations: said },
          spec: {
            ...lease.spec,
            holderIdentity: '',
            leaseDurationSeconds: 1,
            ...(degree < 0.5 ? {} : { renewTime: timestamp(world), acquireTime: timestamp(world) }),
          },
        }
      }),
    ),
  },
  'epoch raised': {
    rows: [],
    shared: true,
    strike: edit((spec) => ({ ...spec, leaseTransitions: (spec.leaseTransitions ?? 0) + 1 })),
  },
  'epochs used up': {
    rows: [],
    shared: true,
    strike: edit((spec) => ({ ...spec, leaseTransitions: 2 ** 31 - 1 })),
  },
  'renew time edited': {
    rows: [],
    shared: true,
    strike: edit((spec, world, { degree }) => ({
      ...spec,
      renewTime: timestamp(world, (degree < 0.5 ? -1 : 1) * HOUR_MS),
    })),
  },
  'acquire time edited': {
    rows: [],
    shared: true,
    strike: edit((spec, world) => ({ ...spec, acquireTime: timestamp(world) })),
  },
  'duration edited': {
    rows: [],
    shared: true,
    strike: edit((spec, _world, { degree }) => ({
      ...spec,
      leaseDurationSeconds: DURATIONS_S[Math.floor(degree * DURATIONS_S.length)] as number,
    })),
  },
  annotated: {
    rows: [],
    shared: true,
    strike: onLease((world) => {
      const annotations = { note: String(world.timeline.now) }
      world.server.edit((lease) => ({ ...lease, metadata: { ...lease.metadata, annotations } }))
      return undefined
    }),
  },
} as const satisfies Record<string, Kind>
