import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import type { CandidateConfig } from '../../agent/election/state.ts'
import { Candidate, heldBy, leaseOf, noted, RELEASED, released } from './candidate.ts'

const OWNER = 'langflow-leader/owner'
const SUCCESSOR = 'langflow-leader/successor'
const THEIRS = { [OWNER]: 'Deployment/theirs' }
const MINE: Partial<CandidateConfig> = { owner: 'Deployment/mine' }

/** A follower of `leader`, which releases the Lease with these annotations. */
function afterRelease(notes: Record<string, string>, config?: Partial<CandidateConfig>, prepared = true) {
  const c = Candidate.follower(config)
    .workload({ prepared })
    .sees(noted(heldBy('leader', 10), notes))
  return c.sees(noted(released(11, 'leader'), notes))
}

const annotationsOf = (c: Candidate) => c.notes

describe('a released Lease is taken', () => {
  const toMe = { [SUCCESSOR]: 'me' }
  const toOther = { [SUCCESSOR]: 'other' }
  const rows: [string, Candidate, number, RegExp?][] = [
    ['immediately by the successor that the leader named', afterRelease(toMe), 0],
    [
      'a retry period later by other replicas if the leader named a successor',
      afterRelease(toOther),
      2_000,
      /other has precedence/,
    ],
    ['immediately by a replica whose standby is prepared', afterRelease({}), 0],
    [
      'a retry period later by a replica whose standby is not prepared',
      afterRelease({}, {}, false),
      2_000,
      /^no replica holds the Lease; a replica whose standby is prepared has precedence/,
    ],
    [
      'two retry periods later by a replica that is neither named nor prepared',
      afterRelease(toOther, {}, false),
      4_000,
    ],
    ['immediately by a named successor whose standby is not prepared', afterRelease(toMe, {}, false), 0],
    [
      'a lease duration later by a replica of another Deployment',
      afterRelease(THEIRS, MINE),
      15_000,
      /theirs has precedence/,
    ],
    [
      'a lease duration later by an unprepared replica of another Deployment',
      afterRelease(THEIRS, MINE, false),
      15_000,
    ],
    ['immediately by a named successor of another Deployment', afterRelease({ ...THEIRS, ...toMe }, MINE), 0],
    [
      'immediately by a replica of its own Deployment',
      afterRelease(THEIRS, { owner: 'Deployment/theirs' }),
      0,
    ],
    ['immediately by a replica whose Deployment is unknown', afterRelease(THEIRS, { owner: null }), 0],
  ]
  for (const [what, c, ms, decision] of rows)
    test(what, () => {
      if (decision !== undefined) assert.match(c.last.decision, decision)
      c.takesAfter(ms)
      assert.equal(annotationsOf(c)?.[SUCCESSOR], undefined)
    })
})

describe('a held Lease is taken', () => {
  const expiring = (notes: Record<string, string>, config?: Partial<CandidateConfig>, prepared = true) =>
    Candidate.follower(config)
      .workload({ prepared })
      .sees(noted(heldBy('leader', 10), notes))

  test('when it expires, even if its leader had named another successor', () => {
    expiring({ [SUCCESSOR]: 'other' }).takesAfter(15_000)
  })

  test('a retry period later by a replica whose standby is not prepared, also if the Lease is absent', () => {
    expiring({}, {}, false).takesAfter(17_000)
    const gone = Candidate.follower().workload({ prepared: false }).sees(null, true).wait(16_999)
    assert.equal(gone.effects('write').length, 0)
    assert.equal(gone.wait(2_000).write.kind, 'acquire')
  })

  test('a lease duration later by a replica of another Deployment, whose decision includes that time', () => {
    const c = expiring(THEIRS, MINE)
    assert.match(c.last.decision, /^leader holds the Lease; free in 30.0 s unless renewed$/)
    c.takesAfter(30_000)
  })
})

describe('a successor', () => {
  test('is named in the release, but not in a renewal', () => {
    const c = Candidate.leader().tell({ type: 'successor', identity: 'other', content: 'none' }).pass(2_000)
    assert.deepEqual([c.write.kind, annotationsOf(c)], ['renew', undefined])
    c.acknowledge()
      .tell({ type: 'step_down', code: 'newer_revision', reason: 'a newer one' })
      .tell({ type: 'drained' })
    c.workload({ alive: 'no', canRun: true })
    assert.deepEqual(
      [c.write.kind, annotationsOf(c)],
      ['release', { [SUCCESSOR]: 'other', [RELEASED]: 'me 4' }],
    )
    // If the successor does not take the Lease, the leader that stepped down takes it again.
    c.acknowledge().takesAfter(2_000)
  })

  test('is forgotten when the term ends', () => {
    const c = Candidate.leader().tell({ type: 'successor', identity: 'other', content: 'none' })
    c.sees(heldBy('third', 900)).workload({ alive: 'no', canRun: true })
    assert.equal(c.sees(released(901, 'third')).acknowledge().state.successor.identity, null)
  })
})

describe('an unprepared replica', () => {
  test('takes the Lease as soon as its standby is ready', () => {
    const c = afterRelease({}, {}, false).pass(500)
    assert.equal(c.effects('write').length, 0)
    assert.equal(c.workload({ prepared: true }).write.kind, 'acquire')
  })

  test('takes the Lease immediately, in a new epoch, if its own late renewal holds it', () => {
    const c = Candidate.leader().workload({ prepared: false }).pass(2_000)
    const late = c.commit()
    c.fail('timeout', true)
    while (c.state.term !== null) {
      c.pass(500)
      if (c.state.pending) c.fail('network')
    }
    assert.ok(c.events().includes('lost'))
    c.workload({ alive: 'no', canRun: true, epoch: null }).fail('conflict').sees(late, true)
    assert.equal(c.takesAfter(0).write.lease.spec?.leaseTransitions, 5)
  })
})

describe('a Lease that belongs to a Deployment', () => {
  test('gets the owner of each new holder, and keeps unrelated annotations', () => {
    assert.deepEqual(annotationsOf(Candidate.follower(MINE).sees(leaseOf({}, 1))), { [OWNER]: MINE.owner })
    const notes = { ...THEIRS, [SUCCESSOR]: 'me', team: 'x' }
    assert.deepEqual(annotationsOf(afterRelease(notes, MINE)), { [OWNER]: MINE.owner, team: 'x' })
    assert.deepEqual(annotationsOf(afterRelease(THEIRS, { owner: null })), THEIRS)
  })
})
