import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import type { Fact, Term } from '../../agent/election/state.ts'
import type { Member } from '../../agent/peers/peers.ts'
import { Switchover } from '../../agent/peers/switchover-request.ts'
import { electionState, MEMBER, TERM } from './member.ts'

const READY = MEMBER
const UNREADY: Member = { ...MEMBER, identity: 'c_1', ready: false }
const IN_DOUBT = { ...TERM, doubt: true } as Term

class Bench {
  readonly facts: Fact[] = []
  /** The delay of each request to ask the peers again, in ms. */
  readonly asks: number[] = []
  to: string | null = null
  reason = ''
  now = ''
  term: Term | null = TERM
  paused = false
  /** The leader waits for a quiet moment. */
  waits = false
  members: readonly Member[] = [READY, UNREADY]
  readonly switchover: Switchover

  constructor(hasPeers = true) {
    const bench = this
    const peers = {
      get present() {
        return bench.members
      },
      askAgain: (afterMs = 0) => void this.asks.push(afterMs),
    }
    this.switchover = new Switchover({
      identity: 'a_1',
      peers: hasPeers ? peers : null,
      state: () => this.state,
      dispatch: (fact) => this.obey(fact),
    })
  }

  /** As the election does. */
  private obey(fact: Fact): void {
    this.facts.push(fact)
    const { term } = this
    if (term === null) return
    if (fact.type === 'switchover_refused')
      this.term = {
        ...term,
        planned: null,
        refusal: { what: 'switchover', to: fact.to, reason: '', open: true },
      }
    else if (fact.type === 'step_down' && this.waits && !fact.now)
      this.term = { ...term, planned: { why: fact, until: 0 } }
    else this.term = { ...term, stepDown: {} as never }
  }

  private get state() {
    const request = {
      'langflow-leader/switchover-to': this.to ?? '',
      'langflow-leader/request-reason': this.reason,
      'langflow-leader/request-now': this.now,
    }
    const lease = { metadata: { annotations: this.to === null ? {} : request } }
    const { term, paused } = this
    return electionState(term, { paused, seen: { lease, changedAt: 0, heldMs: 0 } as never })
  }

  /** An operator requests a switchover to `to` in the Lease, and the peers answer. */
  asked(to: string | null): this {
    this.to = to
    if (to === null && this.term !== null) this.term = { ...this.term, refusal: null }
    this.switchover.leaseChanged()
    this.switchover.asked()
    return this
  }

  get result(): unknown {
    const [fact] = this.facts
    return fact?.type === 'step_down' ? fact.to : fact?.type
  }
}

test('a request is decided once, after the peers were asked again', () => {
  const b = new Bench()
  b.to = 'b'
  b.reason = 'an upgrade'
  b.switchover.leaseChanged()
  b.switchover.leaseChanged()
  assert.deepEqual([b.asks, b.facts], [[0], []])
  b.switchover.asked()
  b.switchover.asked()
  const reason = 'an operator asked for a switchover to b: an upgrade'
  assert.deepEqual(b.facts, [{ type: 'step_down', code: 'switchover', reason, now: false, to: 'b_1' }])
})

const REFUSED = 'switchover_refused'
for (const [what, to, result, set] of [
  ['names a replica that could take over', 'b', 'b_1', {}],
  ['names no replica', '*', null, {}],
  ['names the leader', 'a', REFUSED, {}],
  ['names a replica that could not take over', 'c', REFUSED, {}],
  ['names an unknown replica', 'd', REFUSED, {}],
  ['is empty', '', REFUSED, {}],
  ['comes during a pause', 'b', REFUSED, { paused: true }],
  ['would leave no replica to serve', '*', REFUSED, { members: [UNREADY] }],
] as const)
  test(`a request that ${what} is ${result === REFUSED ? 'refused' : 'accepted'}`, () => {
    assert.equal((Object.assign(new Bench(), set) as Bench).asked(to).result, result)
  })

test('without peers, a request is accepted for a replica that was not verified', () => {
  assert.equal(new Bench(false).asked('d').result, 'd')
  assert.equal(new Bench(false).asked('').result, REFUSED)
})

test('a request waits for the end of a doubt or of a restart in place, but not of another stop', () => {
  for (const term of [IN_DOUBT, { ...TERM, stepDown: { inPlace: true } as never }])
    for (const hasPeers of [true, false]) {
      const b = new Bench(hasPeers)
      b.term = term
      assert.deepEqual(b.asked('b').facts, [])
      b.term = TERM
      assert.equal(b.asked('b').facts.length, 1)
    }
  const ending = new Bench()
  ending.term = { ...TERM, stepDown: {} as never }
  assert.deepEqual(ending.asked('b').facts, [])
})

for (const hasPeers of [true, false])
  describe(`while the leader waits for a quiet moment ${hasPeers ? 'with' : 'without'} peers`, () => {
    const waiting = () => Object.assign(new Bench(hasPeers), { waits: true }).asked('b')
    const types = ({ facts }: Bench) => facts.map(({ type }) => type)

    test('a target that could no longer take over is refused', () => {
      const b = waiting()
      b.members = [UNREADY]
      b.switchover.asked()
      b.switchover.asked()
      assert.equal(types(b).at(-1), hasPeers ? REFUSED : 'step_down')
      assert.ok(types(b).filter((type) => type === REFUSED).length < 2)
    })

    test('the peers are asked every second', () => {
      const b = waiting()
      b.switchover.asked()
      assert.deepEqual(b.asks, hasPeers ? [0, 1_000, 1_000] : [])
      b.asked(null).asked('c')
      assert.deepEqual(b.asks.slice(3), hasPeers ? [0] : [])
    })

    test('an operator hurries the request', () => {
      const b = waiting()
      b.now = 'true'
      const { stepDown } = b.asked('b').term as Term
      assert.notEqual(stepDown, null)
    })

    test('a request whose wait has ended without a handover is decided again', () => {
      const b = waiting()
      b.term = { ...TERM, planned: null }
      b.asked('b')
      assert.ok(b.term.planned)
    })

    test('a request does not delay the end of the pod', () => {
      const b = new Bench(hasPeers)
      b.term = { ...TERM, planned: { why: { code: 'container_ending', reason: '' }, until: 0 } }
      assert.deepEqual(types(b.asked('b')), [])
    })
  })

test('a repeated request and a request in another term are decided again, but not by a follower', () => {
  const b = new Bench().asked('c').asked(null).asked('c')
  assert.equal(b.facts.length, 2)
  b.term = { ...TERM, epoch: 2 }
  assert.equal(b.asked('c').facts.length, 3)
  b.term = null
  assert.equal(b.asked('c').facts.length, 3)
})
