import assert from 'node:assert/strict'
import { after, before, describe, type TestContext, test } from 'node:test'
import { type ControlPlane, deployRights, startControlPlane } from '../harness/control-plane.ts'
import { FAST } from '../harness/replica.ts'
import { ApiServerScene, LEASE } from '../harness/scene.ts'

let plane: ControlPlane

before(async () => {
  plane = await startControlPlane()
})

after(() => plane?.close())

async function open(t: TestContext): Promise<ApiServerScene> {
  const scene = await ApiServerScene.open(plane)
  t.after(() => scene.close())
  return scene
}

/** What else may happen to a Lease on a real API server is in the fault table. */
describe('on a real API server', { concurrency: 2 }, () => {
  test('kubectl annotates the Lease: nothing happens, and the annotation stays after a clean handover', async (t) => {
    const scene = await open(t)
    const [a, b] = await scene.pair({ flags: FAST })
    await scene.kubectl('annotate', 'lease', LEASE, 'team=research')
    a.signal('SIGTERM')
    await b.event('serving')
    const { holder, object } = scene.watch.last()
    assert.deepEqual([holder, object.metadata.annotations?.team], ['b', 'research'])
    assert.ok(!a.events().includes('lost') && !a.events().includes('doubt'))
  })

  test('a missing right is named, retried, and picked up once it is granted', async (t) => {
    const scene = await open(t)
    await scene.kubectl('delete', 'rolebinding', '--all')
    const a = await scene.replica('a', { flags: FAST })
    const warning = await a.find(
      'the missing right',
      (line) => line.level === 'warn' && /"get".*leases/.test(line.msg),
    )
    assert.match(warning.msg, /langflow-leader-lock/)
    assert.match((await a.status()).problem ?? '', /"get"/)
    assert.equal((await a.get('/livez')).status, 200)
    await deployRights(plane, scene.namespace)
    await a.event('serving')
    // Its watch is opened again a moment after a poll has seen the Lease.
    await a.find('the end of the problem', (line) => /can be reached again/.test(line.msg))
    assert.equal((await a.status()).problem, null)
  })
})
