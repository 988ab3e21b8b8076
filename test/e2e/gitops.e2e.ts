import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { DEPLOY } from '../deploy/manifests.ts'
import { type ControlPlane, startControlPlane } from '../harness/control-plane.ts'
import { FAST } from '../harness/replica.ts'
import { ApiServerScene, LEASE } from '../harness/scene.ts'

/** How tools compare an object with their manifest: Flux and Helm 4 by server-side apply, Argo CD by the last applied manifest. */
const COMPARISONS = {
  'server-side apply': ['--server-side', '--force-conflicts', '--field-manager=helm-controller'],
  'the last applied manifest': ['--server-side=false'],
}

interface Written {
  readonly metadata: { readonly annotations: Readonly<Record<string, string>> }
  readonly spec: { readonly holderIdentity: string; readonly leaseTransitions: number }
}

/** What must stay. The times change with each renewal. */
function state({ metadata, spec }: Written) {
  const { 'kubectl.kubernetes.io/last-applied-configuration': _, ...annotations } = metadata.annotations
  return { annotations, holder: spec.holderIdentity, epoch: spec.leaseTransitions }
}

describe('a GitOps tool', () => {
  let plane: ControlPlane
  before(async () => {
    plane = await startControlPlane()
  })
  after(() => plane?.close())

  for (const [comparison, flags] of Object.entries(COMPARISONS)) {
    test(`finds no drift in the Lease of a leader, by ${comparison}`, async (t) => {
      const scene = await ApiServerScene.open(plane)
      t.after(() => scene.close())
      const leader = await scene.replica('a', { flags: FAST })
      await leader.event('serving')
      // With the next renewals, the leader writes all that it notes in the Lease.
      await scene.watch.next('two renewals', () => true, scene.watch.length + 1)
      const { stdout } = await scene.kubectl('get', 'lease', LEASE, '--output=json')
      const live = state(JSON.parse(stdout))
      assert.equal(live.holder, 'a')
      assert.ok(Object.keys(live.annotations).length > 0)

      const objects = readFileSync(join(DEPLOY, 'langflow.yaml'), 'utf8').split(/^---$/m)
      const lease = objects.find((text) => /^kind: Lease$/m.test(text)) ?? assert.fail('no Lease')
      const apply = ['apply', `--namespace=${scene.namespace}`, '--dry-run=server', '--output=json', ...flags]
      const applied = await plane.kubectl([...apply, '--filename=-'], lease)
      assert.deepEqual(state(JSON.parse(applied.stdout)), live)
    })
  }
})
