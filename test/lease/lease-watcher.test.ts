import assert from 'node:assert/strict'
import { test } from 'node:test'
import { ApiError } from '../../agent/kube/kube-errors.ts'
import type { Lease } from '../../agent/lease/lease.ts'
import type { LeaseApi, WatchEvent, WatchHandlers } from '../../agent/lease/lease-api.ts'
import { LeaseWatcher } from '../../agent/lease/lease-watcher.ts'
import { settled, VirtualClock } from '../harness/virtual-clock.ts'
import { leaseAt } from '../kube/scripted-server.ts'

const RETRY_MS = 2_000
const LEASE_MS = 15_000
/** Two and a half retry periods. */
const SILENCE_MS = 5_000
const END = 'an end in order'

type Answer = Lease | null | ApiError | Promise<Lease>

/** Milliseconds that pass, an event or the end of the watch, or a version that another request has shown. */
type Step = number | WatchEvent | ApiError | typeof END | { readonly expect: Lease }

/** A watcher on a scripted API, and all its actions in order. */
class Scene {
  readonly clock = new VirtualClock()
  readonly log: string[] = []
  /** The answers to the reads, in order. The last one repeats. */
  reads: Answer[]
  opens: ((handlers: WatchHandlers) => void | Promise<void>)[] = []
  handlers: WatchHandlers | undefined
  openWatches = 0
  readonly watcher: LeaseWatcher

  constructor(...reads: Answer[]) {
    this.reads = reads
    const api: Partial<LeaseApi> = {
      read: async () => {
        this.log.push('read')
        const [first] = this.reads.length > 1 ? this.reads.splice(0, 1) : this.reads
        if (first instanceof ApiError) throw first
        return first as Lease | null
      },
      watch: async (resourceVersion, handlers) => {
        this.log.push(`watch ${resourceVersion ?? '-'}`)
        await this.opens.shift()?.(handlers)
        this.handlers = handlers
        this.openWatches++
        return { close: () => void this.openWatches-- }
      },
    }
    this.watcher = new LeaseWatcher(
      api as LeaseApi,
      this.clock,
      {
        observed: (lease) => {
          this.log.push(`observed ${lease === null ? 'nothing' : lease.metadata.resourceVersion}`)
        },
        up: () => this.log.push('up'),
        down: (error) => this.log.push(`down ${error?.code ?? '-'}`),
      },
      { retryPeriodMs: RETRY_MS, leaseDurationMs: LEASE_MS },
    )
  }

  /** Starts the watcher, and returns its actions. */
  async start(): Promise<string[]> {
    this.watcher.start()
    return this.play()
  }

  /** A watcher whose watch has been open for `forMs`. */
  static async up(lease: Lease | null = leaseAt('5'), forMs = 0): Promise<Scene> {
    const scene = new Scene(lease)
    await scene.start()
    await scene.play(forMs)
    return scene
  }

  /** Plays the steps, and returns the actions since the last call. */
  async play(...steps: Step[]): Promise<string[]> {
    for (const step of steps) {
      if (typeof step === 'number') await this.clock.pass(step)
      else if (step === END) this.handlers?.ended()
      else if (step instanceof ApiError) this.handlers?.ended(step)
      else if ('expect' in step) this.watcher.expect(step.expect)
      else this.handlers?.event(step)
      await settled()
    }
    await settled()
    return this.log.splice(0)
  }
}

const changed = (version: string, holder?: string): WatchEvent => ({
  type: 'changed',
  object: leaseAt(version, holder),
})
const deleted = (resourceVersion: string): WatchEvent => ({ type: 'deleted', resourceVersion })
const bookmark = (resourceVersion: string): WatchEvent => ({ type: 'bookmark', resourceVersion })
const lost = new ApiError('network', 'lost')
const gone = new ApiError('gone', 'too old')

test('the watcher reads once and watches from the version that it read', async () => {
  const scene = new Scene(leaseAt('5'))
  assert.deepEqual(await scene.start(), ['read', 'observed 5', 'watch 5', 'up'])
  assert.deepEqual(await scene.play(changed('6'), changed('7'), deleted('8'), changed('9')), [
    'observed 6',
    'observed 7',
    'observed nothing',
    'observed 9',
  ])
})

test('the watcher watches for a Lease that does not exist yet', async () => {
  const scene = new Scene(null)
  assert.deepEqual(await scene.start(), ['read', 'observed nothing', 'watch -', 'up'])
  assert.deepEqual(await scene.play(changed('3')), ['observed 3'])
})

test('a regular end of the watch is not a loss: the next watch continues from the last version or bookmark', async () => {
  const scene = await Scene.up(leaseAt('5'), RETRY_MS)
  assert.deepEqual(await scene.play(changed('6'), bookmark('90'), END), ['observed 6', 'watch 90'])
  assert.deepEqual(await scene.play(RETRY_MS, changed('91')), ['observed 91'])
})

test('an error is reported as a loss once, and the watch is up again after a read', async () => {
  const scene = await Scene.up(leaseAt('5'), RETRY_MS)
  scene.reads = [lost, lost, leaseAt('8')]
  assert.deepEqual(await scene.play(lost), ['down network'])
  assert.deepEqual(await scene.play(2 * RETRY_MS), ['read', 'read', 'read', 'observed 8', 'watch 8', 'up'])
})

test('only the first failed attempt is reported', async () => {
  const scene = new Scene(lost)
  assert.deepEqual(await scene.start(), ['read', 'down network'])
  const reads = await scene.play(10 * RETRY_MS)
  assert.deepEqual([...new Set(reads)], ['read'])
  assert.ok(reads.length >= 10 && reads.length <= 30, `${reads.length} attempts in ${10 * RETRY_MS} ms`)
})

test('the next attempt comes 50 to 100 ms after a loss', async () => {
  const scene = await Scene.up(leaseAt('5'), RETRY_MS)
  assert.deepEqual(await scene.play(lost, 49), ['down network'])
  assert.deepEqual(await scene.play(51), ['read', 'observed 5', 'watch 5', 'up'])
})

test('watches that end as soon as they open do not cause a hot loop', async () => {
  for (const end of [END, lost, gone] as const) {
    const scene = await Scene.up()
    const log: string[] = []
    let openings = 0
    for (const until = scene.clock.mono() + 20_000; scene.clock.mono() < until; ) {
      log.push(...(await scene.play(10)))
      if (scene.openWatches === 0) continue
      openings++
      log.push(...(await scene.play(end)))
    }
    assert.ok(openings < 30, `${openings} watches in 20 s`)
    assert.ok(log.some((entry) => entry.startsWith('down')))
  }
})

test('a 410 leads to a read and a new watch, without a loss', async () => {
  const scene = await Scene.up(leaseAt('5'), RETRY_MS)
  scene.reads = [leaseAt('70')]
  assert.deepEqual(await scene.play(gone), ['read', 'observed 70', 'watch 70'])
  // A 410 to the request that continues from an old version has the same effect.
  scene.opens = [() => Promise.reject(gone)]
  assert.deepEqual(await scene.play(RETRY_MS, END), ['watch 70', 'read', 'observed 70', 'watch 70'])
})

test('the watcher never reports an older version after a newer one', async () => {
  const scene = await Scene.up()
  assert.deepEqual(await scene.play(changed('10'), changed('9'), changed('10'), deleted('9')), [
    'observed 10',
  ])
  assert.deepEqual(await scene.play(changed('11')), ['observed 11'])
})

test('a read counts even if its version is lower, since etcd may have been restored', async () => {
  const scene = await Scene.up(leaseAt('500'), RETRY_MS)
  scene.reads = [leaseAt('20')]
  const back = ['down network', 'read', 'observed 20', 'watch 20', 'up']
  assert.deepEqual(await scene.play(lost, RETRY_MS), back)
  assert.deepEqual(await scene.play(changed('21')), ['observed 21'])
})

test('a silent watch of a held Lease causes one read, and stays open if the read shows no change', async () => {
  const scene = await Scene.up()
  scene.reads = [leaseAt('6')]
  assert.deepEqual(await scene.play(SILENCE_MS - 1, changed('6'), SILENCE_MS - 1), ['observed 6'])
  assert.deepEqual(await scene.play(1), ['read'])
  assert.equal(scene.openWatches, 1)
  assert.deepEqual(await scene.play(changed('7')), ['observed 7'])
})

test('if the read shows a change that the watch missed, the watcher reports it and opens a new watch, without a loss', async () => {
  for (const next of [leaseAt('8'), leaseAt('8', ''), leaseAt('2'), null]) {
    const scene = await Scene.up()
    scene.reads = [next]
    const version = next?.metadata.resourceVersion
    const reopened = ['read', `observed ${version ?? 'nothing'}`, `watch ${version ?? '-'}`]
    assert.deepEqual(await scene.play(SILENCE_MS), reopened)
    assert.equal(scene.openWatches, 1)
  }
})

test('a failed read during silence is a loss, and is repeated within a retry period', async () => {
  const scene = await Scene.up()
  scene.reads = [lost, leaseAt('8')]
  assert.deepEqual(await scene.play(SILENCE_MS), ['read', 'down network'])
  assert.equal(scene.openWatches, 0)
  assert.deepEqual(await scene.play(100), ['read', 'observed 8', 'watch 8', 'up'])
})

test('an event that arrives during a read counts, and an older answer to the read does not', async () => {
  const scene = await Scene.up()
  const answer = Promise.withResolvers<Lease>()
  scene.reads = [answer.promise]
  assert.deepEqual(await scene.play(SILENCE_MS, changed('7')), ['read', 'observed 7'])
  answer.resolve(leaseAt('6'))
  assert.deepEqual(await scene.play(SILENCE_MS - 1), [])
  assert.equal(scene.openWatches, 1)
})

test('a read that is newer than an event during it is reported immediately, and later events follow', async () => {
  const scene = await Scene.up()
  const answer = Promise.withResolvers<Lease>()
  scene.reads = [answer.promise]
  assert.deepEqual(await scene.play(SILENCE_MS, changed('6')), ['read', 'observed 6'])
  answer.resolve(leaseAt('7', 'another'))
  assert.deepEqual(await scene.play(), ['observed 7'])
  assert.deepEqual(await scene.play(changed('7', 'another'), changed('8', 'another')), ['observed 8'])
  assert.equal(scene.openWatches, 1)
})

test('a read that finds no Lease does not hide an event that arrived during it', async () => {
  const scene = await Scene.up()
  const answer = Promise.withResolvers<Lease>()
  scene.reads = [answer.promise]
  await scene.play(SILENCE_MS, changed('6'))
  answer.resolve(null as unknown as Lease)
  assert.deepEqual(await scene.play(), [])
})

test('a bookmark does not count as a sign of the holder', async () => {
  const scene = await Scene.up()
  assert.deepEqual(await scene.play(SILENCE_MS - 1, bookmark('90')), [])
  assert.deepEqual(await scene.play(1), ['read'])
})

test('a holder with a longer lease duration may be silent for longer', async () => {
  const lease = leaseAt('5')
  const scene = await Scene.up({ ...lease, spec: { ...lease.spec, leaseDurationSeconds: 60 } })
  assert.deepEqual(await scene.play(4 * SILENCE_MS - 1), [])
  assert.deepEqual(await scene.play(1), ['read'])
})

test('a version that another request has shown must arrive soon, even for a free Lease', async () => {
  for (const [lease, waitedMs] of [
    [null, 0],
    [leaseAt('5', ''), 0],
    [leaseAt('5'), 20_000],
  ] as const) {
    const scene = await Scene.up(lease, waitedMs)
    scene.reads = [leaseAt('9', 'b')]
    assert.deepEqual(await scene.play({ expect: leaseAt('9', 'b') }, SILENCE_MS - 1), [])
    assert.deepEqual(await scene.play(1), ['read', 'observed 9', 'watch 9'])
  }
})

test('an expected version that arrives, or was seen already, causes no read', async () => {
  const scene = await Scene.up(leaseAt('5', ''))
  const expected = [{ expect: leaseAt('5', '') }, { expect: leaseAt('6', '') }]
  assert.deepEqual(await scene.play(...expected, changed('6', ''), 100 * SILENCE_MS), ['observed 6'])
})

test('a leader’s own writes do not postpone the check of its dead watch', async () => {
  const scene = await Scene.up()
  scene.reads = [leaseAt('8')]
  const writes = ['6', '7', '8'].flatMap((version) => [RETRY_MS, { expect: leaseAt(version) }])
  assert.deepEqual(await scene.play(...writes), ['read', 'observed 8', 'watch 8'])
})

test('a silent watch of a free Lease causes no read', async () => {
  for (const lease of [null, leaseAt('5', '')])
    assert.deepEqual(await (await Scene.up(lease)).play(100 * SILENCE_MS), [])
})

test('a stopped watcher reports nothing, in any phase', async () => {
  const open = await Scene.up()
  open.watcher.stop()
  assert.deepEqual(await open.play(changed('6'), lost, 100_000), [])

  const opening = new Scene(leaseAt('5'))
  opening.opens = [() => opening.watcher.stop()]
  assert.deepEqual(await opening.start(), ['read', 'observed 5', 'watch 5'])
  assert.deepEqual([open.openWatches, opening.openWatches], [0, 0])

  const answer = Promise.withResolvers<Lease>()
  const reading = new Scene(answer.promise)
  await reading.start()
  reading.watcher.stop()
  answer.resolve(leaseAt('5'))
  assert.deepEqual(await reading.play(), [])

  const waiting = await Scene.up()
  await waiting.play(lost)
  waiting.watcher.stop()
  assert.deepEqual(await waiting.play(100_000), [])
})

test('an event and an end count even if they arrive before the watch has opened', async () => {
  const scene = new Scene(leaseAt('5'))
  scene.opens = [
    (handlers) => {
      handlers.event(changed('6'))
      handlers.ended()
    },
  ]
  const all = ['read', 'observed 5', 'watch 5', 'observed 6', 'watch 6', 'up']
  assert.deepEqual(await scene.start(), all)
})
