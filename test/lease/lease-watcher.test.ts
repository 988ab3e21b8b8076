import assert from 'node:assert/strict'
import { test } from 'node:test'
import { ApiError } from '../../agent/kube/errors.ts'
import type { Lease } from '../../agent/lease/lease.ts'
import type { LeaseApi, WatchEvent, WatchHandlers } from '../../agent/lease/lease-api.ts'
import { LeaseWatcher } from '../../agent/lease/lease-watcher.ts'
import { settled, VirtualClock } from '../harness/virtual-clock.ts'
import { leaseAt } from '../kube/scripted-server.ts'

const RETRY_MS = 2_000
const LEASE_MS = 15_000
/** Two and a half retry periods. */
const SILENCE_MS = 5_000

/** One watcher on a scripted API, and everything it did, in order. */
class Scene {
  readonly clock = new VirtualClock()
  readonly log: string[] = []
  reads: (() => Lease | null | Promise<Lease | null>)[] = []
  opens: ((handlers: WatchHandlers) => void | Promise<void>)[] = []
  open: WatchHandlers | undefined
  openWatches = 0
  readonly watcher: LeaseWatcher

  constructor() {
    const api: Partial<LeaseApi> = {
      read: async () => {
        this.log.push('read')
        return (this.reads.length > 1 ? this.reads.shift()! : this.reads[0]!)()
      },
      watch: async (resourceVersion, handlers) => {
        this.log.push(`watch ${resourceVersion ?? '-'}`)
        await this.opens.shift()?.(handlers)
        this.open = handlers
        this.openWatches++
        return { close: () => void this.openWatches-- }
      },
    }
    this.watcher = new LeaseWatcher(
      api as LeaseApi,
      this.clock,
      {
        observed: (lease) =>
          this.log.push(`observed ${lease === null ? 'nothing' : lease.metadata.resourceVersion}`),
        up: () => this.log.push('up'),
        down: (error) => this.log.push(`down ${error?.code ?? '-'}`),
      },
      { retryPeriodMs: RETRY_MS, leaseDurationMs: LEASE_MS },
    )
  }

  static async started(lease: Lease | null = leaseAt('5')): Promise<Scene> {
    const scene = new Scene()
    scene.reads = [() => lease]
    scene.watcher.start()
    await settled()
    return scene
  }

  /** One whose watch is open, and of whose start nothing is told any more. */
  static async up(lease?: Lease | null, forMs = 0): Promise<Scene> {
    const scene = await Scene.started(lease)
    await scene.clock.pass(forMs)
    scene.news()
    return scene
  }

  async event(event: WatchEvent): Promise<void> {
    this.open?.event(event)
    await settled()
  }

  async end(error?: ApiError): Promise<void> {
    this.open?.ended(error)
    await settled()
  }

  /** What happened since the last call. */
  news(): string[] {
    return this.log.splice(0)
  }
}

const changed = (version: string, holder?: string): WatchEvent => ({
  type: 'changed',
  object: leaseAt(version, holder),
})
const lost = new ApiError('network', 'lost')
const gone = new ApiError('gone', 'too old')

test('it reads once and watches from there', async () => {
  const scene = await Scene.started()
  assert.deepEqual(scene.news(), ['read', 'observed 5', 'watch 5', 'up'])
  await scene.event(changed('6'))
  await scene.event(changed('7'))
  await scene.event({ type: 'deleted', resourceVersion: '8' })
  await scene.event(changed('9'))
  assert.deepEqual(scene.news(), ['observed 6', 'observed 7', 'observed nothing', 'observed 9'])
})

test('without a Lease it watches for one', async () => {
  const scene = await Scene.started(null)
  await scene.event(changed('3'))
  assert.deepEqual(scene.news(), ['read', 'observed nothing', 'watch -', 'up', 'observed 3'])
})

test('an orderly end is no loss: it goes on from the last version it saw, bookmarks included', async () => {
  const scene = await Scene.started()
  await scene.clock.pass(RETRY_MS)
  await scene.event(changed('6'))
  await scene.event({ type: 'bookmark', resourceVersion: '90' })
  scene.news()
  await scene.end()
  assert.deepEqual(scene.news(), ['watch 90'])
  await scene.clock.pass(RETRY_MS)
  await scene.event(changed('91'))
  assert.deepEqual(scene.news(), ['observed 91'])
})

test('an error is a loss, told once; it is up again after a fresh read', async () => {
  const scene = await Scene.up(leaseAt('5'), RETRY_MS)
  scene.reads = [() => Promise.reject(lost), () => Promise.reject(lost), () => leaseAt('8')]
  await scene.end(lost)
  assert.deepEqual(scene.news(), ['down network'])
  await scene.clock.pass(2 * RETRY_MS)
  assert.deepEqual(scene.news(), ['read', 'read', 'read', 'observed 8', 'watch 8', 'up'])
})

test('the first failed attempt is told, and later ones are not', async () => {
  const scene = new Scene()
  scene.reads = [() => Promise.reject(lost)]
  scene.watcher.start()
  await settled()
  assert.deepEqual(scene.news(), ['read', 'down network'])
  await scene.clock.pass(10 * RETRY_MS)
  const reads = scene.news()
  assert.deepEqual([...new Set(reads)], ['read'])
  assert.ok(reads.length >= 10 && reads.length <= 30, `${reads.length} attempts in ${10 * RETRY_MS} ms`)
})

test('the first new attempt comes within 100 ms, and none at once', async () => {
  const scene = await Scene.started()
  await scene.clock.pass(RETRY_MS)
  await scene.end(lost)
  scene.news()
  await scene.clock.pass(49)
  assert.deepEqual(scene.news(), [])
  await scene.clock.pass(51)
  assert.deepEqual(scene.news(), ['read', 'observed 5', 'watch 5', 'up'])
})

test('a server that asks to wait is obeyed', async () => {
  const scene = new Scene()
  scene.reads = [() => Promise.reject(new ApiError('throttled', 'slow', { retryAfterMs: 7_000 }))]
  scene.watcher.start()
  await settled()
  scene.news()
  await scene.clock.pass(6_999)
  assert.deepEqual(scene.news(), [])
  await scene.clock.pass(1)
  assert.deepEqual(scene.news(), ['read'])
})

test('watches that end as soon as they open, in order or not, are no hot loop', async () => {
  for (const error of [undefined, lost, gone]) {
    const scene = await Scene.started()
    let openings = 0
    for (const end = scene.clock.mono() + 20_000; scene.clock.mono() < end; await scene.clock.pass(10)) {
      if (scene.openWatches === 0) continue
      openings++
      await scene.end(error)
    }
    assert.ok(openings < 30, `${openings} watches in 20 s`)
    assert.equal(scene.log.filter((entry) => entry.startsWith('down')).length > 0, true)
  }
})

test('410 means to read again and start a new watch, without a loss', async () => {
  const scene = await Scene.up(leaseAt('5'), RETRY_MS)
  scene.reads = [() => leaseAt('70')]
  await scene.end(gone)
  assert.deepEqual(scene.news(), ['read', 'observed 70', 'watch 70'])
  // The same on the attempt to go on from an old version.
  await scene.clock.pass(RETRY_MS)
  scene.opens = [() => Promise.reject(gone)]
  await scene.end()
  assert.deepEqual(scene.news(), ['watch 70', 'read', 'observed 70', 'watch 70'])
})

test('what was told is never followed by something older', async () => {
  const scene = await Scene.started()
  await scene.event(changed('10'))
  scene.news()
  await scene.event(changed('9'))
  await scene.event(changed('10'))
  await scene.event({ type: 'deleted', resourceVersion: '9' })
  assert.deepEqual(scene.news(), [])
  await scene.event(changed('11'))
  assert.deepEqual(scene.news(), ['observed 11'])
})

test('a fresh read counts even where its version is lower: etcd may have been restored', async () => {
  const scene = await Scene.started(leaseAt('500'))
  await scene.clock.pass(RETRY_MS)
  scene.reads = [() => leaseAt('20')]
  await scene.end(lost)
  scene.news()
  await scene.clock.pass(RETRY_MS)
  assert.deepEqual(scene.news(), ['read', 'observed 20', 'watch 20', 'up'])
  await scene.event(changed('21'))
  assert.deepEqual(scene.news(), ['observed 21'])
})

test('silence while somebody holds the Lease is looked into by one read, and the watch stays where that shows nothing new', async () => {
  const scene = await Scene.up()
  await scene.clock.pass(SILENCE_MS - 1)
  await scene.event(changed('6'))
  scene.reads = [() => leaseAt('6')]
  await scene.clock.pass(SILENCE_MS - 1)
  assert.deepEqual(scene.news(), ['observed 6'])
  await scene.clock.pass(1)
  assert.deepEqual(scene.news(), ['read'])
  assert.equal(scene.openWatches, 1)
  await scene.event(changed('7'))
  assert.deepEqual(scene.news(), ['observed 7'])
})

test('where the read shows what the watch did not bring, that is told and watched from, without a loss', async () => {
  for (const next of [leaseAt('8'), leaseAt('8', ''), leaseAt('2'), null]) {
    const scene = await Scene.up()
    scene.reads = [() => next]
    await scene.clock.pass(SILENCE_MS)
    const version = next?.metadata.resourceVersion
    assert.deepEqual(scene.news(), ['read', `observed ${version ?? 'nothing'}`, `watch ${version ?? '-'}`])
    assert.equal(scene.openWatches, 1)
  }
})

test('a read that is not answered is a loss: it reads again within a retry period', async () => {
  const scene = await Scene.up()
  scene.reads = [() => Promise.reject(lost), () => leaseAt('8')]
  await scene.clock.pass(SILENCE_MS)
  assert.deepEqual(scene.news(), ['read', 'down network'])
  assert.equal(scene.openWatches, 0)
  await scene.clock.pass(100)
  assert.deepEqual(scene.news(), ['read', 'observed 8', 'watch 8', 'up'])
})

test('what the watch brings while it reads counts, and the answer does not', async () => {
  const scene = await Scene.started()
  const answer = Promise.withResolvers<Lease>()
  scene.reads = [() => answer.promise]
  await scene.clock.pass(SILENCE_MS)
  scene.news()
  await scene.event(changed('7'))
  answer.resolve(leaseAt('6'))
  await settled()
  assert.deepEqual(scene.news(), ['observed 7'])
  await scene.clock.pass(SILENCE_MS - 1)
  assert.deepEqual(scene.news(), [])
  assert.equal(scene.openWatches, 1)
})

test('a bookmark is no sign of the holder', async () => {
  const scene = await Scene.up()
  await scene.clock.pass(SILENCE_MS - 1)
  await scene.event({ type: 'bookmark', resourceVersion: '90' })
  await scene.clock.pass(1)
  assert.deepEqual(scene.news(), ['read'])
})

test('a holder that is silent for good is looked after more and more rarely', async () => {
  const scene = await Scene.up()
  await scene.clock.pass(10 * 60_000)
  const reads = scene.news()
  assert.deepEqual([...new Set(reads)], ['read'])
  assert.ok(reads.length >= 6 && reads.length <= 12, `${reads.length} times in ten minutes`)
})

test('a holder that renews more rarely is not asked after for ever, and one that renews like others again is', async () => {
  const scene = await Scene.started()
  let version = 5
  const renew = async (everyMs: number, times: number) => {
    for (let n = 0; n < times; n++) {
      await scene.clock.pass(everyMs)
      const next = String(++version)
      scene.reads = [() => leaseAt(next)]
      await scene.event(changed(next))
    }
    return scene.news().filter((entry) => entry === 'read').length
  }
  await renew(12_000, 3)
  assert.equal(await renew(12_000, 50), 0)
  await renew(RETRY_MS, 1)
  await scene.clock.pass(SILENCE_MS)
  assert.deepEqual(scene.news(), ['read'])
})

test('another holder is expected to renew like others', async () => {
  const scene = await Scene.started()
  await scene.clock.pass(60_000)
  await scene.event(changed('6', 'b'))
  scene.news()
  await scene.clock.pass(SILENCE_MS)
  assert.deepEqual(scene.news().slice(0, 1), ['read'])
})

test('a holder with a longer lease may be silent for longer', async () => {
  const slow = leaseAt('5')
  slow.spec!.leaseDurationSeconds = 60
  const scene = await Scene.up(slow)
  await scene.clock.pass(4 * SILENCE_MS - 1)
  assert.deepEqual(scene.news(), [])
  await scene.clock.pass(1)
  assert.deepEqual(scene.news(), ['read'])
})

test('what others were shown is to come soon, also where nobody held the Lease, or its holder is slow', async () => {
  for (const [known, waitedMs] of [
    [null, 0],
    [leaseAt('5', ''), 0],
    [leaseAt('5'), 20_000],
  ] as const) {
    const scene = await Scene.started(known)
    await scene.clock.pass(waitedMs)
    scene.reads = [() => leaseAt('9', 'b')]
    scene.watcher.expect(leaseAt('9', 'b'))
    scene.news()
    await scene.clock.pass(SILENCE_MS - 1)
    assert.deepEqual(scene.news(), [])
    await scene.clock.pass(1)
    assert.deepEqual(scene.news(), ['read', 'observed 9', 'watch 9'])
  }
})

test('what comes as expected, or was known, is nothing to look into', async () => {
  const scene = await Scene.started(leaseAt('5', ''))
  scene.watcher.expect(leaseAt('5', ''))
  scene.watcher.expect(leaseAt('6', ''))
  await scene.event(changed('6', ''))
  scene.news()
  await scene.clock.pass(100 * SILENCE_MS)
  assert.deepEqual(scene.news(), [])
})

test('a leader whose watch is dead does not wait for ever because it goes on writing', async () => {
  const scene = await Scene.started()
  scene.reads = [() => leaseAt('8')]
  scene.news()
  for (let version = 6; version <= 8; version++) {
    await scene.clock.pass(RETRY_MS)
    scene.watcher.expect(leaseAt(String(version)))
  }
  assert.deepEqual(scene.news(), ['read', 'observed 8', 'watch 8'])
})

test('silence means nothing while nobody holds the Lease', async () => {
  for (const lease of [null, leaseAt('5', '')]) {
    const scene = await Scene.up(lease)
    await scene.clock.pass(100 * SILENCE_MS)
    assert.deepEqual(scene.news(), [])
  }
})

test('after stop nothing is told, wherever it stood', async () => {
  const open = await Scene.started()
  open.watcher.stop()
  open.news()
  open.open?.event(changed('6'))
  open.open?.ended(lost)
  await open.clock.pass(100_000)
  assert.deepEqual([open.news(), open.openWatches], [[], 0])

  const opening = new Scene()
  opening.reads = [() => leaseAt('5')]
  opening.opens = [() => opening.watcher.stop()]
  const reading = new Scene()
  reading.reads = [
    () => {
      reading.watcher.stop()
      return leaseAt('5')
    },
  ]
  for (const scene of [opening, reading]) scene.watcher.start()
  await settled()
  assert.deepEqual([opening.news(), opening.openWatches], [['read', 'observed 5', 'watch 5'], 0])
  assert.deepEqual(reading.news(), ['read'])

  const waiting = await Scene.started()
  await waiting.end(lost)
  waiting.watcher.stop()
  waiting.news()
  await waiting.clock.pass(100_000)
  assert.deepEqual(waiting.news(), [])
})

test('an event that comes before the opened watch is counted; so is an end', async () => {
  const scene = new Scene()
  scene.reads = [() => leaseAt('5')]
  scene.opens = [
    (handlers) => {
      handlers.event(changed('6'))
      handlers.ended()
    },
  ]
  scene.watcher.start()
  await settled()
  assert.deepEqual(scene.news(), ['read', 'observed 5', 'watch 5', 'observed 6', 'watch 6', 'up'])
})
