import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { Candidate, heldBy, noted, released } from './candidate.ts'

const NOTE = 'langflow-leader/front'
const front = { address: '10.1.2.3:8091', key: 'k'.repeat(22) }
const STEP_DOWN = { type: 'step_down', code: 'newer_revision', reason: 'a test' } as const

/** Whose LangFlow serves. */
function serving(): Candidate {
  return Candidate.leader({ front }).workload({ well: true })
}

/** What the write on its way says of the front. */
function said(candidate: Candidate): string | undefined {
  return candidate.write.lease.metadata.annotations?.[NOTE]
}

describe('the front of a replica', () => {
  test('is told with what takes the Lease and with each renewal, in the epoch of that', () => {
    const c = Candidate.follower({ front }).sees(noted(released(50), { [NOTE]: '3 10.9.9.9:8091 old' }))
    assert.deepEqual([c.write.kind, said(c)], ['acquire', `4 10.1.2.3:8091 ${front.key}`])
    c.acknowledge().workload({ alive: 'yes', canRun: false, epoch: 4, identity: 'me' }).pass(2_000)
    assert.deepEqual([c.write.kind, said(c)], ['renew', `4 10.1.2.3:8091 ${front.key}`])
  })

  test('is told with what takes a grant back', () => {
    const c = Candidate.follower({ front }).sees(heldBy('me', 50, { leaseTransitions: 4 }))
    c.workload({ alive: 'yes', canRun: false, epoch: 4, identity: 'me', killAt: c.mono + 10_000 })
    assert.deepEqual([c.write.kind, said(c)], ['resume', `4 10.1.2.3:8091 ${front.key}`])
  })

  test('is told with a Lease that is made anew', () => {
    const c = Candidate.leader({ front }).sees(null)
    assert.deepEqual([c.write.kind, said(c)], ['recreate', `4 10.1.2.3:8091 ${front.key}`])
  })

  test('goes on for the stream grace of a step down, is closed then by a renewal of its own, and is gone from a release', () => {
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

  test('is closed as soon as LangFlow is stopped, where that is sooner', () => {
    const c = serving().tell(STEP_DOWN).pass(500)
    assert.equal(c.state.pending, null)
    c.tell({ type: 'drained' })
    assert.deepEqual([c.write.kind, said(c)], ['renew', '4 closing'])
    c.acknowledge().pass(1_500)
    assert.equal(c.state.pending, null)
  })

  for (const [what, fact] of [
    ['does not serve', STEP_DOWN],
    ['failed', { type: 'workload_failed', code: 'workload_unhealthy', reason: 'a test', remedy: 'handover' }],
  ] as const)
    test(`is closed at once where LangFlow ${what}`, () => {
      const c = fact === STEP_DOWN ? Candidate.leader({ front }) : serving()
      assert.equal(said(c.tell(fact)), '4 closing')
    })

  test('is closed right after the answer to a renewal that was on its way', () => {
    const c = serving().pass(500).tell(STEP_DOWN).pass(1_500)
    const { id } = c.write
    assert.equal(said(c), `4 10.1.2.3:8091 ${front.key}`)
    c.pass(510).acknowledge()
    assert.ok(c.write.id > id)
    assert.equal(said(c), '4 closing')
  })

  test('is closed again no sooner than a retry period after that has failed', () => {
    const c = Candidate.leader({ front }).tell(STEP_DOWN)
    c.fail('server')
    c.pass(1_999)
    assert.equal(c.state.pending, null)
    assert.equal(said(c.pass(1)), '4 closing')
  })

  test('is not told where there is none: no renewal is sent for it, and what another left stays as it is', () => {
    const c = Candidate.follower().sees(noted(released(50), { [NOTE]: '3 10.9.9.9:8091 old' }))
    assert.equal(said(c), '3 10.9.9.9:8091 old')
    c.acknowledge().workload({ alive: 'yes', canRun: false, epoch: 4, identity: 'me' })
    assert.equal(c.tell(STEP_DOWN).state.pending, null)
  })

  test('is told who leads also once its replica has ended, which decides nothing any more', () => {
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
