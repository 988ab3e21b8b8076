import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import type { Fact, Term } from '../../agent/election/state.ts'
import { watchOtherLeases } from '../../agent/peers/other-leases.ts'
import type { Member } from '../../agent/peers/peers.ts'
import { VirtualClock } from '../harness/virtual-clock.ts'

const LEADER: Member = {
  identity: 'old',
  ready: false,
  prepared: true,
  warm: false,
  revision: null,
  unproven: false,
  podAgeMs: 5_000,
  lease: 'team/lock',
  content: null,
  leads: true,
}
const FELLOW: Member = { ...LEADER, lease: 'team/lock-2' }
const ASKING = 'asking the other replicas which Lease they compete for'

class Bench {
  readonly clock = new VirtualClock()
  readonly told: (string | null)[] = []
  readonly lines: string[] = []
  surveys = 0
  term: Term | null = null
  survey: () => Promise<readonly Member[]> = async () => [FELLOW]
  rivals: ReturnType<typeof watchOtherLeases> | null = null

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
      term: () => this.term,
      clock: this.clock,
      repeats: {
        happened: (_, msg) => void this.lines.push(msg),
        over: (_, msg) => void this.lines.push(msg),
      },
      tell: (fact: Fact) => void (fact.type === 'barred' && this.told.push(fact.reason)),
    })
    await this.clock.pass(0)
    return this
  }
}

describe('a starting replica', () => {
  test('asks the other replicas once before it competes', async () => {
    const b = await new Bench().start()
    assert.deepEqual(b.told, [ASKING, null])
    await b.clock.pass(60_000)
    assert.equal(b.surveys, 1)
  })

  test('does not compete while another replica leads by another Lease, and reports the remedy in one sentence', async () => {
    const b = new Bench()
    b.survey = async () => [LEADER]
    await b.start()
    assert.match(b.told[1] ?? '', /^old holds the Lease "team\/lock".*--lease-name/)
    assert.deepEqual(b.lines, [b.told[1]])
    await b.clock.pass(10_000)
    assert.equal(b.surveys, 3)
    b.survey = async () => [FELLOW]
    await b.clock.pass(5_000)
    assert.deepEqual(
      [b.told.at(-1), b.lines.at(-1)],
      [null, 'no other replica competes for another Lease any more'],
    )
    await b.clock.pass(60_000)
    assert.equal(b.surveys, 4)
  })

  const follower: Member = { ...LEADER, leads: false }
  for (const [what, others, reason] of [
    [
      'does not compete while an older replica competes for another Lease',
      [{ ...follower, podAgeMs: 60_001 }],
      /^old already competes for the Lease "team\/lock"/,
    ],
    [
      'names the leader of the other Lease rather than an older follower',
      [{ ...follower, identity: 'older', podAgeMs: 90_000 }, LEADER],
      /^old holds the Lease "team\/lock"/,
    ],
    ['competes if the follower of another Lease is younger', [{ ...follower, podAgeMs: 59_999 }], null],
    [
      'competes if the age of the follower of another Lease is unknown',
      [{ ...follower, podAgeMs: null }],
      null,
    ],
  ] as const) {
    test(what, async () => {
      const b = new Bench()
      b.survey = async () => others
      const last = (await b.start()).told.at(-1)
      if (reason === null) assert.equal(last, null)
      else assert.match(last ?? '', reason)
    })
  }

  test('waits at most two seconds for replicas that do not answer', async () => {
    const b = new Bench()
    b.survey = () => new Promise(() => {})
    await b.start()
    await b.clock.pass(1_999)
    assert.deepEqual(b.told, [ASKING])
    await b.clock.pass(1)
    assert.deepEqual(b.told, [ASKING, null])
  })

  test('competes while no other replica answers, and keeps asking', async () => {
    const b = new Bench()
    b.survey = async () => []
    await b.start()
    assert.deepEqual(b.told, [ASKING, null])
    b.survey = async () => [LEADER]
    await b.clock.pass(5_000)
    assert.match(b.told.at(-1) ?? '', /^old holds the Lease/)
  })

  test('competes if it has taken its own grant back since', async () => {
    const b = new Bench()
    b.survey = async () => [LEADER]
    b.term = {} as Term
    assert.deepEqual((await b.start()).told, [ASKING, null])
  })

  test('does not ask again after it has ended', async () => {
    const b = new Bench()
    b.survey = async () => [LEADER]
    await b.start()
    b.rivals?.close()
    await b.clock.pass(60_000)
    assert.equal(b.told.length, 2)
  })
})
