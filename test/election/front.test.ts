import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { Candidate, heldBy, noted, released } from './candidate.ts'

const NOTE = 'langflow-leader/front'
const front = { address: '10.1.2.3:8091', key: 'k'.repeat(22) }
const STEP_DOWN = { type: 'step_down', code: 'newer_revision', reason: 'a test' } as const

/** A leader whose LangFlow serves. */
function serving(): Candidate {
  return Candidate.leader({ front }).workload({ well: true })
}

/** The annotation of the front in the write that awaits its answer. */
function said(candidate: Candidate): string | undefined {
  return candidate.write.lease.metadata.annotations?.[NOTE]
}

describe('the annotation of the leader’s front', () => {
  test('an acquisition and each renewal write the front’s address with their epoch', () => {
    const c = Candidate.follower({ front }).sees(noted(released(50), { [NOTE]: '3 10.9.9.9:8091 old' }))
    assert.deepEqual([c.write.kind, said(c)], ['acquire', `4 10.1.2.3:8091 ${front.key}`])
    c.acknowledge().workload({ alive: 'yes', canRun: false, epoch: 4, identity: 'me' }).pass(2_000)
    assert.deepEqual([c.write.kind, said(c)], ['renew', `4 10.1.2.3:8091 ${front.key}`])
  })

  test('the write that takes a grant back contains the front’s address', () => {
    const c = Candidate.follower({ front }).sees(heldBy('me', 50, { leaseTransitions: 4 }))
    c.workload({ alive: 'yes', canRun: false, epoch: 4, identity: 'me', killAt: c.mono + 10_000 })
    assert.deepEqual([c.write.kind, said(c)], ['resume', `4 10.1.2.3:8091 ${front.key}`])
  })

  test('a re-created Lease contains the front’s address', () => {
    const c = Candidate.leader({ front }).sees(null)
    assert.deepEqual([c.write.kind, said(c)], ['recreate', `4 10.1.2.3:8091 ${front.key}`])
  })

  test('a leader that steps down keeps the address for the stream grace, then writes that its front is closing, and releases without a front', () => {
    const c = serving().pass(1_500).tell(STEP_DOWN)
    assert.equal(c.state.pending, null)
    assert.equal(said(c.pass(500)), `4 10.1.2.3:8091 ${front.key}`)
    c.acknowledge().pass(1_499)
    assert.equal(c.state.pending, null)
    c.pass(1)
    assert.deepEqual([c.write.kind, said(c)], ['renew', '4 closing'])
    c.acknowledge().pass(1_999)
    assert.equal(c.state.pending, null)
    c.pass(1)
    assert.deepEqual([c.write.kind, said(c)], ['renew', '4 closing'])
    c.acknowledge().workload({ alive: 'no', canRun: true })
    assert.deepEqual([c.write.kind, said(c)], ['release', undefined])
  })

  test('the front is closing as soon as LangFlow is stopped, even before the stream grace ends', () => {
    const c = serving().tell(STEP_DOWN).pass(500)
    assert.equal(c.state.pending, null)
    c.tell({ type: 'drained' })
    assert.deepEqual([c.write.kind, said(c)], ['renew', '4 closing'])
    c.acknowledge().pass(1_500)
    assert.equal(c.state.pending, null)
  })

  for (const [what, fact] of [
    ['does not serve', STEP_DOWN],
    [
      'has failed',
      { type: 'workload_failed', code: 'workload_unhealthy', reason: 'a test', remedy: 'handover' },
    ],
  ] as const)
    test(`a leader that steps down writes immediately that its front is closing if LangFlow ${what}`, () => {
      const c = fact === STEP_DOWN ? Candidate.leader({ front }) : serving()
      assert.equal(said(c.tell(fact)), '4 closing')
    })

  test('the leader writes that its front is closing right after the answer to a renewal that was under way', () => {
    const c = serving().pass(500).tell(STEP_DOWN).pass(1_500)
    const { id } = c.write
    assert.equal(said(c), `4 10.1.2.3:8091 ${front.key}`)
    c.pass(510).acknowledge()
    assert.ok(c.write.id > id)
    assert.equal(said(c), '4 closing')
  })

  test('a failed write of the closing front is repeated after a retry period', () => {
    const c = Candidate.leader({ front }).tell(STEP_DOWN)
    c.fail('server')
    c.pass(1_999)
    assert.equal(c.state.pending, null)
    assert.equal(said(c.pass(1)), '4 closing')
  })

  test('a replica without a front sends no renewal for it, and leaves another replica’s annotation as it is', () => {
    const c = Candidate.follower().sees(noted(released(50), { [NOTE]: '3 10.9.9.9:8091 old' }))
    assert.equal(said(c), '3 10.9.9.9:8091 old')
    c.acknowledge().workload({ alive: 'yes', canRun: false, epoch: 4, identity: 'me' })
    assert.equal(c.tell(STEP_DOWN).state.pending, null)
  })

  test('an ended replica still follows the Lease for its front, but takes no decision', () => {
    const c = Candidate.follower({ front })
      .sees(heldBy('other', 50))
      .tell({ type: 'terminate', reason: 'SIGTERM' })
    assert.deepEqual(c.effects('exit'), [{ type: 'exit', code: 0 }])
    c.forget().sees(heldBy('next', 51)).sees(heldBy('other', 50))
    assert.equal(c.state.seen?.lease?.spec?.holderIdentity, 'next')
    c.sees(released(52, 'next')).pass(60_000)
    assert.deepEqual([c.all, c.state.pending], [[], null])
  })
})
