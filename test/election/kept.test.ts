import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import type { LeaseSpec } from '../../agent/lease/lease.ts'
import { Candidate, failure, heldBy, RELEASED, released } from './candidate.ts'

/** A leader whose next renewal is on its way; `before`: its Lease. */
function renewing(): { c: Candidate; before: LeaseSpec; version: string } {
  const c = Candidate.leader()
  const lease = c.state.seen?.lease
  assert.equal(c.pass(2_000).write.kind, 'renew')
  return { c, before: lease?.spec ?? {}, version: lease?.metadata.resourceVersion ?? '' }
}

describe('an answer to a renewal', () => {
  const { before, version } = renewing()
  const lacking: [string, Parameters<Candidate['answers']>[0], RegExp][] = [
    ['is the Lease as it was', { spec: before, resourceVersion: version }, /no newer version/],
    ['repeats what was sent', { resourceVersion: version }, /no newer version/],
    ['keeps the old renewTime', { spec: { renewTime: before.renewTime ?? '' } }, /renewTime is as before/],
    ['has no renewTime', { spec: { renewTime: null } }, /renewTime is as before/],
    ['shortens its duration', { spec: { leaseDurationSeconds: 5 } }, /leaseDurationSeconds is 5 and not 15/],
    ['counts another epoch', { spec: { leaseTransitions: 3 } }, /epoch is 3 and not 4/],
  ]
  for (const [what, change, lack] of lacking)
    test(`that ${what} renews nothing: in doubt and lost in time, and says so`, () => {
      const { c } = renewing()
      const renewedAt = c.state.term?.renewedAt
      assert.match(c.answers(change).state.writeProblem ?? '', lack)
      assert.deepEqual(c.state.term?.renewedAt, renewedAt)
      for (let n = 0; c.state.term !== null && n < 1_000; n++) {
        if (c.state.pending !== null) c.answers(change)
        c.pass(50)
      }
      assert.deepEqual([c.events(), c.effects('grant')], [['doubt', 'lost'], []])
      assert.ok(c.effects('write').length < 20, `${c.effects('write').length} writes`)
    })

  test('that is the Lease as an earlier renewal left it, of which no answer came, renews from that one alone', () => {
    const { c } = renewing()
    const first = c.write
    const left = c.commit(first)
    c.tell({ type: 'write_failed', id: first.id, error: failure('timeout', true) }).pass(4_000)
    assert.notEqual(c.write.id, first.id)
    c.tell({ type: 'written', id: c.write.id, lease: left })
    assert.deepEqual(c.state.term?.renewedAt, first.sentAt)
    assert.match(c.state.writeProblem ?? '', /its renewTime is that of an earlier write/)
  })

  test('that truncates the renewTime, or says more than was written, renews', () => {
    const { c } = renewing()
    const { sentAt } = c.write
    const renewTime = c.write.renewTime.replace(/\d{3}Z$/, '000Z')
    c.answers({ spec: { renewTime, leaseDurationSeconds: 20, more: 1 } })
    assert.deepEqual([c.state.term?.renewedAt, c.state.writeProblem], [sentAt, null])
  })

  test('that lacks it renews nothing, and an event that shows it does', () => {
    const { c, before, version } = renewing()
    const { write } = c
    c.answers({ spec: before, resourceVersion: version }).sees(c.commit(write))
    assert.deepEqual(c.state.term?.renewedAt, write.sentAt)
  })

  test('with another holder ends the term', () => {
    const c = renewing().c.answers({ spec: { holderIdentity: 'other' } })
    assert.deepEqual([c.state.term, c.effects('kill').length], [null, 1])
  })
})

describe('an acquisition', () => {
  test('that was not kept begins no term, and is tried again after a retry period', () => {
    const c = Candidate.follower().sees(released(50))
    c.answers({ spec: released(50).spec ?? {}, annotations: { [RELEASED]: 'other 3' } })
    assert.deepEqual([c.state.term, c.events()], [null, []])
    assert.match(c.state.writeProblem ?? '', /its holder is "" and not "me"/)
    c.takesAfter(2_000)
  })

  test('whose renewTime is kept as it was begins no term, and is no stranger’s', () => {
    const c = Candidate.follower().sees(heldBy('other', 50)).pass(15_000)
    for (let n = 0; n < 3; n++) {
      assert.equal(c.answers({ spec: { renewTime: 'r50' } }).state.term, null)
      while (c.state.pending === null && c.state.ending === null) c.pass(1_000)
    }
    assert.equal(c.state.ending, null)
  })
})

describe('an answer to a release', () => {
  const releasing = () => {
    const c = Candidate.leader().tell({ type: 'terminate', reason: 'SIGTERM' }).tell({ type: 'drained' })
    assert.equal(c.workload({ alive: 'no' }).write.kind, 'release')
    return c
  }

  test('that still names the holder is no release: it is tried again, until the time is over', () => {
    const c = releasing().answers({ spec: { holderIdentity: 'me', leaseDurationSeconds: 15 } })
    assert.deepEqual(c.events(), ['draining'])
    assert.equal(c.pass(2_000).write.kind, 'release')
    assert.ok(c.acknowledge().events().includes('released'))
  })

  test('waits for a renewal that was under way: a conflict has the Lease read at once, and where that fails again after a retry period', () => {
    const c = Candidate.leader().pass(2_000)
    c.tell({ type: 'terminate', reason: 'SIGTERM' }).tell({ type: 'drained' }).workload({ alive: 'no' })
    assert.equal(c.write.kind, 'renew')
    c.fail('conflict')
    const reads = () => c.all.filter(({ type }) => type === 'read').length
    assert.equal(reads(), 1)
    c.tell({ type: 'read_failed', error: failure('network') })
    assert.equal(reads(), 1)
    c.pass(1_999)
    assert.equal(reads(), 1)
    c.pass(1)
    assert.equal(reads(), 2)
  })

  test('that does not say who released it is a problem: everybody else waits it out', () => {
    assert.match(releasing().answers({ annotations: {} }).state.writeProblem ?? '', /it is no release/)
  })
})
