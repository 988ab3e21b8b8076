import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import type { Term } from '../../agent/election/state.ts'
import type { Fault } from '../../agent/fault.ts'
import { watchOtherLeases } from '../../agent/peers/other-leases.ts'
import type { Member } from '../../agent/peers/peers.ts'
import { VirtualClock } from '../harness/virtual-clock.ts'
import { electionState, MEMBER, TERM } from './member.ts'

const LEADER: Member = { ...MEMBER, identity: 'old', podAgeMs: 5_000, leads: true }
const FOLLOWER: Member = { ...LEADER, leads: false }
const FELLOW: Member = { ...LEADER, lease: 'team/lock-2' }

class Bench {
  readonly clock = new VirtualClock()
  /** Why the replica does not compete, as last reported, after each report. */
  readonly barred: Fault[] = []
  readonly troubles: boolean[] = []
  surveys = 0
  term: Term | null = null
  rivals: ReturnType<typeof watchOtherLeases> | null = null
  survey: () => Promise<readonly Member[]>

  constructor(...others: Member[]) {
    this.survey = async () => others
  }

  async start(): Promise<this> {
    this.rivals = watchOtherLeases({
      peers: {
        survey: () => {
          this.surveys++
          return this.survey()
        },
      },
      lease: 'team/lock-2',
      podAgeMs: () => 60_000,
      state: () => electionState(this.term),
      clock: this.clock,
      repeats: { happened: () => this.troubles.push(true), over: () => this.troubles.push(false) },
      dispatch: (fact) => void (fact.type === 'barred' && this.barred.push(fact.reason)),
    })
    await this.clock.pass(0)
    return this
  }

  get competes(): boolean {
    return this.barred.at(-1) === null
  }
}

describe('a starting replica', () => {
  test('asks the other replicas once before it competes', async () => {
    const b = await new Bench(FELLOW).start()
    assert.deepEqual([b.barred.length, b.competes], [2, true])
    await b.clock.pass(60_000)
    assert.equal(b.surveys, 1)
  })

  test('does not compete while another replica leads by another Lease, and reports this', async () => {
    const b = await new Bench(LEADER).start()
    assert.deepEqual([b.competes, b.troubles], [false, [true]])
    await b.clock.pass(10_000)
    assert.equal(b.surveys, 3)
    b.survey = async () => [FELLOW]
    await b.clock.pass(5_000)
    assert.deepEqual([b.competes, b.troubles.at(-1)], [true, false])
    await b.clock.pass(60_000)
    assert.equal(b.surveys, 4)
  })

  for (const [what, others, rival] of [
    ['an older replica competes for another Lease', [{ ...FOLLOWER, podAgeMs: 60_001 }], 'old'],
    ['its leader is younger', [{ ...FOLLOWER, identity: 'b', podAgeMs: 90_000 }, LEADER], 'old'],
    ['the follower of another Lease is younger', [{ ...FOLLOWER, podAgeMs: 59_999 }], null],
    ['the age of the follower of another Lease is unknown', [{ ...FOLLOWER, podAgeMs: null }], null],
  ] as const)
    test(`${rival === null ? 'competes' : 'does not compete'} if ${what}`, async () => {
      const b = await new Bench(...others).start()
      assert.equal(b.barred.at(-1)?.split(' ')[0] ?? null, rival)
    })

  test('waits at most two seconds for replicas that do not answer', async () => {
    const b = new Bench()
    b.survey = () => new Promise(() => {})
    await b.start()
    await b.clock.pass(1_999)
    assert.equal(b.competes, false)
    await b.clock.pass(1)
    assert.equal(b.competes, true)
  })

  test('competes while no other replica answers, and keeps asking', async () => {
    const b = await new Bench().start()
    assert.equal(b.competes, true)
    b.survey = async () => [LEADER]
    await b.clock.pass(5_000)
    assert.equal(b.competes, false)
  })

  test('competes if it has taken its own grant back since', async () => {
    const b = new Bench(LEADER)
    b.term = TERM
    assert.equal((await b.start()).competes, true)
  })

  test('does not ask again after it has ended', async () => {
    const b = await new Bench(LEADER).start()
    b.rivals?.close()
    await b.clock.pass(60_000)
    assert.deepEqual([b.surveys, b.barred.length], [1, 2])
  })
})
