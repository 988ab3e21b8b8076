import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { EmbeddedScene, LEASE, lives } from '../harness/scene.ts'
import { mono } from '../harness/wait.ts'

describe('the API server', { concurrency: 2 }, () => {
  test('hangs shorter than the lease: the same process goes on after a pause', async (t) => {
    const scene = await EmbeddedScene.open(t)
    const [a, b] = await scene.pair()
    const pid = a.workloadPid()
    const hang = scene.api.faults.add({}, { kind: 'hang' })
    await a.event('workload_frozen')
    assert.equal((await a.get('/readyz')).status, 503)
    hang.remove()
    await a.event('workload_thawed')
    const doubt = a.lines.findIndex((line) => line.event === 'doubt')
    await a.event('serving', doubt)
    assert.equal(a.workloadPid(), pid)
    assert.ok(lives(pid))
    assert.equal((await a.status()).lease.epoch, 1)
    assert.ok(!b.events().includes('acquired'))
  })

  test('loses its watches in every way: polled meanwhile, and watched again', async (t) => {
    const scene = await EmbeddedScene.open(t)
    const [a, b] = await scene.pair()
    const { faults, requests } = scene.api
    const watches = { client: 'b', verb: 'watch' } as const
    const again = () => requests.waitFor(watches, { count: requests.count(watches) + 1, answered: true })
    for (const lose of [
      'cutWatches',
      'truncateWatches',
      'garbleWatches',
      'expireWatches',
      'endWatches',
    ] as const) {
      const opened = again()
      assert.ok(faults[lose]({ client: 'b' }) > 0, lose)
      await opened
    }
    faults.compact()
    const opened = again()
    faults.cutWatches({ client: 'b' })
    await opened
    a.signal('SIGTERM')
    await b.event('serving')
  })

  test('refuses the watch for good: the follower polls, and takes over all the same', async (t) => {
    const scene = await EmbeddedScene.open(t)
    scene.api.faults.add({ verb: 'watch' }, { kind: 'status', code: 403 })
    const [a, b] = await scene.pair()
    await scene.api.requests.waitFor({ client: 'b', verb: 'get' }, { count: 5, answered: true })
    assert.match((await b.status()).problem ?? '', /watch/)
    a.signal('SIGTERM')
    await b.event('serving')
  })

  test('has no Lease at the first start: waited for a whole lease duration, then created', async (t) => {
    const scene = await EmbeddedScene.open(t)
    scene.api.delete(LEASE)
    const began = mono()
    const a = await scene.replica('a')
    await a.event('serving')
    assert.ok(mono() - began >= 4_000)
  })
})
