import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { ownerProblem } from '../../agent/election/ability.ts'
import type { Lease } from '../../agent/lease/lease.ts'
import { Candidate, heldBy, leaseOf, RELEASED, released } from './candidate.ts'

const OWNER = 'langflow-leader/owner'
const SUCCESSOR = 'langflow-leader/successor'

function noted(lease: Lease, annotations: Record<string, string>): Lease {
  return {
    ...lease,
    metadata: { ...lease.metadata, annotations: { ...lease.metadata.annotations, ...annotations } },
  }
}

function annotationsOf(candidate: Candidate): Record<string, string> | null | undefined {
  return candidate.write.lease.metadata.annotations
}

describe('a successor that the leader named', () => {
  const toOther = () => noted(released(11, 'leader'), { [SUCCESSOR]: 'other', team: 'x' })

  test('takes the Lease at once, and its name goes', () => {
    const c = Candidate.follower()
      .sees(heldBy('leader', 10))
      .sees(noted(released(11, 'leader'), { [SUCCESSOR]: 'me', team: 'x' }))
    assert.equal(c.write.kind, 'acquire')
    assert.deepEqual(annotationsOf(c), { team: 'x' })
  })

  test('is waited for by the others, for one retry period', () => {
    const c = Candidate.follower().sees(heldBy('leader', 10)).sees(toOther()).pass(1_999)
    assert.equal(c.effects('write').length, 0)
    assert.match(c.last.decision, /other has precedence/)
    assert.equal(c.pass(1).write.kind, 'acquire')
    assert.deepEqual(annotationsOf(c), { team: 'x' })
  })

  test('changes nothing about a Lease that is held', () => {
    const c = Candidate.follower()
      .sees(noted(heldBy('leader', 10), { [SUCCESSOR]: 'other' }))
      .pass(14_999)
    assert.equal(c.effects('write').length, 0)
    assert.equal(c.pass(1).write.kind, 'acquire')
  })

  test('is named in the release, and by nothing else', () => {
    const c = Candidate.leader().tell({ type: 'successor', identity: 'other' }).pass(2_000)
    assert.equal(c.write.kind, 'renew')
    assert.equal(annotationsOf(c), undefined)
    c.acknowledge().tell({ type: 'step_down', reason: 'a newer one' }).tell({ type: 'drained' })
    c.workload({ alive: 'no', canRun: true })
    assert.equal(c.write.kind, 'release')
    assert.deepEqual(annotationsOf(c), { [SUCCESSOR]: 'other', [RELEASED]: 'me 4' })
  })

  test('comes before the leader that stepped down for it, which takes the Lease back where it does not come', () => {
    const c = Candidate.leader().tell({ type: 'successor', identity: 'other' })
    c.tell({ type: 'step_down', reason: 'a newer one' }).tell({ type: 'drained' })
    c.workload({ alive: 'no', canRun: true }).acknowledge().forget().pass(1_999)
    assert.equal(c.effects('write').length, 0)
    assert.equal(c.pass(1).write.kind, 'acquire')
  })

  test('is forgotten with the term', () => {
    const c = Candidate.leader().tell({ type: 'successor', identity: 'other' })
    c.sees(heldBy('third', 900))
      .workload({ alive: 'no', canRun: true })
      .sees(released(901, 'third'))
      .acknowledge()
    assert.equal(c.state.successor, null)
  })
})

describe('a replica whose standby is prepared', () => {
  const unprepared = (config = {}) => Candidate.follower(config).workload({ prepared: false })

  test('is waited for by one whose standby is not, for one retry period after the release', () => {
    const c = unprepared().sees(heldBy('leader', 10)).sees(released(11, 'leader')).pass(1_999)
    assert.equal(c.effects('write').length, 0)
    assert.match(
      c.last.decision,
      /nobody holds the Lease; a replica whose standby is prepared has precedence/,
    )
    assert.equal(c.pass(1).write.kind, 'acquire')
  })

  test('is waited for as long after the expiry, and where the Lease is gone', () => {
    const c = unprepared().sees(heldBy('leader', 10)).pass(16_999)
    assert.equal(c.effects('write').length, 0)
    assert.equal(c.pass(1).write.kind, 'acquire')
    const gone = unprepared().sees(null, true).wait(16_999)
    assert.equal(gone.effects('write').length, 0)
    assert.equal(gone.wait(2_000).write.kind, 'acquire')
  })

  test('takes the Lease at once, at release as at expiry', () => {
    assert.equal(
      Candidate.follower().sees(heldBy('leader', 10)).sees(released(11, 'leader')).write.kind,
      'acquire',
    )
    assert.equal(Candidate.follower().sees(heldBy('leader', 10)).pass(15_000).write.kind, 'acquire')
  })

  test('goes before another also where the named successor does not come', () => {
    const toOther = noted(released(11, 'leader'), { [SUCCESSOR]: 'other' })
    assert.equal(
      Candidate.follower().sees(heldBy('leader', 10)).sees(toOther).pass(2_000).write.kind,
      'acquire',
    )
    const c = unprepared().sees(heldBy('leader', 10)).sees(toOther).pass(3_999)
    assert.equal(c.effects('write').length, 0)
    assert.equal(c.pass(1).write.kind, 'acquire')
  })

  test('does not go before a successor that the leader named, nor for longer than that where another owns the Lease', () => {
    const toMe = noted(released(11, 'leader'), { [SUCCESSOR]: 'me' })
    assert.equal(unprepared().sees(heldBy('leader', 10)).sees(toMe).write.kind, 'acquire')
    const theirs = noted(released(11, 'leader'), { [OWNER]: 'Deployment/theirs' })
    const c = unprepared({ owner: 'Deployment/mine' }).sees(heldBy('leader', 10)).sees(theirs)
    assert.equal(c.pass(15_000).write.kind, 'acquire')
  })

  test('is this one as soon as its standby is ready', () => {
    const c = unprepared().sees(heldBy('leader', 10)).sees(released(11, 'leader')).pass(500)
    assert.equal(c.effects('write').length, 0)
    assert.equal(c.workload({ prepared: true }).write.kind, 'acquire')
  })

  test('need not be looked for in what this very process wrote', () => {
    const c = Candidate.leader().workload({ prepared: false }).pass(2_000)
    const late = c.commit()
    c.fail('timeout', true)
    while (c.state.term !== null) {
      c.pass(500)
      if (c.state.pending) c.fail('network')
    }
    c.workload({ alive: 'no', canRun: true, epoch: null }).sees(late)
    assert.equal(c.write.kind, 'acquire')
  })
})

describe('a Lease that belongs to a Deployment', () => {
  const own = { owner: 'Deployment/mine' }
  const theirs = { [OWNER]: 'Deployment/theirs' }

  test('is claimed with the first acquisition', () => {
    const c = Candidate.follower(own).sees(leaseOf({}, 1))
    assert.deepEqual(annotationsOf(c), { [OWNER]: 'Deployment/mine' })
  })

  test('is left to its own replicas for a lease duration when they release it', () => {
    const c = Candidate.follower(own)
      .sees(noted(heldBy('leader', 10), theirs))
      .sees(noted(released(11, 'leader'), theirs))
    c.pass(14_999)
    assert.equal(c.effects('write').length, 0)
    assert.match(c.last.decision, /Deployment\/theirs has precedence/)
    c.pass(1)
    assert.deepEqual(annotationsOf(c), { [OWNER]: 'Deployment/mine' })
  })

  test('is left to them for one more lease duration after it has expired', () => {
    const c = Candidate.follower(own)
      .sees(noted(heldBy('leader', 10), theirs))
      .pass(29_999)
    assert.equal(c.effects('write').length, 0)
    assert.equal(c.pass(1).write.kind, 'acquire')
  })

  test('is taken at once by another’s that its last leader named, as after a change of name', () => {
    const named = { ...theirs, [SUCCESSOR]: 'me' }
    const c = Candidate.follower(own)
      .sees(noted(heldBy('leader', 10), theirs))
      .sees(noted(released(11, 'leader'), named))
    assert.deepEqual(annotationsOf(c), { [OWNER]: 'Deployment/mine' })
  })

  test('is said to be waited for only once nobody holds it', () => {
    const c = Candidate.follower(own).sees(noted(heldBy('leader', 10), theirs))
    assert.match(c.last.decision, /^leader holds the Lease; free in 30.0 s unless renewed$/)
  })

  test('is taken as ever by its own, and by one that does not know whose it is', () => {
    for (const owner of ['Deployment/theirs', null]) {
      const c = Candidate.follower({ owner })
        .sees(noted(heldBy('leader', 10), theirs))
        .sees(noted(released(11, 'leader'), theirs))
      assert.equal(c.write.kind, 'acquire')
      assert.deepEqual(annotationsOf(c), theirs)
    }
  })

  test('is a problem for the replicas of another, in one sentence that says what to change', () => {
    const lease = noted(heldBy('leader', 10), theirs)
    assert.equal(
      ownerProblem('Deployment/mine', lease),
      'the Lease "lock" belongs to Deployment/theirs, and this replica is of Deployment/mine: give each a Lease of its own ' +
        '(--lease-name); where Deployment/theirs is no more, this replica takes it over by itself',
    )
    assert.deepEqual(
      [ownerProblem('Deployment/theirs', lease), ownerProblem(null, lease), ownerProblem('x', null)],
      [null, null, null],
    )
  })
})
