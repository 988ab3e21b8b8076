import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { LEASE, lives, mono, Stage } from '../support/stage.ts'
import { until } from '../support/until.ts'

describe('the API server', { concurrency: 2 }, () => {
  test('hangs shorter than the lease: the same process goes on after a pause', async (t) => {
    const stage = await Stage.open(t)
    const [a, b] = await stage.pair()
    const pid = a.workloadPid()
    const hang = stage.api.faults.add({}, { kind: 'hang' })
    await a.event('workload_frozen')
    assert.equal((await a.get('/readyz')).status, 503)
    hang.remove()
    await a.event('workload_thawed')
    await a.find(
      'serving again',
      (line) => line.event === 'serving',
      a.lines.findIndex((line) => line.event === 'doubt'),
    )
    assert.equal(a.workloadPid(), pid)
    assert.ok(lives(pid))
    assert.equal((await a.status()).lease.epoch, 1)
    assert.ok(!b.events().includes('acquired'))
  })

  test('hangs longer than the lease: killed in time, then exactly one leader', async (t) => {
    const stage = await Stage.open(t)
    const [a, b] = await stage.pair()
    const pid = a.workloadPid()
    const hang = stage.api.faults.add({}, { kind: 'hang' })
    await a.event('lost')
    await until('its workload is dead', async () => !lives(pid))
    hang.remove()
    await Promise.any(
      [a, b].map((replica) =>
        replica.find('a new term', (line) => line.event === 'serving' && Number(line.epoch) > 1),
      ),
    )
  })

  test('black-holes the leader alone: the follower takes over after the leader’s workload is dead', async (t) => {
    const stage = await Stage.open(t)
    const [a, b] = await stage.pair()
    const hole = stage.api.faults.partition('a')
    await b.event('acquired')
    assert.ok(!lives(a.workloadPid()))
    hole.remove()
    await a.event('leader_observed')
    await b.event('serving')
    assert.equal(stage.holder(), 'b')
  })

  test('refuses connections: as any other silence', async (t) => {
    const stage = await Stage.open(t)
    const [a, b] = await stage.pair()
    const hole = stage.api.faults.partition('a', 'refuse')
    await b.event('serving')
    hole.remove()
    await a.event('leader_observed')
  })

  test('commits a renewal and loses its answer: nothing is lost, and the deadline counts from the send', async (t) => {
    const stage = await Stage.open(t)
    const [a] = await stage.pair()
    const fault = stage.api.faults.add({ client: 'a', verb: 'update' }, { kind: 'drop-reply' }, { times: 5 })
    await fault.hit
    await stage.api.requests.waitFor(
      { client: 'a', verb: 'update' },
      { count: stage.api.requests.count({ client: 'a', verb: 'update' }) + 8, answered: true },
    )
    assert.deepEqual(
      a.events().filter((event) => event === 'lost' || event === 'doubt'),
      [],
    )
    assert.equal((await a.get('/readyz')).status, 200)
  })

  test('answers every renewal too late: the Lease is kept only while the sends are young enough', async (t) => {
    const stage = await Stage.open(t)
    const [a, b] = await stage.pair()
    const fault = stage.api.faults.add({ client: 'a', verb: 'update' }, { kind: 'delay-before', ms: 2_500 })
    await a.event('workload_frozen')
    fault.remove()
    const back = await Promise.any([
      a.find('thawed', (line) => line.event === 'workload_thawed' || line.event === 'lost'),
      b.event('acquired'),
    ])
    assert.ok(back)
  })

  test('answers 409 to a renewal that had succeeded: the leader goes on', async (t) => {
    const stage = await Stage.open(t)
    const [a] = await stage.pair()
    const fault = stage.api.faults.add(
      { client: 'a', verb: 'update' },
      { kind: 'status-after-commit', code: 409 },
      { times: 3 },
    )
    await fault.hit
    await stage.api.requests.waitFor(
      { client: 'a', verb: 'update' },
      { count: stage.api.requests.count({ client: 'a', verb: 'update' }) + 6, answered: true },
    )
    assert.deepEqual(
      a.events().filter((event) => event === 'lost' || event === 'doubt'),
      [],
    )
    assert.equal(stage.holder(), 'a')
  })

  for (const code of [401, 403, 429, 500, 503, 504] as const) {
    test(`answers ${code} for a while: the leader goes on, and says why it worries`, async (t) => {
      const stage = await Stage.open(t)
      const [a] = await stage.pair()
      const fault = stage.api.faults.add({ client: 'a' }, { kind: 'status', code }, { times: 3 })
      await fault.hit
      await stage.api.requests.waitFor(
        { client: 'a', verb: 'update' },
        { count: stage.api.requests.count({ client: 'a', verb: 'update' }) + 5, answered: true },
      )
      assert.deepEqual(
        a.events().filter((event) => event === 'lost'),
        [],
      )
      assert.ok(a.lines.some((line) => line.level === 'warn'))
      assert.equal(stage.holder(), 'a')
    })
  }

  test('loses its watches in every way: polled meanwhile, and watched again', async (t) => {
    const stage = await Stage.open(t)
    const [a, b] = await stage.pair()
    const { faults, requests } = stage.api
    for (const lose of [
      'cutWatches',
      'truncateWatches',
      'garbleWatches',
      'expireWatches',
      'endWatches',
    ] as const) {
      const watches = requests.count({ client: 'b', verb: 'watch' })
      assert.ok(faults[lose]({ client: 'b' }) > 0, lose)
      await requests.waitFor({ client: 'b', verb: 'watch' }, { count: watches + 1, answered: true })
    }
    faults.compact()
    faults.cutWatches({ client: 'b' })
    await requests.waitFor(
      { client: 'b', verb: 'watch' },
      { count: requests.count({ client: 'b', verb: 'watch' }) + 1, answered: true },
    )
    a.signal('SIGTERM')
    await b.event('serving')
  })

  test('refuses the watch for good: the follower polls, and takes over all the same', async (t) => {
    const stage = await Stage.open(t)
    stage.api.faults.add({ verb: 'watch' }, { kind: 'status', code: 403 })
    const [a, b] = await stage.pair()
    await stage.api.requests.waitFor({ client: 'b', verb: 'get' }, { count: 5, answered: true })
    assert.match((await b.status()).problem ?? '', /watch/)
    a.signal('SIGTERM')
    await b.event('serving')
  })

  test('a follower sends nothing beside its watch, and the leader one renewal in each retry period', async (t) => {
    const stage = await Stage.open(t)
    await stage.pair()
    const count = (client: string) => stage.api.requests.count({ client })
    const [follower, leader, began] = [count('b'), count('a'), mono()]
    await stage.api.requests.waitFor(
      { client: 'a', verb: 'update' },
      { count: stage.api.requests.count({ client: 'a', verb: 'update' }) + 10 },
    )
    assert.equal(count('b') - follower, 0)
    assert.ok(count('a') - leader <= Math.ceil((mono() - began) / 400) + 1)
  })
})

describe('the Lease', { concurrency: 2 }, () => {
  test('edited to another live holder: the old leader’s workload dies at once', async (t) => {
    const stage = await Stage.open(t)
    const [a] = await stage.pair()
    const pid = a.workloadPid()
    const edited = mono()
    stage.edit({ holderIdentity: 'someone', renewTime: new Date().toISOString().replace('Z', '000Z') })
    await until('its workload is dead', async () => !lives(pid))
    const last = Math.max(...stage.beatsOf('a').map((beat) => beat.mono))
    assert.ok(last - edited < 250, `acted ${last - edited} ms on`)
    assert.equal(stage.holder(), 'someone')
  })

  test('deleted while held: its live holder re-creates it at once, a fresh candidate waits', async (t) => {
    const stage = await Stage.open(t)
    const [a] = await stage.pair()
    const pid = a.workloadPid()
    const fresh = await stage.replica('c')
    await fresh.event('standby_ready')
    stage.api.delete(LEASE)
    await stage.api.requests.waitFor({ client: 'a', verb: 'create' }, { answered: true })
    assert.equal(stage.holder(), 'a')
    assert.ok(lives(pid))
    assert.equal((await a.status()).lease.epoch, 1)
    assert.ok(!fresh.events().includes('acquired'))
  })

  test('missing at the first start is waited for a whole lease duration, then created', async (t) => {
    const stage = await Stage.open(t)
    stage.api.delete(LEASE)
    const began = mono()
    const a = await stage.replica('a')
    await a.event('serving')
    assert.ok(mono() - began >= 4_000)
  })

  test('with the name of a live leader: the later one refuses and ends with code 1', async (t) => {
    const stage = await Stage.open(t)
    const [a] = await stage.pair()
    const twin = await stage.replica('a')
    assert.equal((await twin.exited).code, 1)
    assert.match((await twin.event('fatal')).reason ?? '', /used by another live process/)
    assert.equal((await a.get('/readyz')).status, 200)
  })
})
