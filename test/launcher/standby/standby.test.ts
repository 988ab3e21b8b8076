import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { Standby, type StandbyReports } from '../../../agent/launcher/standby/standby.ts'
import { settled, VirtualClock } from '../../harness/virtual-clock.ts'

const MINUTE_MS = 60_000

/** A standby whose processes report what the test orders. */
class Bench {
  readonly clock = new VirtualClock()
  readonly views: string[] = []
  /** Number of preparations and of ended processes. */
  prepared = 0
  ended = 0
  isOutdated = false
  /** Runs at the beginning of each preparation. */
  onBegin = (): void => {}
  private reports!: StandbyReports
  readonly standby: Standby = new Standby(
    this.clock,
    (reports) => this.process(reports),
    () => this.views.push(`${this.standby.view.mode} ${this.standby.view.state}`),
  )

  private process(reports: StandbyReports) {
    const bench = this
    this.prepared++
    this.reports = reports
    return {
      begin: () => this.onBegin(),
      get stale() {
        return bench.isOutdated ? 'its environment' : null
      },
      end: () => void this.ended++,
    }
  }

  ready(): void {
    this.reports.ready(null)
  }

  fail(): void {
    this.reports.failed('it ended')
  }

  /** Asserts that the next preparation begins after exactly these minutes. */
  async beginsAfter(minutes: number): Promise<void> {
    const before = this.prepared
    await this.clock.pass(minutes * MINUTE_MS - 1)
    assert.equal(this.prepared, before, `a preparation began before ${minutes} min had passed`)
    await this.clock.pass(1)
    assert.equal(this.prepared, before + 1, `no preparation began after ${minutes} min`)
  }
}

describe('a standby', () => {
  test('is prepared once, even if an agent that reconnects orders it again', () => {
    const b = new Bench()
    for (const _ of 'twice') b.standby.prepare()
    b.ready()
    b.standby.prepare()
    assert.deepEqual([b.views, b.prepared], [['warm preparing', 'warm ready'], 1])
  })

  test('begins after the ordered delay, or at an order without a delay, unless it is discarded before', async () => {
    const b = new Bench()
    b.standby.prepare(3 * MINUTE_MS)
    b.standby.prepare(1)
    // With mode `cold`, the replica would count as prepared.
    assert.deepEqual([b.standby.view.mode, b.standby.view.state], ['warm', 'none'])
    await b.beginsAfter(3)
    const hurried = new Bench()
    hurried.standby.prepare(MINUTE_MS)
    for (const _ of 'twice') hurried.standby.prepare()
    assert.equal(hurried.prepared, 1)
    const dropped = new Bench()
    dropped.standby.prepare(3_000)
    dropped.standby.discard()
    await dropped.clock.pass(MINUTE_MS)
    assert.equal(dropped.prepared, 0)
  })

  test('that is found outdated is prepared again immediately, but at most once a minute', async () => {
    const b = new Bench()
    b.standby.verify()
    b.standby.prepare()
    b.ready()
    b.standby.verify()
    assert.deepEqual([b.prepared, b.ended], [1, 0])
    b.isOutdated = true
    b.standby.verify()
    assert.deepEqual([b.prepared, b.ended, b.views.at(-1)], [2, 1, 'warm preparing'])
    await b.clock.pass(MINUTE_MS / 2)
    for (const _ of 'twice') b.standby.verify()
    assert.deepEqual([b.prepared, b.views.at(-1)], [2, 'warm none'])
    await b.beginsAfter(0.5)
  })

  test('is verified every 5 s while it is ready', async () => {
    const b = new Bench()
    b.standby.prepare()
    b.ready()
    await b.standby.use() // the start is refused
    b.standby.prepare()
    await b.clock.pass(12_000)
    b.isOutdated = true
    await b.clock.pass(2_999)
    assert.equal(b.ended, 0)
    await b.clock.pass(1)
    assert.equal(b.ended, 1)
  })

  test('that fails is prepared again two minutes after that preparation began', async () => {
    const b = new Bench()
    b.onBegin = () => b.fail()
    b.standby.prepare()
    assert.equal(b.standby.view.reason, 'it ended')
    b.standby.prepare()
    for (const minutes of [2, 2]) await b.beginsAfter(minutes)
    b.onBegin = () => {}
    await b.beginsAfter(2)
    b.ready()
    await b.clock.pass(3 * MINUTE_MS)
    b.fail()
    await b.clock.pass(0)
    assert.equal(b.prepared, 5)
  })

  test('stays away after a discard, also if it has failed before', async () => {
    for (const end of ['ready', 'fail'] as const) {
      const b = new Bench()
      b.standby.prepare()
      b[end]()
      b.standby.discard()
      b[end]()
      await b.clock.pass(60 * MINUTE_MS)
      assert.deepEqual([b.prepared, b.ended, b.standby.view.mode], [1, 1, 'cold'])
    }
  })
})

describe('a start', () => {
  test('waits for the preparation until it is ready or has failed, and begins a delayed one', async () => {
    for (const end of ['ready', 'fail'] as const)
      for (const afterMs of [0, 3_000]) {
        const b = new Bench()
        b.standby.prepare(afterMs)
        let isUsed = false
        void b.standby.use().then(() => (isUsed = true))
        await settled()
        assert.deepEqual([isUsed, b.prepared], [false, 1])
        b[end]()
        await settled()
        assert.equal(isUsed, true)
      }
  })

  test('gives up an outdated standby, and is cold', async () => {
    const b = new Bench()
    b.standby.prepare()
    b.ready()
    b.isOutdated = true
    await b.standby.use()
    assert.deepEqual([b.standby.take(), b.ended, b.views.at(-1)], [null, 1, 'cold none'])
  })

  test('cancels a pending preparation', async () => {
    for (const failsFirst of [true, false]) {
      const b = new Bench()
      b.standby.prepare()
      if (failsFirst) b.fail()
      const used = b.standby.use()
      if (!failsFirst) b.fail()
      await used
      await b.clock.pass(60 * MINUTE_MS)
      assert.equal(b.prepared, 1)
      b.standby.prepare()
      assert.equal(b.prepared, 2)
    }
  })

  test('uses the standby up; the next order prepares another one', async () => {
    const b = new Bench()
    b.standby.prepare()
    b.ready()
    await b.standby.use()
    assert.notEqual(b.standby.take(), null)
    assert.deepEqual([b.standby.take(), b.ended, b.views.at(-1)], [null, 0, 'warm none'])
    b.standby.prepare()
    assert.equal(b.prepared, 2)
  })
})
