import { LEASE, mono } from '../../support/stage.ts'
import type { Ground } from '../ground.ts'
import type { Kind, Strike } from './fault.ts'

interface Spec {
  readonly holderIdentity?: string
  readonly leaseTransitions?: number
}

/** As a person with kubectl: reads, then patches. */
function edit(change: (spec: Spec, ground: Ground, seat: number) => object): Strike {
  return async (ground, seat) => {
    const { stdout } = await ground.kubectl('get', 'lease', LEASE, '--output=json')
    const { spec = {} } = JSON.parse(stdout) as { spec?: Spec }
    const patch = JSON.stringify({ spec: change(spec, ground, seat.index) })
    await ground.kubectl('patch', 'lease', LEASE, '--type=merge', '-p', patch)
    return undefined
  }
}

let strangers = 0

/**
 * What people do to the Lease that the product must stand. Left out is what it cannot: a faked release, a shortened
 * duration, a Lease deleted and applied again before a candidate that has just started could see its holder.
 */
export const LEASE_EDITS = {
  'Lease is deleted': {
    hits: 'lease',
    strike: async (ground) => {
      await ground.kubectl('delete', 'lease', LEASE, '--wait=false')
      ground.leaseDeletedAt = mono()
      return undefined
    },
  },
  'Lease is given to a stranger': {
    hits: 'lease',
    strike: edit(() => ({ holderIdentity: `stranger-${++strangers}` })),
  },
  'Lease is given to another replica': {
    hits: 'lease',
    strike: edit((spec, { seats }, index) => ({
      holderIdentity: seats[(index + 1) % seats.length]?.identity,
      leaseTransitions: (spec.leaseTransitions ?? 0) + 1,
    })),
  },
  'Lease is cleared': { hits: 'lease', strike: edit(() => ({ holderIdentity: '' })) },
  'epoch is raised': {
    hits: 'lease',
    strike: edit((spec) => ({ leaseTransitions: (spec.leaseTransitions ?? 0) + 1 })),
  },
  'Lease is annotated': {
    hits: 'lease',
    strike: async (ground, _seat, { id }) => {
      await ground.kubectl('annotate', 'lease', LEASE, '--overwrite', `note=${id}`)
      return undefined
    },
  },
} as const satisfies Record<string, Kind>
