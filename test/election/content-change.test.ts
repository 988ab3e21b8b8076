import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import type { Fact, SuccessorContent } from '../../agent/election/state.ts'
import type { Lease } from '../../agent/lease/lease.ts'
import type { ContentView } from '../../agent/link/link-messages.ts'
import { Candidate, noted } from './candidate.ts'

const CONTENT: ContentView = {
  digest: 'c1',
  since: 0,
  running: 'c1',
  startedAt: 0,
  earlier: [],
  problem: null,
  unfit: false,
}

/** A leader whose LangFlow has served for a minute, and whose renewals are acknowledged. */
class Leader {
  readonly c: Candidate
  content = CONTENT

  constructor(config: ConstructorParameters<typeof Candidate>[0] = {}) {
    this.c = Candidate.leader(config)
    this.content = { ...CONTENT, startedAt: this.c.mono }
    this.c.workload({ well: true, content: this.content })
    this.wait(60_000)
    this.c.forget()
  }

  wait(ms: number): this {
    for (const end = this.c.mono + ms; this.c.mono < end; ) {
      this.c.pass(Math.min(100, end - this.c.mono))
      if (this.c.state.pending !== null) this.c.acknowledge()
    }
    return this
  }

  /** Its files change now. */
  changes(more: Partial<ContentView> = {}): this {
    this.content = { ...this.content, digest: 'c2', since: this.c.mono, earlier: ['c1'], ...more }
    this.c.workload({ content: this.content })
    return this
  }

  /** Reports the content of the others. */
  knows(content: SuccessorContent): this {
    this.c.tell({ type: 'successor', identity: 'other', content })
    return this
  }

  pauses(paused: 'true' | null): this {
    const { metadata, ...more } = noted(this.c.state.seen?.lease as Lease, {
      'langflow-leader/paused': paused,
    })
    this.c.sees({ ...more, metadata: { ...metadata, resourceVersion: `${metadata.resourceVersion}0` } })
    return this
  }

  /** Nothing happens for this long, and then it steps down. */
  actsAfter(ms: number): this {
    this.wait(ms - 100)
    assert.deepEqual(this.c.events(), [], `not before ${ms} ms`)
    this.wait(200)
    assert.deepEqual(this.c.events(), ['draining'], `after ${ms} ms`)
    return this
  }

  neverActs(): void {
    this.wait(300_000)
    assert.deepEqual(this.c.events(), [])
  }

  get stepDown() {
    return this.c.state.term?.stepDown
  }
}

const STOPPED = { alive: 'no', canRun: true, well: false } as const

describe('a leader whose files have changed', () => {
  test('hands over to a replica that is prepared with the new files, after 2 s without a change', () => {
    const { stepDown, c } = new Leader().changes().knows('ready').actsAfter(2_000)
    assert.deepEqual([stepDown?.code, stepDown?.inPlace], ['content_changed', false])
    c.tell({ type: 'drained' }).workload(STOPPED)
    assert.equal(c.write.kind, 'release')
  })

  test('does not act on what the others reported before the change', () => {
    const l = new Leader().knows('ready').changes().wait(10_000)
    assert.deepEqual(l.c.events(), [])
    assert.equal(l.knows('ready').stepDown?.inPlace, false)
    const again = new Leader().changes().knows('ready').wait(1_000)
    again.changes({ digest: 'c3', earlier: ['c2', 'c1'] }).wait(10_000)
    assert.deepEqual(again.c.events(), [])
  })

  test('waits up to 150 s for a replica that prepares itself, and then restarts LangFlow in place', () => {
    const waiting = new Leader().knows('awaited').changes().actsAfter(150_000)
    assert.equal(waiting.stepDown?.inPlace, true)
    const waited = new Leader().knows('awaited').changes().wait(100_000).knows('ready')
    assert.equal(waited.stepDown?.inPlace, false)
  })

  test('restarts LangFlow in place after 10 s without such a replica, or with --on-change=restart', () => {
    for (const [config, knows] of [
      [{}, 'none'],
      [{ onChange: 'restart' }, 'ready'],
    ] as const)
      assert.equal(new Leader(config).changes().knows(knows).actsAfter(10_000).stepDown?.inPlace, true)
  })

  test('counts from the last change, and does nothing if the files are restored', () => {
    const l = new Leader().changes().wait(9_000)
    l.changes({ digest: 'c3', earlier: ['c2', 'c1'] }).wait(9_000)
    l.changes({ digest: 'c1', earlier: ['c3', 'c2'] }).neverActs()
  })

  test('does not act within 2 lease durations of LangFlow’s start', () => {
    const l = new Leader()
    l.changes({ running: 'c0', startedAt: l.c.mono }).knows('ready').actsAfter(30_000)
  })

  test('does not act with --on-change=ignore, before LangFlow serves, or if the new files are invalid', () => {
    new Leader({ onChange: 'ignore' }).changes().knows('ready').neverActs()
    new Leader().changes({ running: null }).knows('ready').neverActs()
    new Leader().changes({ problem: 'a.json is not JSON', unfit: true }).knows('ready').neverActs()
    const unwell = new Leader()
    unwell.c.workload({ well: false })
    unwell.changes().knows('ready').neverActs()
  })

  test('does not act while takeovers are paused, and acts after the pause', () => {
    for (const knows of ['ready', 'none'] as const) {
      const l = new Leader().pauses('true')
      l.changes().knows(knows).neverActs()
      l.pauses(null)
      assert.deepEqual(l.c.events(), ['draining'])
    }
  })

  test('does not act while its leadership is in doubt', () => {
    const l = new Leader()
    const { c } = l
    c.pass(10_000)
    c.workload({ content: { ...CONTENT, digest: 'c2', since: c.mono - 60_000, earlier: ['c1'] } })
    l.knows('ready')
    assert.deepEqual(c.events(), ['doubt'])
  })
})

describe('a restart in place for changed files', () => {
  const begun = () => new Leader().changes().actsAfter(10_000)

  test('follows the planned order, keeps the Lease, and starts LangFlow in the same term', () => {
    const l = begun()
    const { c } = l
    const others = c.all.flatMap(({ type }) => (type === 'write' || type === 'grant' ? [] : [type]))
    assert.deepEqual(others, ['event', 'restart', 'drain'])
    c.tell({ type: 'drained' })
    assert.deepEqual(c.effects('stop'), [{ type: 'stop', graceMs: 30_000 }])
    assert.deepEqual(c.effects('start'), [])
    c.workload(STOPPED)
    assert.deepEqual(c.effects('start'), [{ type: 'start', epoch: 4 }])
    assert.deepEqual([c.state.phase, l.stepDown], ['leading', null])
    c.workload({
      alive: 'yes',
      canRun: false,
      content: { ...l.content, running: 'c2', startedAt: c.mono },
    })
    c.tell({ type: 'workload_healthy', took: null }).workload({ well: true })
    l.wait(60_000)
    assert.deepEqual([c.events(), c.effects('start').length, c.state.term?.epoch], [['draining'], 1, 4])
  })

  test('serves another change that comes in its drain, and follows one that comes after its start', () => {
    const l = begun()
    const { c } = l
    l.changes({ digest: 'c3', earlier: ['c2', 'c1'] })
    c.tell({ type: 'drained' }).workload(STOPPED)
    assert.deepEqual([c.events(), c.effects('start').length], [['draining'], 1])
    l.content = { ...l.content, running: 'c3', startedAt: c.mono }
    c.workload({ alive: 'yes', canRun: false, content: l.content })
    c.tell({ type: 'workload_healthy', took: null }).workload({ well: true })
    c.forget()
    l.wait(60_000)
    assert.deepEqual(c.events(), [])
    l.changes({ digest: 'c4', earlier: ['c3', 'c2', 'c1'] }).actsAfter(10_000)
  })

  test('continues during a pause that began later', () => {
    const { c } = begun().pauses('true')
    c.tell({ type: 'drained' }).workload(STOPPED)
    assert.equal(c.effects('start').length, 1)
  })

  test('becomes a release if the replica terminates or its launcher is gone', () => {
    const ends: Fact = { type: 'terminate', reason: 'SIGTERM' }
    for (const [fact, idle] of [
      [ends, STOPPED],
      [{ type: 'tick' }, { ...STOPPED, canRun: false }],
    ] as const) {
      const { c } = begun()
      c.tell(fact).tell({ type: 'drained' }).workload(idle)
      if (c.state.pending?.kind !== 'release') c.acknowledge()
      assert.deepEqual([c.write.kind, c.effects('start')], ['release', []])
    }
  })

  test('starts LangFlow after a doubt, not in it', () => {
    const { c } = begun()
    c.tell({ type: 'drained' }).pass(10_000)
    assert.equal(c.state.term?.doubt, true)
    c.workload(STOPPED)
    assert.deepEqual(c.effects('start'), [])
    c.acknowledge()
    assert.equal(c.effects('start').length, 1)
  })

  test('ends if the Lease is lost', () => {
    const { c } = begun()
    c.pass(14_000)
    assert.deepEqual([c.state.phase, c.events().at(-1)], ['follower', 'lost'])
  })
})
