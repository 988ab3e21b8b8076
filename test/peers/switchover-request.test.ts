import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { Fact, Term } from '../../agent/election/state.ts'
import type { Lease } from '../../agent/lease/lease.ts'
import { requestOf } from '../../agent/lease/operator-annotations.ts'
import type { Member } from '../../agent/peers/peers.ts'
import { Switchover } from '../../agent/peers/switchover-request.ts'

const TERM = { epoch: 1, doubt: false, stepDown: null } as Term

function member(identity: string, ready: boolean): Member {
  return {
    identity,
    ready,
    prepared: ready,
    warm: ready,
    revision: null,
    unproven: false,
    podAgeMs: null,
    lease: 'team/lock',
    content: null,
    leads: false,
  }
}

class Bench {
  readonly told: Fact[] = []
  asks = 0
  to: string | null = null
  reason = ''
  term: Term | null = TERM
  paused = false
  members: Member[] = [member('b_1', true), member('c_1', false)]
  readonly switchover: Switchover

  constructor(hasPeers = true) {
    const bench = this
    const peers = {
      get members() {
        return bench.members
      },
      askAgain: () => void this.asks++,
    }
    this.switchover = new Switchover({
      identity: 'a_1',
      peers: hasPeers ? peers : null,
      term: () => this.term,
      asked: () => requestOf(this.lease),
      paused: () => this.paused,
      tell: (fact) => void this.told.push(fact),
    })
  }

  private get lease(): Lease {
    const request = {
      'langflow-leader/switchover-to': this.to ?? '',
      'langflow-leader/request-reason': this.reason,
    }
    return { metadata: { annotations: this.to === null ? {} : request } }
  }

  /** An operator requests a switchover to `to` in the Lease, and the peers answer. */
  asked(to: string | null): this {
    this.to = to
    this.switchover.leaseChanged()
    this.switchover.asked()
    return this
  }

  get refusal(): string | null {
    const [fact] = this.told
    return fact?.type === 'switchover_refused' ? fact.reason : null
  }
}

test('a request waits during a restart in place', () => {
  const bench = new Bench()
  bench.term = { ...TERM, stepDown: { inPlace: true } as never }
  bench.asked('b')
  assert.equal(bench.told.length, 0)
  bench.term = TERM
  bench.asked('b')
  assert.equal(bench.told.at(-1)?.type, 'step_down')
})

test('a request is decided once, after the peers were asked again', () => {
  const bench = new Bench()
  bench.to = 'b'
  bench.reason = 'an upgrade'
  bench.switchover.leaseChanged()
  bench.switchover.leaseChanged()
  assert.deepEqual([bench.asks, bench.told], [1, []])
  bench.switchover.asked()
  bench.switchover.asked()
  assert.deepEqual(bench.told, [
    {
      type: 'step_down',
      code: 'switchover',
      reason: 'an operator asked for a switchover to b: an upgrade',
      note: 'an upgrade',
      to: 'b_1',
    },
  ])
})

test('a request for any replica names no successor', () => {
  const [fact] = new Bench().asked('*').told
  assert.deepEqual(fact?.type === 'step_down' && fact.to, null)
})

test('a request that would leave no replica to serve is refused with the reason', () => {
  assert.match(new Bench().asked('a').refusal ?? '', /a already leads/)
  assert.match(new Bench().asked('c').refusal ?? '', /c cannot take over now/)
  assert.match(new Bench().asked('d').refusal ?? '', /no replica named d answers; other replicas: b, c/)
  assert.match(
    new Bench().asked('').refusal ?? '',
    /^the request names no pod: write the name of a pod, or \* for/,
  )
  assert.match(new Bench(false).asked('').refusal ?? '', /^the request names no pod/)
  const paused = new Bench()
  paused.paused = true
  assert.match(paused.asked('b').refusal ?? '', /paused/)
  const alone = new Bench()
  alone.members = [member('c_1', false)]
  assert.match(alone.asked('*').refusal ?? '', /no other replica can take over/)
})

test('without peers, a request is accepted for a replica that was not verified', () => {
  const [fact] = new Bench(false).asked('d').told
  assert.deepEqual(fact?.type === 'step_down' && fact.to, 'd')
})

test('without peers, a request that came in doubt is decided after the doubt', () => {
  const bench = new Bench(false)
  bench.term = { ...TERM, doubt: true }
  bench.asked('d')
  assert.deepEqual(bench.told, [])
  bench.term = TERM
  bench.switchover.leaseChanged()
  assert.equal(bench.told.length, 1)
})

test('a request waits while the leader is in doubt, and has no effect while the leader steps down', () => {
  const bench = new Bench()
  bench.term = { ...TERM, doubt: true }
  assert.deepEqual(bench.asked('b').told, [])
  bench.term = TERM
  bench.switchover.asked()
  assert.equal(bench.told.length, 1)
  const ending = new Bench()
  ending.term = { ...TERM, stepDown: {} as never }
  assert.deepEqual(ending.asked('b').told, [])
})

test('a repeated request and a request in another term are decided again, but not by a follower', () => {
  const bench = new Bench().asked('c').asked(null).asked('c')
  assert.equal(bench.told.length, 2)
  bench.term = { ...TERM, epoch: 2 }
  bench.asked('c')
  assert.equal(bench.told.length, 3)
  bench.term = null
  assert.equal(bench.asked('c').told.length, 3)
})
