import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import type { Lease } from '../../agent/lease/lease.ts'
import { HISTORY, historyOf } from '../../agent/lease/lease-history.ts'
import { Candidate, heldBy, noted, RELEASED, released } from './candidate.ts'

const OWN = heldBy('me', 10)
/** A later renewal of this Lease by the pod's dead agent. */
const LATER = heldBy('me', 11)
const PAUSED = 'langflow-leader/paused'

/** A follower whose pod was killed in epoch 3. Its launcher has proven that no process of that term lives. */
function restarted(ended: string | null = 'me 3'): Candidate {
  return Candidate.follower().workload({ ended })
}

function kinds(c: Candidate): (string | undefined)[] {
  return c.effects('write').map((effect) => (effect.type === 'write' ? effect.write.kind : undefined))
}

describe('a Lease that this pod held before all its processes were killed', () => {
  test('is released immediately, by a compare-and-swap on the record that was seen', () => {
    const c = restarted().sees(OWN)
    const { kind, base, lease } = c.write
    assert.deepEqual(
      [kind, base?.metadata.resourceVersion, lease.metadata.resourceVersion],
      ['give back', '10', '10'],
    )
    const { holderIdentity, leaseDurationSeconds, leaseTransitions } = lease.spec ?? {}
    assert.deepEqual([holderIdentity, leaseDurationSeconds, leaseTransitions], ['', 1, 3])
    assert.deepEqual(c.notes, { [RELEASED]: 'me 3' })
    // A replica that saw the Lease held accepts this release.
    Candidate.follower({ identity: 'other' }).sees(OWN).sees(c.commit()).takesAfter(0)
  })

  test('ends with an event and a history entry that name the restart of the pod', () => {
    const leader = Candidate.leader()
    const before = leader.pass(2_000).commit()
    const c = restarted('me 4')
    c.wallAhead += 4_500
    const [past] = historyOf(c.sees(before).write.lease)
    assert.deepEqual([past?.epoch, past?.endedBecause, past?.stopMs], [4, 'pod_restarted', 2_500])
    assert.notEqual(past?.ended, null)
    c.acknowledge()
    assert.deepEqual(c.events().slice(-2), ['released', 'stepped_down'])
    const [told] = c.effects('event').slice(-1)
    assert.equal(told?.type === 'event' && told.code, 'pod_restarted')
  })

  test('is left to prepared standbys for half a retry period, and then taken in a new epoch', () => {
    restarted().sees(OWN).acknowledge().takesAfter(1_000)
    const unprepared = restarted().workload({ prepared: false }).sees(OWN).acknowledge()
    unprepared.takesAfter(2_000)
  })

  test('keeps the version of the LangFlow that led, if this replica would start another one', () => {
    const version = 'langflow-leader/langflow-version'
    const c = restarted()
      .workload({ langflow: '1.14.0' })
      .sees(noted(OWN, { [version]: '1.13.0' }))
    assert.equal(c.write.lease.metadata.annotations?.[version], '1.13.0')
  })

  test('is taken again without a release while it is paused', () => {
    const c = restarted()
      .sees(noted(OWN, { [PAUSED]: 'true' }))
      .takesAfter(0)
    assert.equal(c.write.because?.code, 'pod_restarted')
    assert.equal(historyOf(c.write.lease)[0]?.because, 'pod_restarted')
    assert.equal(c.write.lease.metadata.annotations?.[HISTORY] !== undefined, true)
  })

  const waits: [string, Candidate, Lease][] = [
    ['the launcher proves nothing', restarted(null), OWN],
    ['the proof is of an earlier term', restarted('me 2'), OWN],
    ['the proof is of a later term', restarted('me 4'), OWN],
    ['the proof is of another identity', restarted('other 3'), OWN],
    ['another replica holds it in the same epoch', restarted('me 3'), heldBy('other', 10)],
    ['another replica holds it, and the proof is of that replica', restarted('other 3'), heldBy('other', 10)],
  ]
  for (const [why, c, lease] of waits)
    test(`is taken only after a lease duration if ${why}`, () => {
      c.sees(lease).takesAfter(15_000)
    })

  test('is not released while the workload may live', () => {
    for (const alive of ['yes', 'maybe'] as const) {
      const c = restarted().workload({ alive, canRun: false }).sees(OWN)
      assert.deepEqual(kinds(c), [])
    }
  })

  test('is taken without a release if a late write of this process itself holds it', () => {
    const c = Candidate.leader().pass(2_000).fail('timeout', true).pass(14_000)
    assert.equal(c.state.term, null)
    c.forget().workload({ alive: 'no', canRun: true, ended: 'me 4' }).fail('timeout', true).pass(2_000)
    assert.deepEqual(kinds(c), ['acquire'])
  })
})

describe('the release for an agent that was killed', () => {
  test('fails after a late renewal of that agent, and is repeated on the newer record', () => {
    for (const shown of ['by the watch', 'by a read'] as const) {
      const c = restarted().sees(OWN)
      if (shown === 'by the watch') c.sees(LATER).fail('conflict')
      else c.fail('conflict').sees(LATER, true)
      c.pass(2_000)
      assert.deepEqual([c.write.kind, c.write.lease.metadata.resourceVersion], ['give back', '11'])
      assert.equal(c.state.ending, null)
    }
  })

  test('is not sent for a term that a late acquisition of that agent began: the Lease has to expire', () => {
    const acquired = heldBy('me', 12, { leaseTransitions: 4, acquireTime: 'r12' })
    restarted().sees(released(11)).fail('conflict').sees(acquired, true).takesAfter(15_000)
  })

  test('is not repeated if it succeeded without an answer', () => {
    const c = restarted().sees(OWN)
    const { write } = c
    c.fail('timeout', true).sees(c.commit(write))
    assert.deepEqual(c.events().slice(-2), ['released', 'stepped_down'])
    c.takesAfter(1_000)
    assert.deepEqual(kinds(c), ['acquire'])
  })

  test('does not overwrite a replica that has taken the Lease since', () => {
    const c = restarted()
      .sees(OWN)
      .sees(heldBy('other', 12, { leaseTransitions: 4 }))
      .fail('conflict')
    c.forget().takesAfter(15_000)
  })
})
