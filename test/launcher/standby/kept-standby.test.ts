import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { KeptStandby } from '../../../agent/launcher/standby/kept-standby.ts'
import { COLD, type Preparable } from '../../../agent/link/standby.ts'
import { settled, VirtualClock } from '../../support/virtual-clock.ts'

const MINUTE_MS = 60_000

/** One that does what the test says, when it says so. */
class FakeStandby implements Preparable {
  readonly calls: string[] = []
  private readonly changed: () => void
  private settling = Promise.withResolvers<void>()
  private kept = false
  unfit = false
  view = COLD
  /** What happens at once where it is prepared. */
  begin = (): void => {}

  constructor(changed: () => void) {
    this.changed = changed
    this.settling.resolve()
  }

  prepare(): void {
    if (this.kept) return
    this.calls.push('prepare')
    this.kept = true
    this.settling = Promise.withResolvers<void>()
    this.become({ ...COLD, mode: 'warm', state: 'preparing' })
    this.begin()
  }

  settled = () => this.settling.promise

  discard(): void {
    if (this.kept) this.calls.push('discard')
    this.kept = false
    this.view = COLD
    this.settling.resolve()
  }

  /** It goes on as the workload. */
  take(): void {
    this.kept = false
    this.become({ ...COLD, mode: 'warm' })
  }

  ready(): void {
    this.become({ ...COLD, mode: 'warm', state: 'ready', memoryBytes: 1e6 })
    this.settling.resolve()
  }

  /** Also when it was ready: it was killed. */
  fail(unfit = false): void {
    this.kept = false
    this.unfit = unfit
    this.become({ ...COLD, reason: 'it ended' })
    this.settling.resolve()
  }

  get prepared(): number {
    return this.calls.filter((call) => call === 'prepare').length
  }

  private become(view: typeof COLD): void {
    this.view = view
    this.changed()
  }
}

function bench() {
  const clock = new VirtualClock()
  const views: string[] = []
  const told = () => views.push(`${standby.view.mode} ${standby.view.state}`)
  const standby: KeptStandby<FakeStandby> = new KeptStandby(
    (changed) => new FakeStandby(changed),
    clock,
    told,
  )
  return { clock, views, standby, held: standby.held }
}

describe('a standby that is kept', () => {
  test('is prepared once, also where it is asked for again, e.g. by an agent that has come back', () => {
    const { standby, held, views } = bench()
    standby.prepare()
    standby.prepare()
    held.ready()
    standby.prepare()
    assert.deepEqual(views, ['warm preparing', 'warm ready'])
    assert.deepEqual(standby.view, held.view)
    assert.deepEqual(held.calls, ['prepare'])
  })

  test('is begun as late as it is asked for, unless it is discarded before', async () => {
    const { clock, standby, held } = bench()
    standby.prepare(3_000)
    await clock.pass(2_900)
    assert.equal(held.prepared, 0)
    // Nobody is to take it for a cold one, which is ready as it is.
    assert.deepEqual([standby.view.mode, standby.view.state], ['warm', 'none'])
    await clock.pass(100)
    assert.equal(held.prepared, 1)
    const dropped = bench()
    dropped.standby.prepare(3_000)
    dropped.standby.discard()
    await dropped.clock.pass(MINUTE_MS)
    assert.equal(dropped.held.prepared, 0)
  })

  test('is begun at once where it is used before', async () => {
    const { standby, held } = bench()
    standby.prepare(3_000)
    const used = standby.use()
    assert.equal(held.prepared, 1)
    held.ready()
    await used
  })

  test('is tried again after it failed: after 60 s, then each time after twice as long, at most 15 min', async () => {
    const { clock, standby, held } = bench()
    held.begin = () => held.fail()
    standby.prepare()
    assert.deepEqual(standby.view, { ...COLD, reason: 'it ended' })
    for (const minutes of [1, 2, 4, 8, 15, 15]) {
      const before = held.prepared
      await clock.pass(minutes * MINUTE_MS - 1)
      assert.equal(held.prepared, before, `not before ${minutes} min`)
      await clock.pass(1)
      assert.equal(held.prepared, before + 1, `after ${minutes} min`)
    }
  })

  test('is prepared again at once after it was ready for long, and each time later where it never is', async () => {
    const { clock, standby, held } = bench()
    standby.prepare()
    for (const minutes of [1, 2, 4]) {
      held.ready()
      const before = held.prepared
      held.fail()
      await clock.pass(minutes * MINUTE_MS - 1)
      assert.equal(held.prepared, before, `not before ${minutes} min`)
      await clock.pass(1)
    }
    for (const _ of 'twice') {
      held.ready()
      const before = held.prepared
      await clock.pass(15 * MINUTE_MS)
      held.fail()
      await clock.pass(0)
      assert.equal(held.prepared, before + 1)
    }
    held.fail()
    await clock.pass(2 * MINUTE_MS)
    assert.equal(held.prepared, 1 + 3 + 'twice'.length + 1)
  })

  test('is tried at once after the next term, which also begins anew to count', async () => {
    const { clock, standby, held } = bench()
    standby.prepare()
    held.fail()
    await clock.pass(MINUTE_MS)
    held.fail()
    await standby.use()
    standby.prepare()
    assert.equal(held.prepared, 3)
    held.fail()
    await clock.pass(MINUTE_MS)
    assert.equal(held.prepared, 4)
  })

  test('is never tried again where it is unfit, neither later nor after the next term', async () => {
    const { clock, standby, held } = bench()
    standby.prepare()
    held.fail(true)
    assert.equal(clock.next(), Number.POSITIVE_INFINITY)
    await standby.use()
    standby.prepare()
    assert.equal(held.prepared, 1)
    assert.equal(standby.view.reason, 'it ended')
  })
})

describe('a start', () => {
  test('waits for what is being prepared, until it is ready or has failed', async () => {
    for (const end of ['ready', 'fail'] as const) {
      const { standby, held } = bench()
      standby.prepare()
      let used = false
      void standby.use().then(() => {
        used = true
      })
      await settled()
      assert.equal(used, false)
      held[end]()
      await settled()
      assert.equal(used, true)
    }
  })

  test('ends all preparation until the next one is asked for, also where a failed one waits to be tried again', async () => {
    for (const failsFirst of [true, false]) {
      const { clock, standby, held } = bench()
      standby.prepare()
      if (failsFirst) held.fail()
      const used = standby.use()
      if (!failsFirst) held.fail()
      await used
      await clock.pass(60 * MINUTE_MS)
      assert.equal(held.prepared, 1)
      standby.prepare()
      assert.equal(held.prepared, 2)
    }
  })

  test('that used it up leaves nothing, and the next one is prepared after its term', async () => {
    const { standby, held } = bench()
    standby.prepare()
    held.ready()
    await standby.use()
    held.take()
    assert.equal(standby.view.state, 'none')
    standby.prepare()
    assert.equal(held.prepared, 2)
  })
})

describe('a discard', () => {
  test('is for good, whatever is kept or waited for', async () => {
    for (const end of ['ready', 'fail'] as const) {
      const { clock, standby, held } = bench()
      standby.prepare()
      held[end]()
      standby.discard()
      await clock.pass(60 * MINUTE_MS)
      assert.deepEqual(held.calls, end === 'ready' ? ['prepare', 'discard'] : ['prepare'])
    }
  })
})
