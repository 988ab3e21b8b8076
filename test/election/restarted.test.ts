import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import type { Lease } from '../../agent/lease/lease.ts'
import { HISTORY, historyOf } from '../../agent/lease/lease-history.ts'
import { Candidate, heldBy, noted, RELEASED, released } from './candidate.ts'

const OWN = heldBy('me', 10)
/** As `heldBy` makes it, by the agent of this pod that is dead. */
const LATER = heldBy('me', 11)
const PAUSED = 'langflow-leader/paused'

/** Its pod was killed whole in epoch 3, and it is proven that nothing of that lives. */
function restarted(ended: string | null = 'me 3'): Candidate {
  return Candidate.follower().workload({ ended })
}

function kinds(c: Candidate): (string | undefined)[] {
  return c.effects('write').map((effect) => (effect.type === 'write' ? effect.write.kind : undefined))
}

describe('a Lease that this pod held before it was killed whole', () => {
  test('is given back at once in the planned form, upon the very record that was seen', () => {
    const c = restarted().sees(OWN)
    const { kind, base, lease } = c.write
    assert.deepEqual(
      [kind, base?.metadata.resourceVersion, lease.metadata.resourceVersion],
      ['release', '10', '10'],
    )
    const { holderIdentity, leaseDurationSeconds, leaseTransitions } = lease.spec ?? {}
    assert.deepEqual([holderIdentity, leaseDurationSeconds, leaseTransitions], ['', 1, 3])
    assert.deepEqual(c.notes, { [RELEASED]: 'me 3' })
    // Whoever saw it held believes that.
    Candidate.follower({ identity: 'other' }).sees(OWN).sees(c.commit()).takesAfter(0)
  })

  test('is told and noted as a term that ended with its pod', () => {
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

  test('is left to a prepared standby for a moment, and then taken again, in a new epoch', () => {
    restarted().sees(OWN).acknowledge().takesAfter(1_000)
    const unprepared = restarted().workload({ prepared: false }).sees(OWN).acknowledge()
    unprepared.takesAfter(2_000)
  })

  test('says nothing of the LangFlow that this replica would start', () => {
    const version = 'langflow-leader/langflow-version'
    const c = restarted()
      .workload({ langflow: '1.14.0' })
      .sees(noted(OWN, { [version]: '1.13.0' }))
    assert.equal(c.write.lease.metadata.annotations?.[version], '1.13.0')
  })

  test('is taken again without being given up while it is paused', () => {
    const c = restarted()
      .sees(noted(OWN, { [PAUSED]: 'true' }))
      .takesAfter(0)
    assert.equal(c.write.because?.code, 'pod_restarted')
    assert.equal(historyOf(c.write.lease)[0]?.because, 'pod_restarted')
    assert.equal(c.write.lease.metadata.annotations?.[HISTORY] !== undefined, true)
  })

  const waits: [string, Candidate, Lease][] = [
    ['nothing is proven', restarted(null), OWN],
    ['what is proven is of an earlier term', restarted('me 2'), OWN],
    ['what is proven is of a later term', restarted('me 4'), OWN],
    ['what is proven is of another identity', restarted('other 3'), OWN],
    ['another holds it in the same epoch', restarted('me 3'), heldBy('other', 10)],
    ['another holds it, and what is proven is of that one', restarted('other 3'), heldBy('other', 10)],
  ]
  for (const [why, c, lease] of waits)
    test(`is waited for where ${why}`, () => {
      c.sees(lease).takesAfter(15_000)
    })

  test('is not given back beside a workload that lives', () => {
    for (const alive of ['yes', 'maybe'] as const) {
      const c = restarted().workload({ alive, canRun: false }).sees(OWN)
      assert.deepEqual(kinds(c), [])
    }
  })

  test('of this very process is taken, and not given back', () => {
    const c = Candidate.leader().pass(2_000).fail('timeout', true).pass(14_000)
    assert.equal(c.state.term, null)
    c.forget().workload({ alive: 'no', canRun: true, ended: 'me 4' }).fail('timeout', true).pass(2_000)
    assert.deepEqual(kinds(c), ['acquire'])
  })
})

describe('a late write of the agent that was killed', () => {
  test('between sight and release makes that fail, and is given back then', () => {
    for (const told of ['by the watch', 'by a read'] as const) {
      const c = restarted().sees(OWN)
      if (told === 'by the watch') c.sees(LATER).fail('conflict')
      else c.fail('conflict').sees(LATER, true)
      c.pass(2_000)
      assert.deepEqual([c.write.kind, c.write.lease.metadata.resourceVersion], ['release', '11'])
      assert.equal(c.state.ending, null)
    }
  })

  test('that acquired for it, of which no grant was given, is waited for', () => {
    const acquired = heldBy('me', 12, { leaseTransitions: 4, acquireTime: 'r12' })
    restarted().sees(released(11)).fail('conflict').sees(acquired, true).takesAfter(15_000)
  })

  test('is followed by no second release where the first one came through unanswered', () => {
    const c = restarted().sees(OWN)
    const { write } = c
    c.fail('timeout', true).sees(c.commit(write))
    assert.deepEqual(c.events().slice(-2), ['released', 'stepped_down'])
    c.takesAfter(1_000)
    assert.deepEqual(kinds(c), ['acquire'])
  })

  test('is no reason to overwrite who has come since', () => {
    const c = restarted()
      .sees(OWN)
      .sees(heldBy('other', 12, { leaseTransitions: 4 }))
      .fail('conflict')
    c.forget().takesAfter(15_000)
  })
})
