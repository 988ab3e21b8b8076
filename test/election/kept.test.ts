import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import type { LeaseSpec } from '../../agent/lease/lease.ts'
import { Candidate, failure, heldBy, RELEASED, released } from './candidate.ts'

/** A leader whose next renewal awaits its answer. `before` and `version` are those of its Lease before this renewal. */
function renewing(): { c: Candidate; before: LeaseSpec; version: string } {
  const c = Candidate.leader()
  const lease = c.state.seen?.lease
  assert.equal(c.pass(2_000).write.kind, 'renew')
  return { c, before: lease?.spec ?? {}, version: lease?.metadata.resourceVersion ?? '' }
}

describe('the answer to a renewal', () => {
  const { before, version } = renewing()
  const lacking: [string, Parameters<Candidate['answers']>[0], RegExp][] = [
    ['returns the Lease as it was', { spec: before, resourceVersion: version }, /its resourceVersion/],
    ['repeats the request with the old version', { resourceVersion: version }, /its resourceVersion/],
    ['keeps the old renewTime', { spec: { renewTime: before.renewTime ?? '' } }, /its renewTime/],
    ['has no renewTime', { spec: { renewTime: null } }, /its renewTime/],
    ['shortens its duration', { spec: { leaseDurationSeconds: 5 } }, /its leaseDurationSeconds/],
    ['contains another epoch', { spec: { leaseTransitions: 3 } }, /its leaseTransitions/],
  ]
  for (const [what, change, lack] of lacking)
    test(`does not renew if it ${what}: the leader reports this, doubts and loses the Lease on time`, () => {
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

  test('renews only from the earlier, unanswered renewal if it returns the Lease as that one left it', () => {
    const { c } = renewing()
    const first = c.write
    const left = c.commit(first)
    c.tell({ type: 'write_failed', id: first.id, error: failure('timeout', true) }).pass(4_000)
    assert.notEqual(c.write.id, first.id)
    c.tell({ type: 'written', id: c.write.id, lease: left })
    assert.deepEqual(c.state.term?.renewedAt, first.sentAt)
    assert.match(c.state.writeProblem ?? '', /its renewTime/)
  })

  test('renews if it truncates renewTime, lengthens the duration or adds a field', () => {
    const { c } = renewing()
    const { sentAt } = c.write
    const renewTime = String(c.write.lease.spec?.renewTime).replace(/\d{3}Z$/, '000Z')
    c.answers({ spec: { renewTime, leaseDurationSeconds: 20, more: 1 } })
    assert.deepEqual([c.state.term?.renewedAt, c.state.writeProblem], [sentAt, null])
  })

  test('does not renew if it lacks the renewal, but an event that shows the renewal does', () => {
    const { c, before, version } = renewing()
    const { write } = c
    c.answers({ spec: before, resourceVersion: version }).sees(c.commit(write))
    assert.deepEqual(c.state.term?.renewedAt, write.sentAt)
  })

  test('ends the term if it names another holder', () => {
    const c = renewing().c.answers({ spec: { holderIdentity: 'other' } })
    assert.deepEqual([c.state.term, c.effects('kill').length], [null, 1])
  })
})

describe('the answer to an acquisition', () => {
  test('begins no term if it lacks the acquisition, and the candidate repeats it after a retry period', () => {
    const c = Candidate.follower().sees(released(50))
    c.answers({ spec: released(50).spec ?? {}, annotations: { [RELEASED]: 'other 3' } })
    assert.deepEqual([c.state.term, c.events()], [null, []])
    assert.match(c.state.writeProblem ?? '', /its holderIdentity/)
    c.takesAfter(2_000)
  })

  test('begins no term if it keeps the old renewTime, and is not taken for a stranger’s write', () => {
    const c = Candidate.follower().sees(heldBy('other', 50)).pass(15_000)
    for (let n = 0; n < 3; n++) {
      assert.equal(c.answers({ spec: { renewTime: 'r50' } }).state.term, null)
      while (c.state.pending === null && c.state.ending === null) c.pass(1_000)
    }
    assert.equal(c.state.ending, null)
  })
})

describe('a release', () => {
  const releasing = () => {
    const c = Candidate.leader().tell({ type: 'terminate', reason: 'SIGTERM' }).tell({ type: 'drained' })
    assert.equal(c.workload({ alive: 'no' }).write.kind, 'release')
    return c
  }

  test('is repeated if its answer still names the holder', () => {
    const c = releasing().answers({ spec: { holderIdentity: 'me', leaseDurationSeconds: 15 } })
    assert.deepEqual(c.events(), ['draining'])
    assert.equal(c.pass(2_000).write.kind, 'release')
    assert.ok(c.acknowledge().events().includes('released'))
  })

  test('waits for the renewal under way: after its conflict the Lease is read, and a failed read is repeated after a retry period', () => {
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

  test('is reported as a problem if its answer lacks the releaser, since other replicas then wait a lease duration', () => {
    assert.match(releasing().answers({ annotations: {} }).state.writeProblem ?? '', /mark of a release/)
  })
})
