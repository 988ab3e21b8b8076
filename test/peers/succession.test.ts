import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import type { Fact, Term } from '../../agent/election/state.ts'
import { UNKNOWN_DIGESTS } from '../../agent/link/link-messages.ts'
import type { Member } from '../../agent/peers/peers.ts'
import { chooseSuccessor, type OwnPod, VoluntaryHandover } from '../../agent/peers/succession.ts'
import { VirtualClock } from '../harness/virtual-clock.ts'
import { electionState, MEMBER, TERM } from './member.ts'

const NEWER: Member = { ...MEMBER, identity: 'n', revision: 'new', podAgeMs: 9_000 }
const STEPPING_DOWN = { ...TERM, stepDown: { reason: '' } as never }

type Poll = Partial<Pick<Bench, 'frontDown' | 'term' | 'members' | 'paused'>>

class Bench {
  readonly clock = new VirtualClock()
  readonly facts: Fact[] = []
  readonly lines: string[] = []
  members: Member[] = [NEWER]
  term: Term | null = TERM
  paused = false
  readonly workload = { served: true, startsColder: false, digests: UNKNOWN_DIGESTS }
  frontDown = false
  readonly voluntaryHandover: VoluntaryHandover

  constructor() {
    const bench = this
    this.voluntaryHandover = new VoluntaryHandover({
      peers: {
        get members() {
          return bench.members
        },
      },
      revision: 'old',
      podAgeMs: () => 600_000,
      leaseDurationMs: 15_000,
      clock: this.clock,
      log: { info: (msg: string) => void this.lines.push(msg) },
      state: () => electionState(this.term, { paused: this.paused }),
      workload: () => this.workload,
      frontDown: () => this.frontDown,
      dispatch: (fact) => void this.facts.push(fact),
    })
  }

  /** Polls with these values, one after the other. */
  polls(...values: Poll[]): this {
    for (const value of values) {
      Object.assign(this, value)
      this.voluntaryHandover.asked()
    }
    return this
  }

  /** Polls the peers every 5 s for `ms`, and returns the number of step-downs so far. */
  async after(ms: number): Promise<number> {
    for (const until = this.clock.mono() + ms; this.clock.mono() < until; await this.clock.pass(5_000)) {
      const { stepDowns } = this
      this.voluntaryHandover.asked()
      // After each step-down, the Lease returns to this replica in a later term.
      if (this.term !== null && this.stepDowns > stepDowns)
        this.term = { ...this.term, epoch: this.term.epoch + 2 }
    }
    return this.stepDowns
  }

  get stepDowns(): number {
    return this.facts.filter(({ type }) => type === 'step_down').length
  }
}

describe('a leader whose front does not listen', () => {
  const SAME: Member = { ...NEWER, identity: 's', revision: 'old', podAgeMs: 500_000 }

  const down = { frontDown: true, members: [SAME] }
  const codes = (b: Bench) => b.facts.flatMap((fact) => (fact.type === 'step_down' ? [fact.code] : []))
  for (const [what, polls, handovers] of [
    ['two polls in a row', [down, down], 1],
    ['one poll', [down], 0],
    ['polls between which the front listened', [down, { frontDown: false }, down], 0],
    ['polls at which no other replica is ready', [down, { members: [{ ...SAME, ready: false }] }], 0],
    ['polls of two terms', [down, { term: { ...TERM, epoch: TERM.epoch + 2 } }], 0],
    ['a poll from before it led', [{ ...down, term: null }, { term: TERM }], 0],
    ['polls during a pause', [{ ...down, paused: true }, down], 0],
  ] as [string, Poll[], number][])
    test(`${handovers === 1 ? 'hands' : 'does not hand'} over after ${what}`, () => {
      assert.deepEqual(codes(new Bench().polls(...polls)), Array(handovers).fill('front_down'))
    })

  test('hands over even right after a handover to a newer revision', () => {
    const b = new Bench().polls({}, { frontDown: true }, { members: [SAME, NEWER] })
    assert.deepEqual(codes(b), ['newer_revision', 'front_down'])
  })
})

describe('a leader hands over to a newer revision', () => {
  test('once, names the successor, and logs this', () => {
    const b = new Bench()
    b.voluntaryHandover.asked()
    assert.deepEqual(b.facts, [
      { type: 'successor', identity: 'n', content: 'none' },
      { type: 'step_down', code: 'newer_revision', reason: 'a replica of a newer revision is ready' },
    ])
    assert.deepEqual(b.lines, ['a replica of a newer revision is ready: handing over to it'])
  })

  test('and names the same successor while it steps down', () => {
    const b = new Bench()
    b.members = [{ ...NEWER, identity: 'old', revision: 'old', podAgeMs: 500_000 }, NEWER]
    b.voluntaryHandover.asked()
    b.term = STEPPING_DOWN
    b.voluntaryHandover.asked()
    const named = b.facts.flatMap((fact) => (fact.type === 'successor' ? [fact.identity] : []))
    assert.deepEqual(named, ['n', 'n'])
  })

  test('again two minutes after the successor gave the Lease back, then four', async () => {
    const b = new Bench()
    assert.equal(await b.after(115_000), 1)
    assert.equal(await b.after(10_000), 2)
    assert.equal(await b.after(235_000), 2)
    assert.equal(await b.after(10_000), 3)
  })

  test('at most once in four lease durations if a peer keeps changing its identity, and forgets each identity', async () => {
    const b = new Bench()
    for (let i = 0; i < 60; i++) {
      b.members = [{ ...NEWER, identity: `liar ${i}` }]
      await b.after(5_000)
    }
    assert.equal(b.stepDowns, 5)
    b.members = []
    b.voluntaryHandover.asked()
  })

  for (const term of [{ ...TERM, doubt: true }, STEPPING_DOWN]) {
    test(`not while it ${term.doubt ? 'is in doubt' : 'is stepping down'}, which does not count as a try`, async () => {
      const b = new Bench()
      b.term = term
      assert.equal(await b.after(10_000), 0)
      assert.deepEqual(b.lines, [])
      b.term = TERM
      assert.equal(await b.after(5_000), 1)
    })
  }

  test('only after it has served itself, so that a false report costs no start', async () => {
    const b = new Bench()
    b.workload.served = false
    assert.equal(await b.after(60_000), 0)
    assert.deepEqual(b.facts.at(-1), { type: 'successor', identity: 'n', content: 'none' })
    b.workload.served = true
    assert.equal(await b.after(5_000), 1)
  })

  test('before it has served if its own start is colder than configured and the successor is prepared', async () => {
    const b = new Bench()
    b.workload.served = false
    b.workload.startsColder = true
    b.members = [{ ...NEWER, prepared: false }]
    assert.equal(await b.after(60_000), 0)
    b.members = [NEWER]
    assert.equal(await b.after(5_000), 1)
  })

  test('with the same back-off if the successor’s start failed and it reports readiness again', async () => {
    const b = new Bench()
    assert.equal(await b.after(5_000), 1)
    b.members = [{ ...NEWER, ready: false }]
    assert.equal(await b.after(65_000), 1)
    b.members = [NEWER]
    assert.equal(await b.after(45_000), 1)
    assert.equal(await b.after(10_000), 2)
  })

  test('without the back-off if the successor has another revision now', async () => {
    const b = new Bench()
    assert.equal(await b.after(60_000), 1)
    b.members = [{ ...NEWER, revision: 'corrected' }]
    assert.equal(await b.after(10_000), 2)
  })

  test('only while it leads', async () => {
    const b = new Bench()
    b.term = null
    assert.equal(await b.after(10_000), 0)
    assert.deepEqual(b.facts, [])
  })
})

describe('a leader whose own start is colder than configured', () => {
  const PREPARED: Member = { ...NEWER, identity: 'p', revision: 'old' }

  test('hands over to a replica with a prepared standby, with a short stop', () => {
    const b = new Bench()
    b.members = [PREPARED]
    b.workload.startsColder = true
    b.voluntaryHandover.asked()
    const reason = 'another replica has a warm standby and would serve sooner than this one'
    assert.deepEqual(b.facts, [
      { type: 'successor', identity: 'p', content: 'none' },
      { type: 'step_down', code: 'faster_standby', reason, graceMs: 5_000 },
    ])
  })

  test('continues if no other replica is prepared, or after its LangFlow is healthy', async () => {
    const b = new Bench()
    b.members = [{ ...PREPARED, prepared: false }]
    b.workload.startsColder = true
    assert.equal(await b.after(60_000), 0)
    b.members = [PREPARED]
    b.workload.startsColder = false
    assert.equal(await b.after(60_000), 0)
  })

  test('waits two minutes before another handover to a replica that gave the Lease back', async () => {
    const b = new Bench()
    b.members = [PREPARED]
    b.workload.startsColder = true
    assert.equal(await b.after(115_000), 1)
    assert.equal(await b.after(10_000), 2)
  })
})

/** A ready and prepared replica of the old revision, 500 s old. */
function member(identity: string, more: Partial<Member> = {}): Member {
  return { ...NEWER, identity, warm: false, revision: 'old', podAgeMs: 500_000, ...more }
}

describe('the chosen successor', () => {
  const OLD: OwnPod = { revision: 'old', unproven: false, podAgeMs: 600_000, content: null }
  const NEW: OwnPod = { revision: 'new', unproven: false, podAgeMs: 20_000, content: null }
  const YOUNG: OwnPod = { revision: 'old', unproven: false, podAgeMs: 5_000, content: null }
  const ROLLED_BACK: OwnPod = { revision: 'second', unproven: false, podAgeMs: 300_000, content: null }
  const [a, elder] = [member('a'), member('elder')]
  const newer = member('n', { revision: 'new', podAgeMs: 10_000 })
  const unprepared = member('u', { prepared: false })
  const unready = member('old one', { ready: false })
  const second = member('second', { revision: 'b', podAgeMs: 300_000, content: null })
  const third = member('third', { revision: 'c', podAgeMs: 20_000, prepared: false })
  const ofFirst = member('f', { revision: 'first', podAgeMs: 9_000 })
  const waited = member('w', { revision: 'new', unproven: true, podAgeMs: 3_600_000 })
  const anew = member('anew', { podAgeMs: 2_000 })

  const rows: [what: string, own: OwnPod, others: Member[], successor: string | null, newer: boolean][] = [
    ['is empty if no replica is ready', OLD, [unready], null, false],
    ['has the newest revision, prepared or not', OLD, [a, { ...newer, prepared: false }], 'n', true],
    ['is the prepared replica among those of one revision', OLD, [unprepared, a], 'a', false],
    ['has the leader’s own revision rather than an older one', NEW, [a, newer], 'n', false],
    ['has an older revision if no other replica is ready, and causes no handover', NEW, [a], 'a', false],
    ['has the newest of several revisions, prepared or not', OLD, [second, third], 'third', true],
    [
      'has a newer revision if the pods of that revision are younger, as after a rollback',
      ROLLED_BACK,
      [ofFirst],
      'f',
      true,
    ],
    [
      'does not count as newer if its pod was recreated during a rollout',
      { ...NEW, podAgeMs: 30_000 },
      [unready, anew],
      'anew',
      false,
    ],
    [
      'has a newer revision if the leader is young but an older pod has the leader’s revision',
      YOUNG,
      [elder, { ...newer, podAgeMs: 20_000, content: null }],
      'n',
      true,
    ],
    [
      'causes no handover if the leader’s revision is unknown',
      { ...OLD, revision: null },
      [newer],
      'n',
      false,
    ],
    ['causes no handover if the leader’s age is unknown', { ...OLD, podAgeMs: null }, [newer], 'n', false],
    ['causes no handover if its age is unknown', OLD, [{ ...newer, podAgeMs: null }], 'n', false],
    ['causes no handover if its revision is unknown', OLD, [{ ...newer, revision: null }], 'n', false],
    ['has an unproven revision even if the old pods were recreated since', YOUNG, [anew, waited], 'w', true],
    ['has an unproven revision even if its age is unknown', OLD, [{ ...waited, podAgeMs: null }], 'w', true],
    [
      'has an unproven revision even if the leader’s revision is unknown',
      { ...OLD, revision: null },
      [waited],
      'w',
      true,
    ],
    [
      'causes no handover to an older revision if both are unproven',
      { ...YOUNG, unproven: true },
      [waited],
      'w',
      false,
    ],
    [
      'causes no handover if it reports the leader’s own revision as unproven',
      OLD,
      [{ ...a, unproven: true }],
      'a',
      false,
    ],
  ]
  for (const [what, own, others, successor, newer] of rows) {
    test(what, () => {
      const { faster: _, content: __, ...chosen } = chooseSuccessor(own, others, new Set())
      assert.deepEqual(chosen, { successor, newer })
    })
  }

  test('has the present content, and never content that the leader has seen replaced', () => {
    const own = { ...OLD, content: { digest: 'c2', earlier: ['c1', 'c0'] } }
    const choose = (...others: Member[]) => {
      const { successor, content } = chooseSuccessor(own, others, new Set(['tried']))
      return [successor, content]
    }
    const present = member('present', { podAgeMs: 1_000, warm: true, content: { digest: 'c2' } })
    const ahead = member('ahead', { warm: true, content: { digest: 'c3' } })
    const behind = member('behind', { warm: true, content: { digest: 'c1' } })
    assert.deepEqual(choose(behind, a, present), ['present', 'ready'])
    assert.deepEqual(choose(behind), [null, 'awaited'])
    assert.deepEqual(choose(ahead), ['ahead', 'awaited'])
    assert.deepEqual(choose(a), ['a', 'none'], 'its version reports no content')
    assert.deepEqual(choose({ ...present, warm: false }), ['present', 'none'])
    assert.deepEqual(choose({ ...present, ready: false }), [null, 'awaited'])
    assert.deepEqual(choose({ ...present, identity: 'tried' }), ['tried', 'none'])
    assert.deepEqual(choose({ ...newer, content: { digest: 'c1' } }, present), ['present', 'ready'])
    const older = { ...NEW, content: own.content }
    assert.equal(chooseSuccessor(older, [{ ...present, podAgeMs: 500_000 }], new Set()).content, 'none')
  })

  test('is a replica that did not keep the Lease only if no other is ready, and then causes no handover', () => {
    const choose = (others: Member[], ...inVain: string[]) => {
      const { successor, newer } = chooseSuccessor(OLD, others, new Set(inVain))
      return [successor, newer]
    }
    assert.deepEqual(choose([second, third], 'third'), ['second', true])
    assert.deepEqual(choose([second, third], 'third', 'second'), ['third', false])
    assert.deepEqual(choose([a, second, third], 'third', 'second'), ['a', false])
  })

  test('is newer for at most one of two replicas, at any ages', () => {
    for (const [first, other] of [
      [1_000, 1_000],
      [1_000, 2_000],
      [2_000, 1_000],
    ] as const) {
      const says = (podAgeMs: number, of: number) =>
        chooseSuccessor(
          { revision: `${podAgeMs}`, unproven: false, podAgeMs, content: null },
          [member('x', { revision: 'x', podAgeMs: of })],
          new Set(),
        ).newer
      assert.ok(!(says(first, other) && says(other, first)))
    }
  })

  test('serves sooner than a cold start if its standby is as warm as configured', () => {
    const warm = { ...a, warm: true }
    for (const [faster, own, other, inVain] of [
      [true, OLD, warm, ''],
      [false, OLD, a, ''],
      [false, OLD, { ...warm, prepared: false }, ''],
      [false, OLD, { ...warm, ready: false }, ''],
      [false, OLD, warm, 'a'],
      [false, NEW, warm, ''], // The older revision would have to hand over again.
      [true, NEW, { ...newer, warm: true }, ''],
    ] as const)
      assert.equal(chooseSuccessor(own, [other], new Set([inVain])).faster, faster)
  })
})
