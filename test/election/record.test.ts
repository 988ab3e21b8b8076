import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { epochOf, epochProblem, type Lease, type LeaseSpec } from '../../agent/lease/lease.ts'
import { Candidate, heldBy, leaseOf, RELEASED, released } from './candidate.ts'

const EPOCH = 'langflow-leader/epoch'
const LARGEST = 2 ** 31 - 1

function noted(lease: Lease, annotations: Record<string, string>): Lease {
  return { ...lease, metadata: { ...lease.metadata, annotations } }
}

/** How long a follower that saw `before` leaves `after` alone, counted from when it was shown; `after` comes 5 s later. */
function waits(before: Lease | null, after: Lease): number {
  const c = Candidate.follower()
  if (before !== null) c.sees(before).pass(5_000)
  c.sees(after)
  const from = c.mono
  while (c.state.pending === null && c.mono - from < 100_000) c.pass(100)
  return c.mono - from
}

describe('a release', () => {
  const held = heldBy('other', 10)

  test('that names its holder and its epoch is believed at once, by whoever sees it first as well', () => {
    assert.equal(waits(held, released(11)), 0)
    assert.equal(waits(null, released(11)), 0)
  })

  test('that nobody names is waited out for a whole lease duration, as client-go writes it and as a person may', () => {
    const unnamed = heldBy('', 11, { leaseDurationSeconds: 1 })
    assert.equal(waits(held, unnamed), 15_000)
    assert.equal(waits(null, unnamed), 15_000)
  })

  test('is waited out where it names another than the holder, another epoch, or nothing that can be read', () => {
    assert.equal(waits(held, released(11, 'me')), 15_000)
    for (const said of ['other 2', 'other 4', 'other', '3', '', ' 3', 'other 3 ', 'other -3', 'other 3e0']) {
      assert.equal(
        waits(held, noted(heldBy('', 11, { leaseDurationSeconds: 1 }), { [RELEASED]: said })),
        15_000,
      )
    }
  })

  test('of a later term than was seen is believed, since another one may have held it meanwhile', () => {
    assert.equal(waits(held, released(12, 'third', { leaseTransitions: 4 })), 0)
  })

  test('of an earlier term than was seen is not', () => {
    assert.equal(waits(held, released(12, 'other', { leaseTransitions: 2 })), 15_000)
  })

  test('that keeps the duration is none', () => {
    assert.equal(waits(held, released(11, 'other', { leaseDurationSeconds: 15 })), 15_000)
  })

  test('counts the holder that was seen before somebody cleared it', () => {
    const c = Candidate.follower().sees(held).sees(heldBy('', 11)).pass(1_000)
    c.sees(released(12, 'third')).pass(14_999)
    assert.equal(c.effects('write').length, 0)
    assert.equal(c.pass(1).write.kind, 'acquire')
  })

  test('says who and in which epoch, and the next acquisition takes that away', () => {
    const c = Candidate.leader().tell({ type: 'terminate', reason: 'SIGTERM' }).tell({ type: 'drained' })
    c.workload({ alive: 'no' })
    assert.equal(c.write.lease.spec?.leaseDurationSeconds, 1)
    assert.deepEqual(c.write.lease.metadata.annotations, { [RELEASED]: 'me 4' })
    const next = Candidate.follower().sees(c.commit())
    assert.equal(next.write.kind, 'acquire')
    assert.equal(next.write.lease.metadata.annotations, undefined)
  })

  test('is written also where somebody had cleared the holder by hand meanwhile: nobody else believes that', () => {
    const c = Candidate.leader().tell({ type: 'terminate', reason: 'SIGTERM' }).tell({ type: 'drained' })
    c.sees(heldBy('', 500, { leaseTransitions: 4, leaseDurationSeconds: 1 })).fail('network')
    c.workload({ alive: 'no' })
    assert.equal(c.write.kind, 'release')
    assert.deepEqual(c.write.lease.metadata.annotations, { [RELEASED]: 'me 4' })
  })

  test('of a Lease that was never held is not needed', () => {
    assert.equal(waits(null, leaseOf({}, 1)), 0)
    assert.equal(waits(null, leaseOf({ leaseDurationSeconds: 15 }, 1)), 0)
  })
})

describe('a record whose duration shrinks', () => {
  const long = heldBy('other', 10, { leaseDurationSeconds: 30 })

  test('while its renew time stays was not written by its holder: the longer one counts', () => {
    assert.equal(waits(long, heldBy('other', 11, { leaseDurationSeconds: 3, renewTime: 'r10' })), 30_000)
    assert.equal(waits(long, heldBy('third', 11, { leaseDurationSeconds: 3, renewTime: 'r10' })), 30_000)
  })

  test('with a new renew time is believed', () => {
    assert.equal(waits(long, heldBy('other', 11, { leaseDurationSeconds: 20 })), 20_000)
  })

  test('by whoever clears the holder as well counts as before', () => {
    assert.equal(waits(long, heldBy('', 11, { leaseDurationSeconds: 1 })), 30_000)
    assert.equal(waits(long, heldBy('', 11, { leaseDurationSeconds: 1, renewTime: 'r10' })), 30_000)
  })

  test('may grow by anybody’s hand', () => {
    const longer = heldBy('other', 11, { leaseDurationSeconds: 40, renewTime: 'r10' })
    assert.equal(waits(long, longer), 40_000)
  })

  test('stays long through any number of edits, until its holder writes', () => {
    const c = Candidate.follower().sees(long)
    for (let version = 11; version < 14; version++)
      c.sees(heldBy('other', version, { leaseDurationSeconds: 3 + version, renewTime: 'r10' }))
    assert.equal(c.state.seen?.heldMs, 30_000)
    c.sees(heldBy('other', 14))
    assert.equal(c.state.seen?.heldMs, 15_000)
  })
})

describe('an epoch', () => {
  const full: LeaseSpec = { leaseTransitions: LARGEST }

  test('goes on in an annotation where leaseTransitions is as large as it can be', () => {
    const c = Candidate.follower()
      .sees(heldBy('other', 10, full))
      .pass(15_000)
    assert.equal(c.write.lease.spec?.leaseTransitions, LARGEST)
    assert.deepEqual(c.write.lease.metadata.annotations, { [EPOCH]: '2147483648' })
    c.acknowledge()
    assert.equal(c.state.term?.epoch, LARGEST + 1)
    assert.match(JSON.stringify(c.effects('grant')), /"epoch":2147483648/)
    c.workload({ alive: 'yes', canRun: false, epoch: LARGEST + 1, identity: 'me' }).pass(2_000)
    assert.deepEqual([c.write.kind, c.write.lease.metadata.annotations?.[EPOCH]], ['renew', '2147483648'])
    c.acknowledge().tell({ type: 'terminate', reason: 'SIGTERM' }).tell({ type: 'drained' })
    c.workload({ alive: 'no' })
    const next = Candidate.follower({ identity: 'next' }).sees(c.commit())
    assert.deepEqual(next.write.lease.metadata.annotations, { [EPOCH]: '2147483649' })
  })

  test('of a term goes on where somebody takes that annotation away', () => {
    const c = Candidate.follower()
      .sees(heldBy('other', 10, full))
      .pass(15_000)
      .acknowledge()
    const lease = c.state.seen?.lease as Lease
    c.forget().sees({ ...lease, metadata: { ...lease.metadata, annotations: null, resourceVersion: '900' } })
    assert.deepEqual([c.write.kind, c.write.lease.metadata.annotations?.[EPOCH]], ['renew', '2147483648'])
    assert.deepEqual(c.events(), [])
  })

  test('is higher than any that was seen, also where the Lease was made anew', () => {
    const c = Candidate.follower().sees(heldBy('other', 10)).sees(null).wait(1_000)
    c.sees(leaseOf({}, 12, 'u2'), true).wait(15_000)
    assert.equal(c.write.lease.spec?.leaseTransitions, 4)
  })

  test('is read from what can be one', () => {
    const of = (leaseTransitions: unknown, said?: string) =>
      epochOf(
        noted(heldBy('a', 1, { leaseTransitions } as LeaseSpec), said === undefined ? {} : { [EPOCH]: said }),
      )
    assert.deepEqual(
      [of(7), of(undefined), of(null), of(-1), of(1.5), of('7'), of(1e300)],
      [7, 0, 0, 0, 0, 0, 0],
    )
    assert.deepEqual([of(7, '3000000000'), of(LARGEST, '3000000000')], [7, 3_000_000_000])
    for (const said of ['7', '-1', 'x', '', '99999999999999999999', '3e9'])
      assert.equal(of(LARGEST, said), LARGEST)
    assert.equal(of(2 ** 40), LARGEST)
  })

  test('that cannot grow any more ends no takeover', () => {
    const last = noted(heldBy('other', 10, full), { [EPOCH]: '999999999999999' })
    const c = Candidate.follower().sees(last).pass(15_000).acknowledge()
    assert.equal(c.state.term?.epoch, 10 ** 15 - 1)
    assert.equal(c.pass(2_000).write.kind, 'renew')
  })

  test('beyond its field is a problem, in one sentence that says what to do', () => {
    assert.match(
      epochProblem(heldBy('other', 10, full)) ?? '',
      /^leaseTransitions of the Lease "lock" is as large as it can be \(2147483647\)/,
    )
    assert.deepEqual([epochProblem(heldBy('other', 10)), epochProblem(null)], [null, null])
  })
})
