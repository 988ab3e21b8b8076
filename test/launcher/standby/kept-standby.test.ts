import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { KeptStandby, PREPARING } from '../../../agent/launcher/standby/kept-standby.ts'
import { COLD } from '../../../agent/link/link-messages.ts'
import { settled, VirtualClock } from '../../harness/virtual-clock.ts'

const MINUTE_MS = 60_000

/** A standby whose steps the test triggers. */
class FakeStandby extends KeptStandby {
  prepared = 0
  ended = 0
  /** Runs at the beginning of each preparation. */
  onBegin = (): void => {}

  protected override begin(): void {
    this.prepared++
    this.become(PREPARING)
    this.onBegin()
  }

  protected override end(): void {
    this.ended++
  }

  isReady(): void {
    this.ready({ reason: null, memoryBytes: 1e6 })
  }

  /** Fails the preparation, or a standby that was ready and then killed. */
  hasFailed(unfit = false): void {
    this.unfit = unfit
    this.fail('it ended')
  }

  isOutdated = false

  protected override get stale(): string | null {
    return this.isOutdated ? 'its environment' : null
  }

  take(): void {
    this.goesOn()
  }
}

function bench() {
  const clock = new VirtualClock()
  const views: string[] = []
  const standby = new FakeStandby(clock, ({ mode, state }) => void views.push(`${mode} ${state}`))
  /** Asserts that the next preparation begins after exactly these minutes. */
  const beginsAfter = async (minutes: number) => {
    const before = standby.prepared
    await clock.pass(minutes * MINUTE_MS - 1)
    assert.equal(standby.prepared, before, `a preparation began before ${minutes} min had passed`)
    await clock.pass(1)
    assert.equal(standby.prepared, before + 1, `no preparation began after ${minutes} min`)
  }
  return { clock, views, standby, beginsAfter }
}

describe('a kept standby', () => {
  test('is prepared once, even if an agent that reconnects orders it again', () => {
    const { standby, views } = bench()
    standby.prepare()
    standby.prepare()
    standby.isReady()
    standby.prepare()
    assert.deepEqual(views, ['warm preparing', 'warm ready'])
    assert.equal(standby.prepared, 1)
  })

  test('begins its preparation after the ordered delay, unless it is discarded before', async () => {
    const { standby, beginsAfter } = bench()
    standby.prepare(3 * MINUTE_MS)
    // With mode `cold`, the replica would count as prepared.
    assert.deepEqual([standby.view.mode, standby.view.state], ['warm', 'none'])
    await beginsAfter(3)
    const dropped = bench()
    dropped.standby.prepare(3_000)
    dropped.standby.discard()
    await dropped.clock.pass(MINUTE_MS)
    assert.equal(dropped.standby.prepared, 0)
  })

  test('is prepared again if it is outdated, but at most once a minute', async () => {
    const { standby, clock, views, beginsAfter } = bench()
    standby.renew()
    standby.prepare()
    standby.renew()
    standby.isReady()
    standby.renew()
    assert.deepEqual([standby.prepared, standby.ended], [1, 0])
    standby.isOutdated = true
    await clock.pass(1_000)
    standby.renew()
    assert.deepEqual([standby.prepared, standby.ended], [2, 1])
    await clock.pass(MINUTE_MS / 2)
    standby.renew()
    assert.deepEqual([standby.prepared, views.at(-1)], [2, 'warm none'])
    standby.renew()
    await beginsAfter(0.5)
  })

  test('begins a delayed preparation immediately if a start uses it', async () => {
    const { standby } = bench()
    standby.prepare(3_000)
    const used = standby.use()
    assert.equal(standby.prepared, 1)
    standby.isReady()
    await used
  })

  test('begins a delayed preparation immediately if it is ordered without a delay, but not a retry', async () => {
    const { standby, beginsAfter } = bench()
    standby.prepare(MINUTE_MS)
    standby.prepare(2 * MINUTE_MS)
    assert.equal(standby.prepared, 0)
    standby.prepare()
    standby.prepare()
    assert.equal(standby.prepared, 1)
    standby.hasFailed()
    standby.prepare()
    await beginsAfter(1)
  })

  test('retries a failed preparation after 60 s, then after twice as long each time, at most 15 min', async () => {
    const { standby, beginsAfter } = bench()
    standby.onBegin = () => standby.hasFailed()
    standby.prepare()
    assert.deepEqual(standby.view, { ...COLD, reason: 'it ended' })
    for (const minutes of [1, 2, 4, 8, 15, 15]) await beginsAfter(minutes)
  })

  test('that was ready for 15 min is prepared again immediately; one that fails earlier backs off', async () => {
    const { clock, standby, beginsAfter } = bench()
    standby.prepare()
    for (const minutes of [1, 2, 4]) {
      standby.isReady()
      standby.hasFailed()
      await beginsAfter(minutes)
    }
    for (const _ of 'twice') {
      standby.isReady()
      const before = standby.prepared
      await clock.pass(15 * MINUTE_MS)
      standby.hasFailed()
      await clock.pass(0)
      assert.equal(standby.prepared, before + 1)
    }
    standby.hasFailed()
    await clock.pass(2 * MINUTE_MS)
    assert.equal(standby.prepared, 1 + 3 + 'twice'.length + 1)
  })

  test('is prepared immediately after the next term, which also resets the back-off', async () => {
    const { clock, standby } = bench()
    standby.prepare()
    standby.hasFailed()
    await clock.pass(MINUTE_MS)
    standby.hasFailed()
    await standby.use()
    standby.prepare()
    assert.equal(standby.prepared, 3)
    standby.hasFailed()
    await clock.pass(MINUTE_MS)
    assert.equal(standby.prepared, 4)
  })

  test('is never prepared again if LangFlow is unfit for it, also not after the next term', async () => {
    const { clock, standby } = bench()
    standby.prepare()
    standby.hasFailed(true)
    assert.equal(clock.next(), Number.POSITIVE_INFINITY)
    await standby.use()
    standby.prepare()
    assert.equal(standby.prepared, 1)
    assert.equal(standby.view.reason, 'it ended')
  })
})

describe('a start', () => {
  test('waits for the preparation until it is ready or has failed', async () => {
    for (const end of ['isReady', 'hasFailed'] as const) {
      const { standby } = bench()
      standby.prepare()
      let used = false
      void standby.use().then(() => {
        used = true
      })
      await settled()
      assert.equal(used, false)
      standby[end]()
      await settled()
      assert.equal(used, true)
    }
  })

  test('ends all preparation and cancels a pending retry until the next order', async () => {
    for (const failsFirst of [true, false]) {
      const { clock, standby } = bench()
      standby.prepare()
      if (failsFirst) standby.hasFailed()
      const used = standby.use()
      if (!failsFirst) standby.hasFailed()
      await used
      await clock.pass(60 * MINUTE_MS)
      assert.equal(standby.prepared, 1)
      standby.prepare()
      assert.equal(standby.prepared, 2)
    }
  })

  test('uses the standby up; the next order prepares another one', async () => {
    const { standby } = bench()
    standby.prepare()
    standby.isReady()
    await standby.use()
    standby.take()
    assert.equal(standby.view.state, 'none')
    standby.prepare()
    assert.equal(standby.prepared, 2)
  })
})

describe('a discard', () => {
  test('is permanent: it ends a ready standby and cancels a pending retry', async () => {
    for (const end of ['isReady', 'hasFailed'] as const) {
      const { clock, standby } = bench()
      standby.prepare()
      standby[end]()
      standby.discard()
      await clock.pass(60 * MINUTE_MS)
      assert.deepEqual([standby.prepared, standby.ended > 0, standby.view], [1, true, COLD])
    }
  })
})
