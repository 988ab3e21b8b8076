import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { DEPLOY } from '../deploy/manifests.ts'
import { startControlPlane } from '../harness/control-plane.ts'
import { FAST } from '../harness/replica.ts'
import { ApiServerScene, LEASE } from '../harness/scene.ts'

/** How tools compare an object with their manifest: Flux and Helm 4 by server-side apply, Argo CD by the last applied manifest. */
const COMPARISONS = [
  ['--server-side', '--force-conflicts', '--field-manager=helm-controller'],
  ['--server-side=false'],
]

/** What must stay. The times change with each renewal. */
function state(text: string) {
  const { metadata, spec } = JSON.parse(text)
  const { 'kubectl.kubernetes.io/last-applied-configuration': _, ...annotations } = metadata.annotations
  return { annotations, holder: spec.holderIdentity, epoch: spec.leaseTransitions }
}

test('a GitOps tool finds no drift in the Lease of a leader', async (t) => {
  const plane = await startControlPlane()
  const scene = await ApiServerScene.open(plane)
  t.after(async () => {
    await scene.close()
    await plane.close()
  })
  const leader = await scene.replica('a', { flags: FAST })
  await leader.event('serving')
  // With the next renewals, the leader writes all that it notes in the Lease.
  await scene.watch.next('two renewals', () => true, scene.watch.length + 1)
  const live = state((await scene.kubectl('get', 'lease', LEASE, '--output=json')).stdout)
  assert.equal(live.holder, 'a')
  assert.ok(Object.keys(live.annotations).length > 0)
  const objects = readFileSync(join(DEPLOY, 'langflow.yaml'), 'utf8').split(/^---$/m)
  const lease = objects.find((text) => /^kind: Lease$/m.test(text)) ?? assert.fail('no Lease')
  for (const flags of COMPARISONS) {
    const apply = ['apply', `--namespace=${scene.namespace}`, '--dry-run=server', '--output=json', ...flags]
    const applied = await plane.kubectl([...apply, '--filename=-'], lease)
    assert.deepEqual(state(applied.stdout), live, String(flags))
  }
})
