import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { openRequest } from '../../agent/election/operator-order.ts'
import type { Effect } from '../../agent/election/state.ts'
import type { Lease } from '../../agent/lease/lease.ts'
import { historyOf } from '../../agent/lease/lease-history.ts'
import { Candidate, noted, released } from './candidate.ts'

const FAILOVER = 'langflow-leader/failover-to'
const SWITCHOVER = 'langflow-leader/switchover-to'
const RESTART = 'langflow-leader/restart'
const REASON = 'langflow-leader/request-reason'
const PAUSED = 'langflow-leader/paused'
const REQUESTS = [FAILOVER, SWITCHOVER, RESTART, REASON]
const STOPPED = { alive: 'no', canRun: true, well: false } as const

/** An operator edits the Lease that the candidate saw last. */
function operator(c: Candidate, notes: Record<string, string | null>, fresh = false): Candidate {
  const { metadata, ...more } = noted(c.state.seen?.lease as Lease, notes)
  return c.sees(
    { ...more, metadata: { ...metadata, resourceVersion: `${metadata.resourceVersion}0` } },
    fresh,
  )
}

/** A leader whose LangFlow serves. */
function leader(): Candidate {
  return Candidate.leader().workload({ well: true }).forget()
}

/** The requests that the last write leaves in the Lease. */
function left(c: Candidate): string[] {
  return REQUESTS.filter((key) => c.notes?.[key] !== undefined)
}

const types = (c: Candidate) => c.all.map(({ type }: Effect) => type)

describe('a failover', () => {
  test('stops LangFlow at once, without a drain or an answer of another replica, and then releases the Lease', () => {
    const c = operator(leader(), { [FAILOVER]: 'b', [REASON]: 'its fronts are cut off' })
    assert.deepEqual(c.effects('stop'), [{ type: 'stop', graceMs: 2_000 }])
    assert.deepEqual(c.effects('write'), [], 'nothing is released before the stop is confirmed')
    c.workload(STOPPED)
    assert.deepEqual([c.write.kind, left(c), c.notes?.['langflow-leader/successor']], ['release', [], 'b'])
    const [term] = historyOf(c.write.lease)
    assert.deepEqual([term?.endedBecause, term?.note], ['failover', 'its fronts are cut off'])
  })

  test('is obeyed although LangFlow hangs or has not been started yet', () => {
    for (const workload of [{ well: false }, { alive: 'maybe' }] as const) {
      const c = operator(leader().workload(workload), { [FAILOVER]: '*' })
      assert.equal(c.state.term?.stepDown?.code, 'failover')
    }
    const c = operator(Candidate.follower().sees(null).wait(15_000).acknowledge(), { [FAILOVER]: '*' })
    assert.equal(c.state.term?.stepDown?.code, 'failover')
  })

  test('leaves the Lease to the others for two retry periods, and then competes again', () => {
    const c = operator(leader(), { [FAILOVER]: '*' })
      .workload({ ...STOPPED, prepared: true })
      .acknowledge()
    assert.equal(c.state.phase, 'follower')
    c.takesAfter(4_000)
  })

  test('keeps the Lease while LangFlow cannot be stopped', () => {
    const c = operator(leader(), { [FAILOVER]: '*' })
    for (let waited = 0; waited < 60_000; waited += 2_000) {
      c.pass(2_000)
      assert.equal(c.write.kind, 'renew')
      c.acknowledge()
    }
  })

  test('goes before a switchover that waits for answers, and removes both requests', () => {
    const c = operator(leader(), { [SWITCHOVER]: 'c', [FAILOVER]: '*' }).workload(STOPPED)
    assert.deepEqual([c.write.kind, left(c)], ['release', []])
  })

  test('waits for the end of a doubt', () => {
    const c = leader().pass(10_000)
    assert.equal(c.state.term?.doubt, true)
    operator(c, { [FAILOVER]: '*' })
    assert.deepEqual(c.effects('stop'), [])
    c.acknowledge()
    operator(c, { [FAILOVER]: '*' })
    assert.equal(c.effects('stop').length, 1)
  })

  test('does nothing on a replica that does not lead, and is removed by the next leader', () => {
    const c = Candidate.follower().sees(null).wait(14_000)
    c.sees(
      noted({ metadata: { name: 'lock', uid: 'u1', resourceVersion: '7' }, spec: {} }, { [FAILOVER]: 'x' }),
    )
    assert.deepEqual([types(c).includes('stop'), c.state.term], [false, null])
    c.wait(15_000)
    assert.deepEqual([c.write.kind, left(c)], ['acquire', []])
  })

  test('that another program restores is not obeyed again, so that the replicas do not take turns', () => {
    const c = operator(Candidate.follower().sees(released(4)), { [FAILOVER]: '*' })
    c.tell({ type: 'written', id: c.write.id, lease: noted(c.commit(), { [FAILOVER]: '*' }) })
    c.pass(100)
    assert.deepEqual([c.state.phase, c.state.term?.stepDown], ['leading', null])
    assert.equal(openRequest(c.state), null)
  })

  test('that another program restores is refused once, and then removed only with renewals', () => {
    const c = operator(leader(), { [FAILOVER]: 'me' })
    const refusal = c.state.term?.refusal
    c.tell({ type: 'written', id: c.write.id, lease: noted(c.commit(), { [FAILOVER]: 'me' }) })
    assert.deepEqual([c.state.pending, c.state.term?.refusal === refusal], [null, true])
    c.pass(2_000)
    assert.deepEqual([c.write.kind, left(c)], ['renew', []])
  })

  test('shortens a planned stop that has begun', () => {
    const c = operator(leader(), { [RESTART]: '' })
      .acknowledge()
      .tell({ type: 'drained' })
      .forget()
    operator(c, { [FAILOVER]: 'b' })
    assert.deepEqual(c.effects('stop'), [{ type: 'stop', graceMs: 2_000 }])
  })

  for (const [why, notes, reason] of [
    ['takeovers are paused', { [PAUSED]: 'true', [FAILOVER]: '*' }, /paused/],
    ['the pod already leads', { [FAILOVER]: 'me' }, /me already leads/],
    ['it names no pod', { [FAILOVER]: ' ' }, /names no pod/],
    ['it names something else', { [FAILOVER]: '{}' }, /"\{\}" cannot be the name of a pod/],
    ['takeovers are paused (a restart)', { [PAUSED]: 'true', [RESTART]: '' }, /paused/],
  ] as const)
    test(`is refused and removed if ${why}`, () => {
      const c = operator(leader(), { ...notes, [REASON]: 'x' })
      assert.equal(c.write.kind, 'renew')
      assert.match(c.state.term?.refusal?.reason ?? '', reason)
      assert.deepEqual([c.effects('stop'), left(c)], [[], []])
      c.acknowledge()
      assert.equal(c.state.term?.refusal?.open, false)
    })
})

describe('a restart in place', () => {
  const asked = () => operator(leader(), { [RESTART]: '', [REASON]: 'a leak' })

  test('drains, stops and starts LangFlow in the same term, and happens once', () => {
    const c = asked()
    assert.equal(c.state.term?.stepDown?.inPlace, true)
    assert.deepEqual([c.effects('stop'), c.write.kind, left(c)], [[], 'renew', []])
    c.acknowledge().tell({ type: 'drained' })
    assert.deepEqual(c.effects('stop'), [{ type: 'stop', graceMs: 30_000 }])
    c.workload(STOPPED)
    assert.deepEqual(c.effects('start'), [{ type: 'start', epoch: 4 }])
    c.workload({ alive: 'yes', canRun: false, well: true }).tell({ type: 'workload_healthy', took: null })
    for (const _ of 'abc') c.pass(2_000).acknowledge()
    assert.deepEqual([c.effects('stop').length, c.state.phase], [1, 'leading'])
    assert.equal(historyOf(c.state.seen?.lease ?? null)[0]?.note, 'a leak')
  })

  test('happens once although the write that removes the request fails', () => {
    const c = asked()
    c.fail('timeout').tell({ type: 'drained' }).workload(STOPPED)
    c.workload({ alive: 'yes', canRun: false, well: true }).pass(2_000)
    assert.deepEqual([c.effects('drain').length, left(c)], [1, []])
    c.acknowledge()
    operator(c, { [RESTART]: '' })
    assert.equal(c.state.term?.stepDown?.inPlace, true, 'a second request is another restart')
  })

  test('meets a second request that comes before its start', () => {
    const c = asked()
    c.acknowledge().tell({ type: 'drained' })
    operator(c, { [RESTART]: '' })
    c.workload(STOPPED)
    assert.equal(c.effects('start').length, 1)
    c.workload({ alive: 'yes', canRun: false, well: true }).pass(2_000)
    assert.deepEqual([c.state.phase, left(c)], ['leading', []])
  })

  test('leaves a later request for a switchover in the Lease', () => {
    const c = asked()
    c.fail('conflict')
    operator(c, { [SWITCHOVER]: '*' }, true)
    assert.deepEqual(left(c), [SWITCHOVER])
  })
})

describe('a request whose removal an admission policy refuses', () => {
  for (const code of ['forbidden', 'invalid'] as const)
    test(`stays in the Lease, and the leader renews without a pause (${code})`, () => {
      const c = operator(leader(), { [FAILOVER]: 'me', [REASON]: 'x' }).fail(code)
      assert.match(c.state.writeProblem ?? '', new RegExp(code))
      assert.deepEqual([c.write.kind, left(c)], ['renew', [FAILOVER, REASON]])
      for (const _ of 'abc') c.acknowledge().pass(2_000)
      assert.deepEqual([c.write.kind, left(c)], ['renew', [FAILOVER, REASON]])
      assert.match(c.state.term?.refusal?.reason ?? '', /me already leads/)
      assert.deepEqual([c.events(), c.effects('stop')], [[], []])
    })

  test('is tried to be removed again if the write failed for another reason', () => {
    for (const code of ['timeout', 'server', 'conflict'] as const) {
      const c = operator(leader(), { [FAILOVER]: 'me' }).fail(code)
      if (code === 'conflict') operator(c, {}, true)
      else c.pass(2_000)
      assert.deepEqual(left(c), [], code)
    }
  })

  test('is obeyed once: by the release of the old leader, and not by the next leader', () => {
    const old = operator(leader(), { [FAILOVER]: '*' })
      .workload(STOPPED)
      .fail('forbidden')
    assert.deepEqual([old.write.kind, left(old)], ['release', [FAILOVER]])
    const next = Candidate.follower({ identity: 'next_1' }).sees(old.commit()).fail('forbidden')
    assert.deepEqual([next.write.kind, left(next)], ['acquire', [FAILOVER]])
    next.acknowledge().workload({ alive: 'yes', canRun: false, epoch: 5, identity: 'next_1' }).pass(2_000)
    assert.deepEqual([next.write.kind, next.effects('stop'), next.state.term?.refusal], ['renew', [], null])
    assert.equal(openRequest(next.state), null)
  })

  test('hides later requests until all are removed by hand', () => {
    const c = operator(leader(), { [FAILOVER]: 'me' })
      .fail('forbidden')
      .acknowledge()
    operator(c, { [FAILOVER]: 'b' }).pass(100)
    assert.deepEqual(c.effects('drain'), [])
    operator(operator(c, { [FAILOVER]: null, [REASON]: null }), { [FAILOVER]: 'b' })
    assert.equal(c.effects('drain').length, 1)
  })
})

describe('a request beside another one', () => {
  test('stays if the other one is refused, and is answered after it', () => {
    const c = operator(leader(), { [FAILOVER]: 'me', [RESTART]: '', [REASON]: 'a leak' })
    assert.deepEqual([left(c), c.effects('drain')], [[RESTART], []])
    c.acknowledge()
    assert.equal(c.state.term?.stepDown?.inPlace, true)
  })
})
