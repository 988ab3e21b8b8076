import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { inability } from '../../agent/election/eligibility.ts'
import { ApiError, type ApiErrorCode } from '../../agent/kube/kube-errors.ts'
import { Candidate, failure, heldBy, leaseOf, released } from './candidate.ts'

const unable = (c: Candidate) => inability(c.config, c.state, c.now)
const rehearsals = (c: Candidate) => c.effects('rehearse').length
const watch = (c: Candidate, up: boolean, problem: string | null = null) =>
  c.tell({ type: 'watch', up, problem })
const following = () => Candidate.follower().sees(heldBy('leader', 10))

function answered(c: Candidate, code: ApiErrorCode | null = null): Candidate {
  return c.tell({ type: 'rehearsed', error: code === null ? null : failure(code) })
}

/** A follower whose dry run has shown that it may write the Lease. */
const able = () => answered(following()).forget()

describe('whether a follower could take over', () => {
  test('a follower could take over after it has seen the Lease and a dry run has shown that it may write it', () => {
    const c = new Candidate().workload({ canRun: true, prepared: true })
    assert.equal(unable(c), 'this replica has not seen the Lease yet')
    watch(c, false, '401 Unauthorized')
    assert.equal(unable(c), 'this replica has not seen the Lease yet: 401 Unauthorized')
    c.sees(heldBy('leader', 10), true)
    assert.match(unable(c) ?? '', /not verified yet that it may write/)
    assert.deepEqual(c.effects('rehearse'), [
      { type: 'rehearse', lease: heldBy('leader', 10), deadlineMs: 5_000 },
    ])
    assert.equal(unable(answered(c)), null)
  })

  test('a follower could take over until a lease duration and a retry period after it last saw the Lease', () => {
    const c = watch(able(), false, 'connection refused').workload({ canRun: false })
    assert.equal(unable(c.pass(17_000)), null)
    assert.equal(unable(c.pass(1_000)), 'this replica has not seen the Lease for 18 s: connection refused')
    assert.equal(unable(c.sees(heldBy('leader', 11))), null)
  })

  test('a suspension of the machine counts as time without seeing the Lease', () => {
    const c = able()
    c.bootAhead += 18_000
    assert.equal(unable(c), 'this replica has not seen the Lease for 18 s')
  })

  test('the record’s lease duration counts if it is longer than the configured one', () => {
    const c = answered(Candidate.follower().sees(heldBy('leader', 10, { leaseDurationSeconds: 60 })))
    assert.equal(unable(c.pass(61_000)), null)
    assert.match(unable(c.workload({ canRun: false }).pass(2_000)) ?? '', /not seen the Lease for 63 s/)
  })

  test('a follower with an open watch could take over a free Lease, although no event arrives', () => {
    const c = answered(Candidate.follower().workload({ canRun: false }).sees(released(10))).pass(3_600_000)
    assert.equal(unable(c), null)
    assert.match(unable(watch(c, false, 'connection refused')) ?? '', /not seen the Lease/)
  })

  test('a follower whose reads of an absent Lease get no answer could not take over, even with an open watch', () => {
    const c = answered(able().sees(null).sees(null, true))
    assert.equal(unable(c), null)
    assert.match(unable(c.pass(20_000)) ?? '', /has not seen the Lease for/)
  })

  test('a follower could not take over after its dry run was refused for its credentials, until a dry run is accepted', () => {
    for (const code of ['unauthorized', 'forbidden'] as const) {
      const c = answered(following(), code)
      const problem = `the API server said ${code}`
      assert.deepEqual([unable(c), c.state.writeProblem], [problem, problem])
      answered(c.sees(heldBy('leader', 11)).pass(2_000))
      assert.deepEqual([unable(c), c.state.writeProblem], [null, null])
    }
  })

  test('a follower could not take over after its write was refused for its credentials, until a write succeeds', () => {
    const c = following().sees(released(11, 'leader')).fail('forbidden')
    assert.equal(unable(c), 'the API server said forbidden')
    c.pass(2_000).acknowledge()
    assert.deepEqual([c.state.writeRight.state, c.state.writeProblem], ['granted', null])
  })

  test('a follower could take over if its dry run was refused for another reason than its credentials', () => {
    for (const code of ['conflict', 'not_found', 'already_exists', 'invalid'] as const)
      assert.equal(unable(answered(following(), code)), null, code)
  })

  test('an unanswered dry run changes nothing: the right to write stays unknown or granted', () => {
    for (const code of ['timeout', 'network', 'server', 'throttled'] as const) {
      assert.match(unable(answered(following(), code)) ?? '', /not verified yet/)
      assert.equal(unable(answered(able(), code)), null)
    }
  })
})

describe('the problem that a follower reports', () => {
  const problems = ({ state }: Candidate) => [state.writeProblem, state.readProblem, state.watchProblem]

  test('an unanswered write is reported only until the follower sees the Lease again', () => {
    for (const code of ['timeout', 'network', 'server', 'throttled'] as const) {
      const c = able().sees(released(11, 'leader')).fail(code)
      assert.deepEqual(problems(c), [null, `the API server said ${code}`, null])
      assert.deepEqual(problems(c.sees(heldBy('other', 12))), [null, null, null])
    }
  })

  test('a problem from its time as the leader is reported only until the follower sees the Lease again', () => {
    const c = Candidate.leader().pass(2_000).fail('network')
    c.pass(12_000).workload({ alive: 'no', canRun: true })
    assert.deepEqual([c.state.phase, problems(c)], ['follower', [null, 'the API server said network', null]])
    assert.deepEqual(problems(c.sees(heldBy('other', 900))), [null, null, null])
  })

  test('a missing right to write is still reported when the follower sees the Lease again', () => {
    const c = able().sees(released(11, 'leader')).fail('forbidden').sees(heldBy('other', 12))
    assert.deepEqual(problems(c), ['the API server said forbidden', null, null])
  })

  test('a follower repeats an unanswered first dry run as soon as its watch is back', () => {
    const c = Candidate.follower().workload({ canRun: false }).sees(heldBy('leader', 10))
    for (let n = 0; n < 8; n++) answered(c.pass(60_000), 'network')
    answered(
      watch(watch(c, false, 'cut'), true)
        .sees(heldBy('leader', 11), true)
        .forget(),
      'network',
    )
    assert.equal(rehearsals(c.pass(2_000)), 1)
  })
})

describe('Retry-After', () => {
  const asks = (retryAfterMs: number) => new ApiError('throttled', 'slow down', { retryAfterMs })

  const refused = (c: Candidate) =>
    c.state.pending === null
      ? c.tell({ type: 'read_failed', error: asks(30_000) })
      : c.tell({ type: 'write_failed', id: c.write.id, error: asks(30_000) })
  const restarted = () => {
    const c = Candidate.follower()
    return c.workload({ alive: 'yes', canRun: false, epoch: 3, identity: 'me', killAt: c.mono + 9_000 })
  }
  const ended = () => Candidate.follower().workload({ ended: 'me 3' }).sees(heldBy('me', 10))
  const free = () => able().sees(released(11, 'leader'))
  const absent = () => watch(Candidate.follower(), false).pass(0).sees(null, true).pass(2_000)

  for (const [what, kind, underWay] of [
    ['the attempt to take a grant back', 'resume', () => restarted().sees(heldBy('me', 10))],
    ['the first read of a restarted agent', 'read', () => watch(restarted(), false)],
    ['the release for a killed agent', 'give back', ended],
    ['the acquisition of a released Lease', 'acquire', free],
    ['the acquisition of an expired Lease', 'acquire', () => able().pass(15_000)],
    ['the read after a conflict', 'read', () => free().fail('conflict')],
    ['the read of an absent Lease', 'read', absent],
    ['the read while the watch is lost', 'read', () => watch(able(), false, 'cut').pass(2_000)],
  ] as const)
    test(`delays ${what} by at most a retry period`, () => {
      const c = underWay()
      const sent = () =>
        c.all.flatMap((effect) =>
          effect.type === 'write' ? [effect.write.kind] : effect.type === 'read' ? ['read'] : [],
        )
      assert.equal(sent().at(-1), kind)
      refused(c).forget()
      c.pass(1_999)
      assert.deepEqual(sent(), [])
      c.pass(1)
      assert.deepEqual(sent(), [kind])
    })

  test('delays the next dry run by its full time', () => {
    const trying = following()
      .tell({ type: 'rehearsed', error: asks(7_000) })
      .forget()
    assert.equal(rehearsals(trying.pass(6_999)), 0)
    assert.equal(rehearsals(trying.pass(1)), 1)
  })

  test('delays a renewal by at most a retry period, and not at all in doubt', () => {
    const c = Candidate.leader().pass(3_500)
    refused(c).forget()
    assert.deepEqual(c.pass(1_999).effects('write'), [])
    assert.equal(c.pass(1).write.kind, 'renew')
    refused(c.pass(4_500)).forget()
    assert.equal(c.state.term?.doubt, true)
    assert.equal(c.pass(500).write.kind, 'renew')
  })
})

describe('a dry run', () => {
  test('is sent once if nothing goes wrong', () => {
    const c = able()
    for (let version = 11; version < 100; version++) c.pass(2_000).sees(heldBy('leader', version))
    assert.equal(rehearsals(c), 0)
  })

  test('is repeated when the watch is back after an error, but not after a regular end of the watch', () => {
    const c = watch(watch(able(), false), true)
    assert.equal(rehearsals(c), 0)
    watch(c, false, '401 Unauthorized').tell({ type: 'read_failed', error: failure('unauthorized') })
    assert.equal(rehearsals(c), 0)
    assert.equal(rehearsals(watch(c, true)), 1)
  })

  test('is repeated at growing intervals, at most a minute apart, while it is refused or unanswered', () => {
    for (const code of ['forbidden', 'network'] as const) {
      const c = Candidate.follower().workload({ canRun: false }).sees(heldBy('leader', 10))
      const gaps: number[] = []
      for (let n = 0; n < 8; n++) {
        const from = c.mono
        answered(c.forget(), code)
        while (rehearsals(c) === 0) c.pass(1_000)
        gaps.push(c.mono - from)
      }
      assert.deepEqual(gaps, [2_000, 4_000, 8_000, 16_000, 32_000, 60_000, 60_000, 60_000])
    }
  })

  test('tests the right to create if the Lease is absent, since that is another right', () => {
    const c = able().sees(null).sees(null, true)
    assert.deepEqual(c.effects('rehearse'), [{ type: 'rehearse', lease: null, deadlineMs: 5_000 }])
    assert.equal(rehearsals(answered(c, 'forbidden').sees(leaseOf({}, 20))), 2)
    assert.equal(unable(answered(c)), null)
  })

  test('is not sent while a write is under way, while the replica leads, or while it is ending', () => {
    const c = Candidate.follower().sees(released(50))
    assert.deepEqual([c.write.kind, rehearsals(c)], ['acquire', 0])
    assert.equal(rehearsals(c.acknowledge().pass(60_000)), 0)
    const ending = new Candidate().tell({ type: 'terminate', reason: 'SIGTERM' })
    assert.equal(rehearsals(ending.sees(heldBy('leader', 10))), 0)
  })

  test('is not needed after a write of the Lease succeeded', () => {
    const c = Candidate.leader().sees(heldBy('third', 900)).workload({ alive: 'no', canRun: true })
    assert.deepEqual([rehearsals(c), unable(c)], [0, null])
  })
})

describe('a candidate that is barred', () => {
  const bar = (c: Candidate, reason: string | null) => c.tell({ type: 'barred', reason })

  test('reports the reason and does not campaign until the bar is removed', () => {
    const reason = 'other leads by another Lease'
    const c = bar(able(), reason).sees(released(11))
    assert.deepEqual([c.last.decision, unable(c)], [`no replica holds the Lease; ${reason}`, reason])
    assert.deepEqual(c.pass(60_000).effects('write'), [])
    assert.equal(bar(c, null).write.kind, 'acquire')
  })

  test('takes its own grant back', () => {
    const c = watch(bar(new Candidate(), 'x'), true)
    c.workload({ alive: 'yes', epoch: 3, identity: 'me', killAt: c.mono + 9_000 })
    assert.equal(c.sees(heldBy('me', 10), true).write.kind, 'resume')
    assert.equal(c.acknowledge().pass(2_000).write.kind, 'renew')
  })
})
