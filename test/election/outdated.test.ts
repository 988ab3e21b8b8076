import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { inability } from '../../agent/election/eligibility.ts'
import { LANGFLOW, type Lease, langflowOf } from '../../agent/lease/lease.ts'
import { Candidate, heldBy, noted, released } from './candidate.ts'

/** Follows a leader of 1.13.0, and knows that it may write. */
function follower(langflow: string | null, allowOlder = false): Candidate {
  const c = Candidate.follower({ allowOlder }).workload({ langflow })
  c.sees(noted(heldBy('leader', 10), { [LANGFLOW]: '1.13.0' })).tell({ type: 'rehearsed', error: null })
  return c.forget()
}

function leader(langflow: string | null, allowOlder = false): Candidate {
  return Candidate.leader({ allowOlder }).workload({ langflow })
}

/** What somebody writes of versions into the Lease that a leader holds. */
function edit(c: Candidate, version: string | null): Candidate {
  const lease = c.state.seen?.lease as Lease
  const resourceVersion = String(Number(lease.metadata.resourceVersion) + 10)
  return c.sees(
    noted({ ...lease, metadata: { ...lease.metadata, resourceVersion } }, { [LANGFLOW]: version }),
  )
}

const written = (c: Candidate): string | null => langflowOf(c.write.lease)
const unable = (c: Candidate): string | null => inability(c.config, c.state, c.now)

describe('a candidate whose LangFlow is older than one that has led', () => {
  const freed = noted(released(11, 'leader'), { [LANGFLOW]: '1.13.0' })

  test('takes nothing, released, expired or never renewed, and says what allows it', () => {
    const c = follower('1.12.8')
    assert.match(unable(c) ?? '', /--allow-older/)
    assert.match(c.sees(freed).last.decision, /--allow-older/)
    const again = noted(heldBy('leader', 12), { [LANGFLOW]: '1.13.0' })
    assert.deepEqual(c.pass(60_000).sees(again).pass(60_000).effects('write'), [])
  })

  const older = (allowed = false) => follower('1.12.8', allowed).sees(freed)
  for (const [what, c, version] of [
    [
      'once the Lease says nothing of that',
      older().sees(noted(released(12, 'leader'), { [LANGFLOW]: null })),
      '1.12.8',
    ],
    ['once another launcher has a newer one', older().workload({ langflow: '1.13.1' }), '1.13.1'],
    ['where that is allowed, and writes its own version', older(true), '1.12.8'],
  ] as const)
    test(`takes it ${what}`, () => {
      assert.deepEqual([c.write.kind, written(c), unable(c)], ['acquire', version, null])
    })

  test('takes its own grant back all the same', () => {
    const c = new Candidate().tell({ type: 'watch', up: true, problem: null })
    c.workload({ alive: 'yes', epoch: 3, identity: 'me', killAt: c.mono + 9_000, langflow: '1.12.8' })
    c.sees(noted(heldBy('me', 10), { [LANGFLOW]: '1.13.0' }), true)
    assert.deepEqual([c.write.kind, written(c)], ['resume', '1.13.0'])
  })
})

describe('a candidate takes the Lease', () => {
  for (const [what, own, of] of [
    ['of the same version', '1.13.0', '1.13.0'],
    ['of a newer one', '1.13.1', '1.13.0'],
    ['of an unknown one', null, '1.13.0'],
    ['where the Lease does not say who has led', '1.12.8', null],
    ['where what it says is no version', '1.12.8', 'latest'],
  ] as const)
    test(`with a LangFlow ${what}`, () => {
      const c = Candidate.follower().workload({ langflow: own })
      c.sees(noted(released(11), { [LANGFLOW]: of }))
      assert.deepEqual([c.write.kind, written(c)], ['acquire', own ?? of])
    })

  test('also where it makes it', () => {
    assert.equal(written(Candidate.follower().workload({ langflow: '1.12.8' }).creates()), '1.12.8')
  })
})

describe('a leader', () => {
  const writes = 'writes its version again where'
  const goes = () =>
    leader('1.13.0')
      .tell({ type: 'step_down', code: 'newer_revision', reason: 'asked' })
      .workload({ alive: 'no' })
  for (const [what, c, kind, version] of [
    [`${writes} somebody took it away`, edit(leader('1.13.0'), null), 'renew', '1.13.0'],
    [`${writes} somebody wrote an older one`, edit(leader('1.13.0'), '1.12.8'), 'renew', '1.13.0'],
    [`${writes} there is none`, edit(leader('1.13.0'), 'latest'), 'renew', '1.13.0'],
    ['that does not know its own leaves what is said', edit(leader(null), '1.13.0'), 'renew', '1.13.0'],
    ['that is older than what is said lowers nothing', edit(leader('1.12.8'), '1.13.0'), 'renew', '1.13.0'],
    ['that may be older lowers it', edit(leader('1.12.8', true), '1.13.0'), 'renew', '1.12.8'],
    ['writes its version where it makes the Lease anew', leader('1.13.0').sees(null), 'recreate', '1.13.0'],
    ['leaves its version behind where it releases', goes(), 'release', '1.13.0'],
  ] as const)
    test(what, () => {
      if (c.state.pending === null) c.pass(2_000)
      assert.deepEqual([c.write.kind, written(c)], [kind, version])
    })

  test('that is older than what the Lease says goes on, and says so', () => {
    const c = edit(leader('1.12.8'), '1.13.0')
    assert.match(c.state.outdated ?? '', /1\.12\.8 leads here although the Lease says that 1\.13\.0 has led/)
    assert.deepEqual([c.effects('kill'), edit(leader('1.12.8', true), '1.13.0').state.outdated], [[], null])
  })
})
