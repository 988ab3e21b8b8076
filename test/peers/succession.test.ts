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
  members: Member[] = [NEWER]
  term: Term | null = TERM
  paused = false
  workload = { served: true, digests: UNKNOWN_DIGESTS }
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
      clock: this.clock,
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
    ['a poll from before it led', [{ ...down, term: null }, { term: TERM }], 0],
    ['polls during a pause', [{ ...down, paused: true }, down], 0],
  ] as [string, Poll[], number][])
    test(`${handovers === 1 ? 'hands' : 'does not hand'} over after ${what}`, () => {
      assert.deepEqual(codes(new Bench().polls(...polls)), Array(handovers).fill('front_down'))
    })

  test('hands over even right after a handover to a newer revision', () => {
    const b = new Bench().polls({}, { frontDown: true }, { members: [SAME, NEWER] })
    assert.deepEqual(codes(b), ['newer_revision', 'front_down'])
    const hurries = b.facts.flatMap((fact) => (fact.type === 'step_down' ? [fact.now] : []))
    assert.deepEqual(hurries, [false, true], 'no request reaches LangFlow, so it does not wait for any')
  })
})

describe('a leader hands over to a newer revision', () => {
  test('once, names the successor, and logs this', () => {
    const b = new Bench().polls({}, { term: STEPPING_DOWN })
    const successor = { type: 'successor', identity: 'n', content: 'none', newer: true }
    const reason = 'a replica of a newer revision is ready'
    assert.deepEqual(b.facts, [
      successor,
      { type: 'step_down', code: 'newer_revision', reason, now: false },
      successor,
    ])
  })

  const IN_DOUBT = { ...TERM, doubt: true } as Term
  const starts = { served: false, digests: UNKNOWN_DIGESTS }
  const serves = { ...starts, served: true }
  const scripts: [what: string, ...steps: [set: object, ms: number, handovers: number][]][] = [
    ['again a minute after the successor gave the Lease back', [{}, 55_000, 1], [{}, 10_000, 2]],
    ['after a doubt', [{ term: IN_DOUBT }, 10_000, 0], [{ term: TERM }, 5_000, 1]],
    ['not while it steps down', [{ term: STEPPING_DOWN }, 10_000, 0], [{ term: TERM }, 5_000, 1]],
    ['only while it leads', [{ term: null }, 10_000, 0]],
    ['only after it has served itself', [{ workload: starts }, 60_000, 0], [{ workload: serves }, 5_000, 1]],
  ]
  for (const [what, ...steps] of scripts)
    test(what, async () => {
      const b = new Bench()
      for (const [set, ms, handovers] of steps) assert.equal(await Object.assign(b, set).after(ms), handovers)
    })

  test('at most once a minute if a peer keeps changing its revision', async () => {
    const b = new Bench()
    for (let i = 0; i < 60; i++) {
      b.members = [{ ...NEWER, revision: `liar ${i}` }]
      await b.after(5_000)
    }
    assert.equal(b.stepDowns, 5)
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

  const noAge = { ...newer, podAgeMs: null }
  const rows: [what: string, own: OwnPod, others: Member[], successor: string | null, newer: boolean][] = [
    ['is empty if no replica is ready', OLD, [unready], null, false],
    ['has the newest revision, prepared or not', OLD, [a, { ...newer, prepared: false }], 'n', true],
    ['is the prepared replica among those of one revision', OLD, [unprepared, a], 'a', false],
    ['has the leader’s own revision rather than an older one', NEW, [a, newer], 'n', false],
    ['has an older revision if no other is ready, and causes no handover', NEW, [a], 'a', false],
    ['has the newest of several revisions, prepared or not', OLD, [second, third], 'third', true],
    ['has a newer revision if its pods are younger, as after a rollback', ROLLED_BACK, [ofFirst], 'f', true],
    ['is not newer if its pod was recreated', { ...NEW, podAgeMs: 30_000 }, [unready, anew], 'anew', false],
    ['is newer than a young leader with an older pod of its revision', YOUNG, [elder, newer], 'n', true],
    ['causes none if the leader’s revision is unknown', { ...OLD, revision: null }, [newer], 'n', false],
    ['causes no handover if the leader’s age is unknown', { ...OLD, podAgeMs: null }, [newer], 'n', false],
    ['causes no handover if its age is unknown', OLD, [noAge], 'n', false],
    ['causes no handover if its revision is unknown', OLD, [{ ...newer, revision: null }], 'n', false],
    ['has an unproven revision even if old pods were recreated since', YOUNG, [anew, waited], 'w', true],
    ['has an unproven revision even if its age is unknown', OLD, [{ ...waited, podAgeMs: null }], 'w', true],
    ['has an unproven revision if the leader’s is unknown', { ...OLD, revision: null }, [waited], 'w', true],
    ['is older if both are unproven', { ...YOUNG, unproven: true }, [waited], 'w', false],
    ['causes no handover if it calls the leader’s own unproven', OLD, [{ ...a, unproven: true }], 'a', false],
  ]
  for (const [what, own, others, successor, newer] of rows) {
    test(what, () => {
      const { content: _, ...chosen } = chooseSuccessor(own, others)
      assert.deepEqual(chosen, { successor, newer })
    })
  }

  test('has the present content, and never content that the leader has seen replaced', () => {
    const own = { ...OLD, content: { digest: 'c2', earlier: ['c1', 'c0'] } }
    const choose = (...others: Member[]) => {
      const { successor, content } = chooseSuccessor(own, others)
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
    assert.deepEqual(choose({ ...newer, content: { digest: 'c1' } }, present), ['present', 'ready'])
    const older = { ...NEW, content: own.content }
    assert.equal(chooseSuccessor(older, [{ ...present, podAgeMs: 500_000 }]).content, 'none')
  })
})
