import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { KeptStandby, PREPARING } from '../../../agent/launcher/standby/kept-standby.ts'
import { COLD } from '../../../agent/link/link-messages.ts'
import { settled, VirtualClock } from '../../harness/virtual-clock.ts'

const MINUTE_MS = 60_000

/** One that does what the test says, when it says so. */
class FakeStandby extends KeptStandby {
  prepared = 0
  ended = 0
  /** What happens at once where it is prepared. */
  atOnce = (): void => {}

  protected override begin(): void {
    this.prepared++
    this.become(PREPARING)
    this.atOnce()
  }

  protected override end(): void {
    this.ended++
  }

  isReady(): void {
    this.ready({ reason: null, memoryBytes: 1e6 })
  }

  /** Also when it was ready: it was killed. */
  hasFailed(unfit = false): void {
    this.unfit = unfit
    this.fail('it ended')
  }

  take(): void {
    this.goesOn()
  }
}

function bench() {
  const clock = new VirtualClock()
  const views: string[] = []
  const standby = new FakeStandby(clock, ({ mode, state }) => void views.push(`${mode} ${state}`))
  /** One is begun after these minutes, and not before. */
  const isBegunAfter = async (minutes: number) => {
    const before = standby.prepared
    await clock.pass(minutes * MINUTE_MS - 1)
    assert.equal(standby.prepared, before, `not before ${minutes} min`)
    await clock.pass(1)
    assert.equal(standby.prepared, before + 1, `after ${minutes} min`)
  }
  return { clock, views, standby, isBegunAfter }
}

describe('a standby that is kept', () => {
  test('is prepared once, also where it is asked for again, e.g. by an agent that has come back', () => {
    const { standby, views } = bench()
    standby.prepare()
    standby.prepare()
    standby.isReady()
    standby.prepare()
    assert.deepEqual(views, ['warm preparing', 'warm ready'])
    assert.equal(standby.prepared, 1)
  })

  test('is begun as late as it is asked for, unless it is discarded before', async () => {
    const { standby, isBegunAfter } = bench()
    standby.prepare(3 * MINUTE_MS)
    // Nobody is to take it for a cold one, which is ready as it is.
    assert.deepEqual([standby.view.mode, standby.view.state], ['warm', 'none'])
    await isBegunAfter(3)
    const dropped = bench()
    dropped.standby.prepare(3_000)
    dropped.standby.discard()
    await dropped.clock.pass(MINUTE_MS)
    assert.equal(dropped.standby.prepared, 0)
  })

  test('is begun at once where it is used before', async () => {
    const { standby } = bench()
    standby.prepare(3_000)
    const used = standby.use()
    assert.equal(standby.prepared, 1)
    standby.isReady()
    await used
  })

  test('that was put off is begun once it is asked for without a wait; one that failed waits its time', async () => {
    const { standby, isBegunAfter } = bench()
    standby.prepare(MINUTE_MS)
    standby.prepare(2 * MINUTE_MS)
    assert.equal(standby.prepared, 0)
    standby.prepare()
    standby.prepare()
    assert.equal(standby.prepared, 1)
    standby.hasFailed()
    standby.prepare()
    await isBegunAfter(1)
  })

  test('is tried again after it failed: after 60 s, then each time after twice as long, at most 15 min', async () => {
    const { standby, isBegunAfter } = bench()
    standby.atOnce = () => standby.hasFailed()
    standby.prepare()
    assert.deepEqual(standby.view, { ...COLD, reason: 'it ended' })
    for (const minutes of [1, 2, 4, 8, 15, 15]) await isBegunAfter(minutes)
  })

  test('is prepared again at once after it was ready for long, and each time later where it never is', async () => {
    const { clock, standby, isBegunAfter } = bench()
    standby.prepare()
    for (const minutes of [1, 2, 4]) {
      standby.isReady()
      standby.hasFailed()
      await isBegunAfter(minutes)
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

  test('is tried at once after the next term, which also begins anew to count', async () => {
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

  test('is never tried again where it is unfit, neither later nor after the next term', async () => {
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
  test('waits for what is being prepared, until it is ready or has failed', async () => {
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

  test('ends all preparation until the next one is asked for, also where a failed one waits to be tried again', async () => {
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

  test('that used it up leaves nothing, and the next one is prepared after its term', async () => {
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
  test('is for good, whatever is kept or waited for', async () => {
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
