import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { COLD, type FrozenWorkload, type Rung, type StandbyMode } from '../../agent/workload/standby.ts'
import { StandbyLadder } from '../../agent/workload/standby-ladder.ts'
import { settled, VirtualClock } from '../support/virtual-clock.ts'

const MINUTE_MS = 60_000

/** One that does what the test says, when it says so. */
class FakeRung implements Rung {
  readonly mode: StandbyMode
  readonly calls: string[] = []
  private readonly changed: (rung: Rung) => void
  private settling = Promise.withResolvers<void>()
  kept = false
  unfit = false
  view = COLD
  obstacle = async (): Promise<string | null> => null
  /** What happens at once where it is prepared. */
  begin = (): void => {}
  /** What its discard waits for. */
  gone: Promise<void> = Promise.resolve()

  constructor(mode: StandbyMode, changed: (rung: Rung) => void) {
    this.mode = mode
    this.changed = changed
    this.settling.resolve()
  }

  prepare(): void {
    if (this.kept) return
    this.calls.push('prepare')
    this.kept = true
    this.settling = Promise.withResolvers<void>()
    this.become({ ...COLD, mode: this.mode, state: 'preparing' })
    this.begin()
  }

  settled = () => this.settling.promise

  async discard(): Promise<void> {
    if (this.kept) this.calls.push('discard')
    this.kept = false
    this.view = COLD
    await this.gone
    this.settling.resolve()
  }

  takeFrozen(): FrozenWorkload | null {
    if (this.view.state !== 'ready') return null
    this.take()
    return { tree: null as never, pid: 7, answers: async () => null }
  }

  /** It goes on as the workload. */
  take(): void {
    this.kept = false
    this.become({ ...COLD, mode: this.mode })
  }

  ready(): void {
    this.become({ ...COLD, mode: this.mode, state: 'ready', memoryBytes: 1e6 })
    this.settling.resolve()
  }

  /** Also when it was ready: it was killed. */
  fail(unfit = false): void {
    this.kept = false
    this.unfit = unfit
    this.become({ ...COLD, reason: `no ${this.mode} one` })
    this.settling.resolve()
  }

  prepared(): number {
    return this.calls.filter((call) => call === 'prepare').length
  }

  private become(view: typeof COLD): void {
    this.view = view
    this.changed(this)
  }
}

function bench() {
  const clock = new VirtualClock()
  const views: string[] = []
  const changed = (rung: Rung) => ladder.changed(rung)
  const frozen = new FakeRung('frozen', changed)
  const prewarmed = new FakeRung('prewarmed', changed)
  const ladder = new StandbyLadder(frozen, prewarmed, clock, () => views.push(seen()))
  const seen = () => `${ladder.view.mode} ${ladder.view.state}`
  return { clock, views, frozen, prewarmed, ladder, seen }
}

/** The frozen one could not be prepared; the prewarmed one is ready. */
function withPrewarmed() {
  const b = bench()
  b.ladder.prepare()
  b.frozen.fail()
  b.prewarmed.ready()
  return b
}

/** Ends what waits for it in the middle of something. */
function gate<T>() {
  const { promise, resolve } = Promise.withResolvers<T>()
  return { promise, open: resolve }
}

describe('the warmest standby is kept', () => {
  test('which is the frozen one where it can be prepared; nothing else is', () => {
    const { ladder, frozen, prewarmed, views } = bench()
    ladder.prepare()
    ladder.prepare()
    frozen.ready()
    assert.deepEqual(views, ['frozen preparing', 'frozen ready'])
    assert.deepEqual(ladder.view, { mode: 'frozen', state: 'ready', reason: null, memoryBytes: 1e6 })
    assert.deepEqual([frozen.calls, prewarmed.calls], [['prepare'], []])
  })

  test('which is the prewarmed one where the frozen one fails, and the view tells why', () => {
    const { ladder, frozen, prewarmed, views } = bench()
    ladder.prepare()
    frozen.fail()
    assert.deepEqual(views, ['frozen preparing', 'prewarmed preparing'])
    prewarmed.ready()
    assert.deepEqual(ladder.view, {
      mode: 'prewarmed',
      state: 'ready',
      reason: 'no frozen one',
      memoryBytes: 1e6,
    })
  })

  test('which is none where both fail, and the view tells both reasons', () => {
    const { ladder, frozen, prewarmed } = bench()
    ladder.prepare()
    frozen.fail()
    prewarmed.fail()
    assert.deepEqual(ladder.view, { ...COLD, reason: 'no frozen one; no prewarmed one' })
  })

  test('also where each fails at once', () => {
    const { ladder, frozen, prewarmed } = bench()
    frozen.begin = () => frozen.fail()
    prewarmed.begin = () => prewarmed.fail()
    ladder.prepare()
    assert.deepEqual(ladder.view, { ...COLD, reason: 'no frozen one; no prewarmed one' })
    assert.deepEqual([frozen.prepared(), prewarmed.prepared()], [1, 1])
  })

  test('which is the prewarmed one where no other is asked for', async () => {
    const { clock, prewarmed } = bench()
    const ladder = new StandbyLadder(null, prewarmed, clock, () => {})
    ladder.prepare()
    prewarmed.ready()
    assert.equal(ladder.view.mode, 'prewarmed')
    await ladder.use()
    assert.equal(
      ladder.takeFrozen(() => {}),
      null,
    )
  })
})

describe('what is kept', () => {
  test('stays where it is asked for again, e.g. by an agent that has come back', async () => {
    const { ladder, frozen, prewarmed } = withPrewarmed()
    ladder.prepare()
    await settled()
    assert.deepEqual([frozen.prepared(), prewarmed.calls], [1, ['prepare']])
  })

  test('is not told anew by what others have to tell', () => {
    const { ladder, frozen, prewarmed, views } = bench()
    ladder.prepare()
    frozen.ready()
    const told = views.length
    prewarmed.fail()
    assert.equal(views.length, told)
    assert.equal(prewarmed.prepared(), 0)
    assert.equal(ladder.view.reason, null)
  })
})

describe('one that is unfit', () => {
  test('is never tried again, neither later nor after the next term', async () => {
    const { clock, ladder, frozen, prewarmed } = bench()
    ladder.prepare()
    frozen.fail(true)
    prewarmed.ready()
    await clock.pass(120 * MINUTE_MS)
    await ladder.use()
    prewarmed.take()
    ladder.prepare()
    prewarmed.ready()
    assert.deepEqual([frozen.prepared(), prewarmed.calls], [1, ['prepare', 'prepare']])
    assert.equal(ladder.view.reason, 'no frozen one')
  })

  test('takes no time from a colder one, which is tried again', async () => {
    const { clock, ladder, frozen, prewarmed } = bench()
    ladder.prepare()
    frozen.fail(true)
    prewarmed.ready()
    await clock.pass(10 * MINUTE_MS)
    prewarmed.fail()
    await clock.pass(MINUTE_MS)
    assert.deepEqual([frozen.prepared(), prewarmed.prepared()], [1, 2])
  })

  test('leaves nothing to try where the colder one is unfit as well', async () => {
    const { clock, ladder, frozen, prewarmed } = bench()
    ladder.prepare()
    frozen.fail(true)
    prewarmed.fail(true)
    assert.equal(clock.next(), Number.POSITIVE_INFINITY)
    await ladder.use()
    ladder.prepare()
    assert.deepEqual([frozen.prepared(), prewarmed.prepared()], [1, 1])
    assert.deepEqual(ladder.view, { ...COLD, reason: 'no frozen one; no prewarmed one' })
  })
})

describe('one that has failed', () => {
  test('is tried again after 60 s, then each time after twice as long, at most 15 min', async () => {
    const { clock, ladder, frozen, prewarmed } = bench()
    frozen.begin = () => frozen.fail()
    prewarmed.begin = () => prewarmed.ready()
    ladder.prepare()
    for (const minutes of [1, 2, 4, 8, 15, 15]) {
      const before = frozen.prepared()
      await clock.pass(minutes * MINUTE_MS - 1)
      assert.equal(frozen.prepared(), before, `not before ${minutes} min`)
      await clock.pass(1)
      assert.equal(frozen.prepared(), before + 1, `after ${minutes} min`)
      assert.deepEqual([ladder.view.mode, ladder.view.state], ['prewarmed', 'ready'])
    }
  })

  test('is tried again only once nothing is in its way, and what is kept goes only then', async () => {
    const { clock, frozen, prewarmed, seen } = withPrewarmed()
    frozen.obstacle = async () => 'PostgreSQL cannot be reached: ECONNREFUSED'
    await clock.pass(3 * MINUTE_MS)
    assert.deepEqual([frozen.prepared(), prewarmed.calls], [1, ['prepare']])
    assert.equal(seen(), 'prewarmed ready')
    frozen.obstacle = async () => null
    await clock.pass(4 * MINUTE_MS)
    assert.deepEqual([frozen.prepared(), prewarmed.calls], [2, ['prepare', 'discard']])
    frozen.ready()
    assert.equal(seen(), 'frozen ready')
    await clock.pass(60 * MINUTE_MS)
    assert.deepEqual([frozen.prepared(), prewarmed.prepared()], [2, 1])
  })

  test('is prepared only once nothing lives of what was kept meanwhile', async () => {
    const { clock, frozen, prewarmed } = withPrewarmed()
    const gone = gate<void>()
    prewarmed.gone = gone.promise
    await clock.pass(MINUTE_MS)
    assert.deepEqual([frozen.prepared(), prewarmed.kept], [1, false])
    gone.open()
    await settled()
    assert.equal(frozen.prepared(), 2)
  })

  test('is tried again while something is in the way of a warmer one, which is tried again later', async () => {
    const { clock, frozen, prewarmed, seen } = withPrewarmed()
    frozen.obstacle = async () => 'PostgreSQL cannot be reached: ECONNREFUSED'
    prewarmed.fail()
    await clock.pass(MINUTE_MS)
    prewarmed.ready()
    assert.deepEqual([seen(), prewarmed.prepared()], ['prewarmed ready', 2])
    frozen.obstacle = async () => null
    await clock.pass(2 * MINUTE_MS)
    assert.equal(seen(), 'frozen preparing')
  })

  test('is tried at once after the next term, which also begins anew to count', async () => {
    const { clock, ladder, frozen, prewarmed } = withPrewarmed()
    await clock.pass(MINUTE_MS)
    frozen.fail()
    prewarmed.ready()
    await ladder.use()
    prewarmed.take()
    ladder.prepare()
    assert.equal(frozen.prepared(), 3)
    frozen.fail()
    await clock.pass(MINUTE_MS)
    assert.equal(frozen.prepared(), 4)
  })
})

describe('a standby that was killed while it waits', () => {
  test('is replaced by a colder one, and later prepared again', async () => {
    const { clock, ladder, frozen, prewarmed, seen } = bench()
    ladder.prepare()
    frozen.ready()
    await clock.pass(60 * MINUTE_MS)
    frozen.fail()
    prewarmed.ready()
    assert.equal(seen(), 'prewarmed ready')
    assert.equal(ladder.view.reason, 'no frozen one')
    await clock.pass(MINUTE_MS)
    frozen.ready()
    assert.equal(seen(), 'frozen ready')
    assert.equal(ladder.view.reason, null)
  })

  test('is prepared again where there is no colder one', async () => {
    const { clock, prewarmed } = bench()
    const ladder: StandbyLadder = new StandbyLadder(null, prewarmed, clock, () => {})
    prewarmed.begin = () => ladder.changed(prewarmed)
    ladder.prepare()
    prewarmed.ready()
    prewarmed.fail()
    ladder.changed(prewarmed)
    assert.equal(ladder.view.reason, 'no prewarmed one')
    await clock.pass(MINUTE_MS)
    assert.equal(prewarmed.prepared(), 2)
  })
})

describe('a start', () => {
  test('waits for what is being prepared, and takes it', async () => {
    const { ladder, frozen } = bench()
    ladder.prepare()
    let used = false
    void ladder.use().then(() => {
      used = true
    })
    await settled()
    assert.equal(used, false)
    frozen.ready()
    await settled()
    assert.equal(used, true)
    assert.equal(ladder.takeFrozen(() => {})?.pid, 7)
    assert.equal(
      ladder.takeFrozen(() => {}),
      null,
      'there is no second one',
    )
  })

  test('takes no frozen one while a colder one is kept', async () => {
    const { ladder, frozen } = withPrewarmed()
    frozen.takeFrozen = () => assert.fail('it was asked')
    await ladder.use()
    assert.equal(
      ladder.takeFrozen(() => {}),
      null,
    )
  })

  test('ends all preparation until the next one is asked for: also where the one it waits for fails', async () => {
    const { clock, ladder, frozen, prewarmed } = bench()
    ladder.prepare()
    const used = ladder.use()
    frozen.fail()
    await used
    await clock.pass(60 * MINUTE_MS)
    assert.deepEqual([frozen.prepared(), prewarmed.prepared()], [1, 0])
    ladder.prepare()
    assert.equal(frozen.prepared(), 2)
  })

  test('ends it while a failed one waits to be tried again', async () => {
    const { clock, ladder, frozen, prewarmed } = withPrewarmed()
    await ladder.use()
    prewarmed.take()
    await clock.pass(60 * MINUTE_MS)
    assert.deepEqual([frozen.prepared(), prewarmed.prepared()], [1, 1])
  })

  test('ends it in the middle of the look at what is in the way, also where the next one has begun', async () => {
    for (const again of [false, true]) {
      const { clock, ladder, frozen, prewarmed } = withPrewarmed()
      const look = gate<string | null>()
      frozen.obstacle = () => look.promise
      await clock.pass(MINUTE_MS)
      await ladder.use()
      prewarmed.take()
      if (again) {
        ladder.prepare()
        frozen.fail()
        prewarmed.ready()
      }
      look.open(null)
      await settled()
      assert.equal(frozen.prepared(), again ? 2 : 1)
      assert.equal(prewarmed.kept, again)
    }
  })

  test('ends it while what was kept goes, also where the next one has begun', async () => {
    for (const again of [false, true]) {
      const { clock, ladder, frozen, prewarmed, seen } = withPrewarmed()
      const gone = gate<void>()
      prewarmed.gone = gone.promise
      await clock.pass(MINUTE_MS)
      await ladder.use()
      if (again) {
        ladder.prepare()
        frozen.fail()
        prewarmed.ready()
      }
      gone.open()
      await settled()
      assert.equal(frozen.prepared(), again ? 2 : 1)
      if (again) assert.equal(seen(), 'prewarmed ready')
    }
  })

  test('ends it while one that is out of date goes, and waits for that', async () => {
    const { ladder, frozen } = bench()
    ladder.prepare()
    frozen.ready()
    const gone = gate<void>()
    frozen.gone = gone.promise
    const renewal = ladder.renew(frozen)
    await ladder.use()
    gone.open()
    await renewal
    assert.deepEqual(frozen.calls, ['prepare', 'discard'])
    assert.equal(
      ladder.takeFrozen(() => {}),
      null,
    )
  })

  test('that used up nothing leaves no second standby beside the next one', async () => {
    const { ladder, frozen, prewarmed, seen } = withPrewarmed()
    await ladder.use()
    ladder.prepare()
    await settled()
    assert.deepEqual([frozen.kept, prewarmed.kept], [true, false])
    frozen.fail()
    prewarmed.ready()
    assert.equal(seen(), 'prewarmed ready')
  })
})

describe('a standby that is out of date', () => {
  test('is discarded and prepared again', async () => {
    const { ladder, frozen, prewarmed, seen } = bench()
    ladder.prepare()
    frozen.ready()
    await ladder.renew(frozen)
    assert.deepEqual([frozen.calls, prewarmed.calls], [['prepare', 'discard', 'prepare'], []])
    assert.equal(seen(), 'frozen preparing')
  })

  test('is left alone where another is kept, or none', async () => {
    const { ladder, frozen, prewarmed } = withPrewarmed()
    await ladder.renew(frozen)
    assert.equal(ladder.view.reason, 'no frozen one')
    await ladder.use()
    await ladder.renew(prewarmed)
    assert.deepEqual([frozen.calls, prewarmed.calls], [['prepare'], ['prepare']])
  })
})

describe('a discard', () => {
  test('is for good, whatever is kept or waited for', async () => {
    const { clock, ladder, frozen, prewarmed } = withPrewarmed()
    await ladder.discard()
    await clock.pass(60 * MINUTE_MS)
    assert.deepEqual([frozen.calls, prewarmed.calls], [['prepare'], ['prepare', 'discard']])
  })

  test('is for good also in the middle of a climb and of a renewal', async () => {
    const climbing = withPrewarmed()
    const look = gate<string | null>()
    climbing.frozen.obstacle = () => look.promise
    await climbing.clock.pass(MINUTE_MS)
    await climbing.ladder.discard()
    look.open(null)
    await climbing.clock.pass(60 * MINUTE_MS)
    assert.equal(climbing.frozen.prepared(), 1)
    const renewing = bench()
    renewing.ladder.prepare()
    renewing.frozen.ready()
    const renewal = renewing.ladder.renew(renewing.frozen)
    await Promise.all([renewing.ladder.discard(), renewal])
    assert.deepEqual(renewing.frozen.calls, ['prepare', 'discard'])
  })

  test('resolves once nothing lives', async () => {
    const { ladder, prewarmed } = withPrewarmed()
    const gone = gate<void>()
    prewarmed.gone = gone.promise
    let over = false
    const discarded = ladder.discard().then(() => {
      over = true
    })
    await settled()
    assert.equal(over, false)
    gone.open()
    await discarded
  })
})
