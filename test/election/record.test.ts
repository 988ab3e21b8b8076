import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import type { Lease, LeaseSpec } from '../../agent/lease/lease.ts'
import { Candidate, heldBy, leaseOf, noted, RELEASED, released } from './candidate.ts'

const EPOCH = 'langflow-leader/epoch'
const LARGEST = 2 ** 31 - 1
const HELD = heldBy('other', 10)
const LONG = heldBy('other', 10, { leaseDurationSeconds: 30 })

/** Of what somebody else than the holder wrote. */
const EDITED: LeaseSpec = { renewTime: 'r10' }

function lasting(leaseDurationSeconds: number, lease: Lease): Lease {
  return { ...lease, spec: { ...lease.spec, leaseDurationSeconds } }
}

/** As client-go writes a release, and as a person may. */
function unnamed(spec: LeaseSpec = {}): Lease {
  return heldBy('', 11, { leaseDurationSeconds: 1, ...spec })
}

describe('what a candidate sees is left alone', () => {
  /** 5 s after what is known, it sees what was written then. */
  const rows: [string, Lease | null, Lease, number][] = [
    ['not at all where it is a release seen first', null, released(11), 0],
    ['for a lease duration where nobody says to have released it', HELD, unnamed(), 15_000],
    ['for a lease duration where that is seen first', null, unnamed(), 15_000],
    ['for a lease duration where another than its holder released it', HELD, released(11, 'me'), 15_000],
    ...['other 2', 'other 4', 'other', '3', '', ' 3', 'other 3 ', 'other -3', 'other 3e0'].map(
      (said): [string, Lease, Lease, number] => [
        `for a lease duration where it says to be released by "${said}"`,
        HELD,
        noted(unnamed(), { [RELEASED]: said }),
        15_000,
      ],
    ),
    ['not at all where a later term was released', HELD, released(12, 'x', { leaseTransitions: 4 }), 0],
    [
      'for a lease duration where an earlier one was',
      HELD,
      released(12, 'x', { leaseTransitions: 2 }),
      15_000,
    ],
    ['for a lease duration where it keeps its duration', HELD, lasting(15, released(11)), 15_000],
    ['not at all where it was never held and has a duration', null, lasting(15, leaseOf({}, 1)), 0],
    ['as long as before where others shorten it', LONG, lasting(3, heldBy('other', 11, EDITED)), 30_000],
    ['as long as before where they change its holder too', LONG, lasting(3, heldBy('x', 11, EDITED)), 30_000],
    ['as long as before where its holder is cleared', LONG, unnamed(), 30_000],
    ['as long as before where only its holder is cleared', LONG, unnamed(EDITED), 30_000],
    ['for a shorter time where its holder says so', LONG, lasting(20, heldBy('other', 11)), 20_000],
    ['for a longer time whoever says so', LONG, lasting(40, heldBy('other', 11, EDITED)), 40_000],
  ]
  for (const [what, before, after, ms] of rows)
    test(what, () => {
      const c = Candidate.follower()
      if (before !== null) c.sees(before).pass(5_000)
      c.sees(after).takesAfter(ms)
    })

  test('for long through any number of edits, until its holder writes', () => {
    const c = Candidate.follower().sees(LONG)
    for (let version = 11; version < 14; version++)
      c.sees(heldBy('other', version, { leaseDurationSeconds: 3 + version, renewTime: 'r10' }))
    assert.equal(c.state.seen?.heldMs, 30_000)
    assert.equal(c.sees(heldBy('other', 14)).state.seen?.heldMs, 15_000)
  })
})

describe('a release', () => {
  const stopped = () => {
    const c = Candidate.leader().tell({ type: 'terminate', reason: 'SIGTERM' })
    return c.tell({ type: 'drained' })
  }

  test('counts the holder that was seen before somebody cleared it', () => {
    const c = Candidate.follower().sees(HELD).sees(heldBy('', 11)).pass(1_000)
    c.sees(released(12, 'third')).takesAfter(15_000)
  })

  test('says who and in which epoch, and the next acquisition takes that away', () => {
    const c = stopped().workload({ alive: 'no' })
    assert.equal(c.write.lease.spec?.leaseDurationSeconds, 1)
    assert.deepEqual(c.notes, { [RELEASED]: 'me 4' })
    const next = Candidate.follower().sees(c.commit()).takesAfter(0)
    assert.equal(next.notes, undefined)
  })

  test('is written also where somebody had cleared the holder by hand meanwhile: nobody else believes that', () => {
    const c = stopped().sees(heldBy('', 500, { leaseTransitions: 4, leaseDurationSeconds: 1 }))
    c.fail('network').workload({ alive: 'no' })
    assert.deepEqual([c.write.kind, c.notes], ['release', { [RELEASED]: 'me 4' }])
  })
})

describe('an epoch', () => {
  const full: LeaseSpec = { leaseTransitions: LARGEST }
  const leading = (lease: Lease) => Candidate.follower().sees(lease).pass(15_000).acknowledge()
  const noteOf = (c: Candidate) => [c.write.kind, c.write.lease.metadata.annotations?.[EPOCH]]

  test('goes on in an annotation where leaseTransitions is as large as it can be', () => {
    const c = Candidate.follower()
      .sees(heldBy('other', 10, full))
      .pass(15_000)
    assert.deepEqual(noteOf(c), ['acquire', '2147483648'])
    assert.equal(c.write.lease.spec?.leaseTransitions, LARGEST)
    assert.equal(c.acknowledge().state.term?.epoch, LARGEST + 1)
    assert.match(JSON.stringify(c.effects('grant')), /"epoch":2147483648/)
    c.workload({ alive: 'yes', canRun: false, epoch: LARGEST + 1, identity: 'me' }).pass(2_000)
    assert.deepEqual(noteOf(c), ['renew', '2147483648'])
    c.acknowledge().tell({ type: 'terminate', reason: 'SIGTERM' }).tell({ type: 'drained' })
    const next = Candidate.follower({ identity: 'next' }).sees(c.workload({ alive: 'no' }).commit())
    assert.deepEqual(next.notes, { [EPOCH]: '2147483649' })
  })

  test('of a term goes on where somebody takes that annotation away', () => {
    const c = leading(heldBy('other', 10, full))
    const lease = c.state.seen?.lease as Lease
    c.forget().sees({ ...lease, metadata: { ...lease.metadata, annotations: null, resourceVersion: '900' } })
    assert.deepEqual([noteOf(c), c.events()], [['renew', '2147483648'], []])
  })

  test('that cannot grow any more ends no takeover', () => {
    const c = leading(noted(heldBy('other', 10, full), { [EPOCH]: '999999999999999' }))
    assert.equal(c.state.term?.epoch, 10 ** 15 - 1)
    assert.equal(c.pass(2_000).write.kind, 'renew')
  })
})
