import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import type { Lease, LeaseSpec } from '../../agent/lease/lease.ts'
import { Candidate, heldBy, leaseOf, noted, RELEASED, released } from './candidate.ts'

const HELD = heldBy('other', 10)
const LONG = heldBy('other', 10, { leaseDurationSeconds: 30 })
const ANNOTATED = {
  metadata: { ...HELD.metadata, resourceVersion: '11', annotations: { note: 'x' } },
  spec: HELD.spec ?? {},
}
const empty = (version: number, spec: LeaseSpec = {}, uid = 'u1') => leaseOf(spec, version, uid)

describe('a candidate takes', () => {
  /** The Leases that the candidate sees, with pauses in ms, and the ms after which it then takes the Lease. */
  const rows: [string, readonly (Lease | null | number)[], number][] = [
    ['a released Lease on the event that shows the release', [HELD, 500, released(11)], 0],
    ['a Lease that was never held, immediately', [empty(1)], 0],
    ['a held Lease after it has not changed for the record’s duration', [LONG], 30_000],
    [
      'a renewed Lease only after it has not changed for another lease duration',
      [HELD, 14_000, heldBy('other', 11)],
      15_000,
    ],
    ['a held Lease no later if only an annotation changed', [HELD, 14_000, ANNOTATED], 1_000],
    [
      'a held Lease no sooner after an event that is older than the Lease it has seen',
      [HELD, released(9)],
      15_000,
    ],
    ['an absent Lease at the moment when it becomes free, not at the next poll', [HELD, null], 15_000],
    ['a deleted Lease no sooner if it reappears empty', [HELD, null, 5_000, empty(12, {}, 'u2')], 10_000],
    ['a held Lease that was re-created empty, after a lease duration', [HELD, empty(12, {}, 'u2')], 15_000],
    ['a held Lease that was emptied, after a lease duration', [HELD, empty(11)], 15_000],
    ['an emptied Lease after the duration of its last record, if that is longer', [LONG, empty(11)], 30_000],
    [
      'an emptied Lease no sooner after further edits',
      [
        LONG,
        empty(11),
        5_000,
        empty(12, { leaseDurationSeconds: 40 }),
        1_000,
        empty(13, { leaseDurationSeconds: 1 }),
      ],
      24_000,
    ],
  ]
  for (const [what, steps, ms] of rows)
    test(what, () => {
      const c = Candidate.follower()
      for (const step of steps) typeof step === 'number' ? c.wait(step) : c.sees(step)
      c.takesAfter(ms)
    })
})

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
      (text): [string, Lease, Lease, number] => [
        `a lease duration if the release contains "${text}"`,
        HELD,
        noted(unnamed(), { [RELEASED]: text }),
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
})

test('a candidate follows each of twenty failures in a row, and the cool-down grows to one minute', () => {
  const c = Candidate.leader()
  const pauses: number[] = []
  for (let n = 0; n < 20; n++) {
    c.dispatch({
      type: 'workload_failed',
      code: 'workload_exited',
      reason: 'it ended',
      remedy: 'handover',
    }).workload({ alive: 'no', canRun: true })
    assert.equal(c.write.kind, 'release')
    c.acknowledge().forget()
    const releasedAt = c.mono
    while (c.state.pending === null) c.pass(100)
    pauses.push(c.mono - releasedAt)
    assert.equal(c.write.kind, 'acquire')
    c.acknowledge().workload({ alive: 'yes', canRun: false, epoch: c.state.term?.epoch ?? null })
  }
  assert.deepEqual(pauses.slice(0, 6), [4_000, 8_000, 16_000, 32_000, 60_000, 60_000])
  assert.deepEqual([pauses.length, pauses.at(-1)], [20, 60_000])
})

test('a leader with members asks no one while it sees no Lease, and waits for its next wake-up', () => {
  const c = Candidate.leader({ consentKey: 'k'.repeat(16), failsafeMaxMs: 60_000 })
  c.dispatch({ type: 'enrolled', members: [{ identity: 'b', at: 'b:8090' }] })
    .pass(2_000)
    .acknowledge()
  c.sees(null).pass(5_500)
  assert.deepEqual(c.effects('ask'), [])
  assert.ok(c.state.wakeAt > c.mono)
})
