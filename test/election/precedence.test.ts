import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import type { CandidateConfig } from '../../agent/election/state.ts'
import { Candidate, heldBy, leaseOf, noted, RELEASED, released } from './candidate.ts'

const OWNER = 'langflow-leader/owner'
const SUCCESSOR = 'langflow-leader/successor'
const THEIRS = { [OWNER]: 'Deployment/theirs' }
const MINE: Partial<CandidateConfig> = { owner: 'Deployment/mine' }

/** A follower of `leader`, which releases the Lease with these notes. */
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
    ['at once by the successor that the leader named', afterRelease(toMe), 0],
    ['a retry period later by the others', afterRelease(toOther), 2_000, /other has precedence/],
    ['at once by one whose standby is prepared', afterRelease({}), 0],
    [
      'a retry period later by one whose standby is not',
      afterRelease({}, {}, false),
      2_000,
      /^nobody holds the Lease; a replica whose standby is prepared has precedence/,
    ],
    ['two later by one that is neither named nor prepared', afterRelease(toOther, {}, false), 4_000],
    ['at once by an unprepared one that was named', afterRelease(toMe, {}, false), 0],
    [
      'a lease duration later by another Deployment',
      afterRelease(THEIRS, MINE),
      15_000,
      /theirs has precedence/,
    ],
    ['no later by an unprepared one of another Deployment', afterRelease(THEIRS, MINE, false), 15_000],
    ['at once by another Deployment whose replica was named', afterRelease({ ...THEIRS, ...toMe }, MINE), 0],
    ['at once by its own Deployment', afterRelease(THEIRS, { owner: 'Deployment/theirs' }), 0],
    ['at once by one that does not know whose it is', afterRelease(THEIRS, { owner: null }), 0],
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

  test('when it expires, whomever its leader would have follow it', () => {
    expiring({ [SUCCESSOR]: 'other' }).takesAfter(15_000)
  })

  test('a retry period later by one whose standby is not prepared, and where the Lease is gone', () => {
    expiring({}, {}, false).takesAfter(17_000)
    const gone = Candidate.follower().workload({ prepared: false }).sees(null, true).wait(16_999)
    assert.equal(gone.effects('write').length, 0)
    assert.equal(gone.wait(2_000).write.kind, 'acquire')
  })

  test('a lease duration later by a replica of another Deployment, which says so only once it is free', () => {
    const c = expiring(THEIRS, MINE)
    assert.match(c.last.decision, /^leader holds the Lease; free in 30.0 s unless renewed$/)
    c.takesAfter(30_000)
  })
})

describe('a successor', () => {
  test('is named in the release, and by nothing else', () => {
    const c = Candidate.leader().tell({ type: 'successor', identity: 'other' }).pass(2_000)
    assert.deepEqual([c.write.kind, annotationsOf(c)], ['renew', undefined])
    c.acknowledge()
      .tell({ type: 'step_down', code: 'newer_revision', reason: 'a newer one' })
      .tell({ type: 'drained' })
    c.workload({ alive: 'no', canRun: true })
    assert.deepEqual(
      [c.write.kind, annotationsOf(c)],
      ['release', { [SUCCESSOR]: 'other', [RELEASED]: 'me 4' }],
    )
    // The leader that stepped down for it takes the Lease back where it does not come.
    c.acknowledge().takesAfter(2_000)
  })

  test('is forgotten with the term', () => {
    const c = Candidate.leader().tell({ type: 'successor', identity: 'other' })
    c.sees(heldBy('third', 900)).workload({ alive: 'no', canRun: true })
    assert.equal(c.sees(released(901, 'third')).acknowledge().state.successor, null)
  })
})

describe('an unprepared replica', () => {
  test('takes the Lease as soon as its standby is ready', () => {
    const c = afterRelease({}, {}, false).pass(500)
    assert.equal(c.effects('write').length, 0)
    assert.equal(c.workload({ prepared: true }).write.kind, 'acquire')
  })

  test('takes back at once, in a new epoch, what came through in its name after it had given up', () => {
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
  test('is claimed with each acquisition, and keeps what others noted', () => {
    assert.deepEqual(annotationsOf(Candidate.follower(MINE).sees(leaseOf({}, 1))), { [OWNER]: MINE.owner })
    const notes = { ...THEIRS, [SUCCESSOR]: 'me', team: 'x' }
    assert.deepEqual(annotationsOf(afterRelease(notes, MINE)), { [OWNER]: MINE.owner, team: 'x' })
    assert.deepEqual(annotationsOf(afterRelease(THEIRS, { owner: null })), THEIRS)
  })
})
