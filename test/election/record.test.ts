import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import type { Lease, LeaseSpec } from '../../agent/lease/lease.ts'
import { Candidate, heldBy, leaseOf, noted, RELEASED, released } from './candidate.ts'

const EPOCH = 'langflow-leader/epoch'
const LARGEST = 2 ** 31 - 1
const HELD = heldBy('other', 10)
const LONG = heldBy('other', 10, { leaseDurationSeconds: 30 })

/** An edit by another client keeps the holder's renew time. */
const EDITED: LeaseSpec = { renewTime: 'r10' }

function lasting(leaseDurationSeconds: number, lease: Lease): Lease {
  return { ...lease, spec: { ...lease.spec, leaseDurationSeconds } }
}

/** A Lease whose holder is cleared without the annotation of a release, as client-go or a person writes it. */
function unnamed(spec: LeaseSpec = {}): Lease {
  return heldBy('', 11, { leaseDurationSeconds: 1, ...spec })
}

describe('how long a candidate leaves a Lease alone', () => {
  /** The Lease at first, the Lease that the candidate sees 5 s later, and how many ms it waits after that. */
  const rows: [string, Lease | null, Lease, number][] = [
    ['not at all after a release, even at first sight', null, released(11), 0],
    ['a lease duration if the holder is cleared without a release', HELD, unnamed(), 15_000],
    ['a lease duration if the holder was cleared before the first sight', null, unnamed(), 15_000],
    [
      'a lease duration if the release names another replica than the holder',
      HELD,
      released(11, 'me'),
      15_000,
    ],
    ...['other 2', 'other 4', 'other', '3', '', ' 3', 'other 3 ', 'other -3', 'other 3e0'].map(
      (said): [string, Lease, Lease, number] => [
        `a lease duration if the release contains "${said}"`,
        HELD,
        noted(unnamed(), { [RELEASED]: said }),
        15_000,
      ],
    ),
    ['not at all after the release of a later term', HELD, released(12, 'x', { leaseTransitions: 4 }), 0],
    [
      'a lease duration after the release of an earlier term',
      HELD,
      released(12, 'x', { leaseTransitions: 2 }),
      15_000,
    ],
    [
      'a lease duration if the release does not shorten the duration',
      HELD,
      lasting(15, released(11)),
      15_000,
    ],
    ['not at all if it was never held, even with a duration', null, lasting(15, leaseOf({}, 1)), 0],
    ['the recorded duration if an edit shortens it', LONG, lasting(3, heldBy('other', 11, EDITED)), 30_000],
    [
      'the recorded duration if an edit shortens it and changes the holder',
      LONG,
      lasting(3, heldBy('x', 11, EDITED)),
      30_000,
    ],
    ['the recorded duration if the holder is cleared with a new renew time', LONG, unnamed(), 30_000],
    ['the recorded duration if the holder is cleared with the old renew time', LONG, unnamed(EDITED), 30_000],
    ['the new duration if the holder shortens it', LONG, lasting(20, heldBy('other', 11)), 20_000],
    ['the new duration if an edit lengthens it', LONG, lasting(40, heldBy('other', 11, EDITED)), 40_000],
  ]
  for (const [what, before, after, ms] of rows)
    test(what, () => {
      const c = Candidate.follower()
      if (before !== null) c.sees(before).pass(5_000)
      c.sees(after).takesAfter(ms)
    })

  test('the longest recorded duration through several edits, until the holder writes again', () => {
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

  test('by another replica does not count after an edit has cleared the holder', () => {
    const c = Candidate.follower().sees(HELD).sees(heldBy('', 11)).pass(1_000)
    c.sees(released(12, 'third')).takesAfter(15_000)
  })

  test('names its holder and epoch, and the next acquisition removes this', () => {
    const c = stopped().workload({ alive: 'no' })
    assert.equal(c.write.lease.spec?.leaseDurationSeconds, 1)
    assert.deepEqual(c.notes, { [RELEASED]: 'me 4' })
    const next = Candidate.follower().sees(c.commit()).takesAfter(0)
    assert.equal(next.notes, undefined)
  })

  test('is written even if an edit has cleared the holder, since other replicas do not trust that edit', () => {
    const c = stopped().sees(heldBy('', 500, { leaseTransitions: 4, leaseDurationSeconds: 1 }))
    c.fail('network').workload({ alive: 'no' })
    assert.deepEqual([c.write.kind, c.notes], ['release', { [RELEASED]: 'me 4' }])
  })
})

describe('an epoch', () => {
  const full: LeaseSpec = { leaseTransitions: LARGEST }
  const leading = (lease: Lease) => Candidate.follower().sees(lease).pass(15_000).acknowledge()
  const noteOf = (c: Candidate) => [c.write.kind, c.write.lease.metadata.annotations?.[EPOCH]]

  test('continues in an annotation after leaseTransitions has reached its largest value', () => {
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

  test('stays the same during a term if a person removes that annotation', () => {
    const c = leading(heldBy('other', 10, full))
    const lease = c.state.seen?.lease as Lease
    c.forget().sees({ ...lease, metadata: { ...lease.metadata, annotations: null, resourceVersion: '900' } })
    assert.deepEqual([noteOf(c), c.events()], [['renew', '2147483648'], []])
  })

  test('does not prevent a takeover after it has reached its maximum', () => {
    const c = leading(noted(heldBy('other', 10, full), { [EPOCH]: '999999999999999' }))
    assert.equal(c.state.term?.epoch, 10 ** 15 - 1)
    assert.equal(c.pass(2_000).write.kind, 'renew')
  })
})
