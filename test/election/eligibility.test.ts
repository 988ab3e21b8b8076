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

/** One that follows a leader, and knows that it may write. */
const able = () => answered(following()).forget()

describe('a follower is able to take the Lease over', () => {
  test('once it has seen it, and was told that it may write it', () => {
    const c = new Candidate().workload({ canRun: true, prepared: true })
    assert.equal(unable(c), 'this replica has not seen the Lease yet')
    watch(c, false, '401 Unauthorized')
    assert.equal(unable(c), 'this replica has not seen the Lease yet: 401 Unauthorized')
    c.sees(heldBy('leader', 10), true)
    assert.match(unable(c) ?? '', /not known yet whether this replica may write/)
    assert.deepEqual(c.effects('rehearse'), [
      { type: 'rehearse', lease: heldBy('leader', 10), deadlineMs: 5_000 },
    ])
    assert.equal(unable(answered(c)), null)
  })

  test('for a lease duration and a retry period after the last sign of it, not for longer', () => {
    const c = watch(able(), false, 'connection refused').workload({ canRun: false })
    assert.equal(unable(c.pass(17_000)), null)
    assert.equal(unable(c.pass(1_000)), 'this replica has not seen the Lease for 18 s: connection refused')
    assert.equal(unable(c.sees(heldBy('leader', 11))), null)
  })

  test('not once its machine was suspended for longer than that', () => {
    const c = able()
    c.bootAhead += 18_000
    assert.equal(unable(c), 'this replica has not seen the Lease for 18 s')
  })

  test('for as long as the record says, where that is longer', () => {
    const c = answered(Candidate.follower().sees(heldBy('leader', 10, { leaseDurationSeconds: 60 })))
    assert.equal(unable(c.pass(61_000)), null)
    assert.match(unable(c.workload({ canRun: false }).pass(2_000)) ?? '', /not seen the Lease for 63 s/)
  })

  test('while its watch is open and nobody holds the Lease, so that nothing comes', () => {
    const c = answered(Candidate.follower().workload({ canRun: false }).sees(released(10))).pass(3_600_000)
    assert.equal(unable(c), null)
    assert.match(unable(watch(c, false, 'connection refused')) ?? '', /not seen the Lease/)
  })

  test('not where the Lease is absent and the reads for it are not answered, whatever the watch says', () => {
    const c = answered(able().sees(null).sees(null, true))
    assert.equal(unable(c), null)
    assert.match(unable(c.pass(20_000)) ?? '', /has not seen the Lease for/)
  })

  test('not while a dry run is refused for its credentials, and again after one that is not', () => {
    for (const code of ['unauthorized', 'forbidden'] as const) {
      const c = answered(following(), code)
      const problem = `the API server said ${code}`
      assert.deepEqual([unable(c), c.state.writeProblem], [problem, problem])
      answered(c.sees(heldBy('leader', 11)).pass(2_000))
      assert.deepEqual([unable(c), c.state.writeProblem], [null, null])
    }
  })

  test('not after a write of its own was refused for its credentials, until one succeeds', () => {
    const c = following().sees(released(11, 'leader')).fail('forbidden')
    assert.equal(unable(c), 'the API server said forbidden')
    c.pass(2_000).acknowledge()
    assert.deepEqual([c.state.writeRight, c.state.writeProblem], ['granted', null])
  })

  test('where the dry run was refused for anything but its credentials', () => {
    for (const code of ['conflict', 'not_found', 'already_exists', 'invalid'] as const)
      assert.equal(unable(answered(following(), code)), null, code)
  })

  test('not before the dry run is answered; one that was not says nothing', () => {
    for (const code of ['timeout', 'network', 'server', 'throttled'] as const) {
      assert.match(unable(answered(following(), code)) ?? '', /not known yet/)
      assert.equal(unable(answered(able(), code)), null)
    }
  })
})

describe('the problem of a follower', () => {
  const problems = ({ state }: Candidate) => [state.writeProblem, state.readProblem, state.watchProblem]

  test('is over when it sees the Lease again, although it may never write again', () => {
    for (const code of ['timeout', 'network', 'server', 'throttled'] as const) {
      const c = able().sees(released(11, 'leader')).fail(code)
      assert.deepEqual(problems(c), [null, `the API server said ${code}`, null])
      assert.deepEqual(problems(c.sees(heldBy('other', 12))), [null, null, null])
    }
  })

  test('that it had as a leader is over then as well', () => {
    const c = Candidate.leader().pass(2_000).fail('network')
    c.pass(12_000).workload({ alive: 'no', canRun: true })
    assert.deepEqual([c.state.phase, problems(c)], ['follower', [null, 'the API server said network', null]])
    assert.deepEqual(problems(c.sees(heldBy('other', 900))), [null, null, null])
  })

  test('stays where it is its right to write', () => {
    const c = able().sees(released(11, 'leader')).fail('forbidden').sees(heldBy('other', 12))
    assert.deepEqual(problems(c), ['the API server said forbidden', null, null])
  })

  test('that a first dry run found is looked at again at once when the watch is back', () => {
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
    ['a grant being taken back', 'resume', () => restarted().sees(heldBy('me', 10))],
    ['the first read of an agent that was restarted', 'read', () => watch(restarted(), false)],
    ['a Lease being given back', 'release', ended],
    ['a Lease being taken that was released', 'acquire', free],
    ['a Lease being taken that has expired', 'acquire', () => able().pass(15_000)],
    ['a read after a conflict', 'read', () => free().fail('conflict')],
    ['a read of a Lease that is absent', 'read', absent],
    ['a read while the watch is lost', 'read', () => watch(able(), false, 'cut').pass(2_000)],
  ] as const)
    test(`is obeyed up to a retry period for ${what}`, () => {
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

  test('keeps a follower from another dry run for as long as it says', () => {
    const trying = following()
      .tell({ type: 'rehearsed', error: asks(7_000) })
      .forget()
    assert.equal(rehearsals(trying.pass(6_999)), 0)
    assert.equal(rehearsals(trying.pass(1)), 1)
  })

  test('of a renewal is obeyed up to a retry period, and not in doubt', () => {
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
  test('is made once, however long nothing goes wrong', () => {
    const c = able()
    for (let version = 11; version < 100; version++) c.pass(2_000).sees(heldBy('leader', version))
    assert.equal(rehearsals(c), 0)
  })

  test('is made again once the watch is back after trouble, but not after an end in order', () => {
    const c = watch(watch(able(), false), true)
    assert.equal(rehearsals(c), 0)
    watch(c, false, '401 Unauthorized').tell({ type: 'read_failed', error: failure('unauthorized') })
    assert.equal(rehearsals(c), 0)
    assert.equal(rehearsals(watch(c, true)), 1)
  })

  test('that was refused, or not answered, is repeated ever later, at most a minute apart', () => {
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

  test('is of a creation where the Lease is gone, which is another right', () => {
    const c = able().sees(null).sees(null, true)
    assert.deepEqual(c.effects('rehearse'), [{ type: 'rehearse', lease: null, deadlineMs: 5_000 }])
    assert.equal(rehearsals(answered(c, 'forbidden').sees(leaseOf({}, 20))), 2)
    assert.equal(unable(answered(c)), null)
  })

  test('is not made while a request is under way, while this replica leads, or ends', () => {
    const c = Candidate.follower().sees(released(50))
    assert.deepEqual([c.write.kind, rehearsals(c)], ['acquire', 0])
    assert.equal(rehearsals(c.acknowledge().pass(60_000)), 0)
    const ending = new Candidate().tell({ type: 'terminate', reason: 'SIGTERM' })
    assert.equal(rehearsals(ending.sees(heldBy('leader', 10))), 0)
  })

  test('is needed no more by one that has written the Lease itself', () => {
    const c = Candidate.leader().sees(heldBy('third', 900)).workload({ alive: 'no', canRun: true })
    assert.deepEqual([rehearsals(c), unable(c)], [0, null])
  })
})

describe('a candidate that is barred', () => {
  const bar = (c: Candidate, reason: string | null) => c.tell({ type: 'barred', reason })

  test('takes nothing, is not able, and says why; it campaigns once it is not any more', () => {
    const reason = 'other leads by another Lease'
    const c = bar(able(), reason).sees(released(11))
    assert.deepEqual([c.last.decision, unable(c)], [`nobody holds the Lease; ${reason}`, reason])
    assert.deepEqual(c.pass(60_000).effects('write'), [])
    assert.equal(bar(c, null).write.kind, 'acquire')
  })

  test('takes its own grant back all the same', () => {
    const c = watch(bar(new Candidate(), 'x'), true)
    c.workload({ alive: 'yes', epoch: 3, identity: 'me', killAt: c.mono + 9_000 })
    assert.equal(c.sees(heldBy('me', 10), true).write.kind, 'resume')
    assert.equal(c.acknowledge().pass(2_000).write.kind, 'renew')
  })
})
