import { LEASE } from '../../harness/scene.ts'
import { mono } from '../../harness/wait.ts'
import type { ChaosScene } from '../scene.ts'
import type { Inject, Kind } from './fault.ts'

interface Spec {
  readonly holderIdentity?: string
  readonly leaseTransitions?: number
}

/** As a person with kubectl: reads, then patches. */
function edit(change: (spec: Spec, scene: ChaosScene, slot: number) => object): Inject {
  return async (scene, slot) => {
    const { stdout } = await scene.kubectl('get', 'lease', LEASE, '--output=json')
    const { spec = {} } = JSON.parse(stdout) as { spec?: Spec }
    const patch = JSON.stringify({ spec: change(spec, scene, slot.index) })
    await scene.kubectl('patch', 'lease', LEASE, '--type=merge', '-p', patch)
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
    inject: async (scene) => {
      await scene.kubectl('delete', 'lease', LEASE, '--wait=false')
      scene.leaseDeletedAt = mono()
    },
  },
  'Lease is given to a stranger': {
    hits: 'lease',
    inject: edit(() => ({ holderIdentity: `stranger-${++strangers}` })),
  },
  'Lease is given to another replica': {
    hits: 'lease',
    inject: edit((spec, { slots }, index) => ({
      holderIdentity: slots[(index + 1) % slots.length]?.identity,
      leaseTransitions: (spec.leaseTransitions ?? 0) + 1,
    })),
  },
  'Lease is cleared': { hits: 'lease', inject: edit(() => ({ holderIdentity: '' })) },
  'epoch is raised': {
    hits: 'lease',
    inject: edit((spec) => ({ leaseTransitions: (spec.leaseTransitions ?? 0) + 1 })),
  },
  'Lease is annotated': {
    hits: 'lease',
    inject: async (scene, _slot, { id }) => {
      await scene.kubectl('annotate', 'lease', LEASE, '--overwrite', `note=${id}`)
    },
  },
} as const satisfies Record<string, Kind>
