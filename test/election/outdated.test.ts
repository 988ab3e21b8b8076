import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { inability } from '../../agent/election/eligibility.ts'
import { LANGFLOW, type Lease, langflowOf } from '../../agent/lease/lease.ts'
import { Candidate, heldBy, noted, released } from './candidate.ts'

/** A follower that may write the Lease. The leader's LangFlow is 1.13.0. */
function follower(langflow: string | null, allowOlder = false): Candidate {
  const c = Candidate.follower({ allowOlder }).workload({ langflow })
  c.sees(noted(heldBy('leader', 10), { [LANGFLOW]: '1.13.0' })).tell({ type: 'rehearsed', error: null })
  return c.forget()
}

function leader(langflow: string | null, allowOlder = false): Candidate {
  return Candidate.leader({ allowOlder }).workload({ langflow })
}

/** A person changes or removes the version in the leader's Lease. */
function edit(c: Candidate, version: string | null): Candidate {
  const lease = c.state.seen?.lease as Lease
  const resourceVersion = String(Number(lease.metadata.resourceVersion) + 10)
  return c.sees(
    noted({ ...lease, metadata: { ...lease.metadata, resourceVersion } }, { [LANGFLOW]: version }),
  )
}

const written = (c: Candidate): string | null => langflowOf(c.write.lease)
const unable = (c: Candidate): string | null => inability(c.config, c.state, c.now)

describe('a candidate whose LangFlow is older than the newest that has led', () => {
  const freed = noted(released(11, 'leader'), { [LANGFLOW]: '1.13.0' })

  test('takes neither a released nor an expired Lease, and names the flag that allows it', () => {
    const c = follower('1.12.8')
    assert.match(unable(c) ?? '', /--allow-older/)
    assert.match(c.sees(freed).last.decision, /--allow-older/)
    const again = noted(heldBy('leader', 12), { [LANGFLOW]: '1.13.0' })
    assert.deepEqual(c.pass(60_000).sees(again).pass(60_000).effects('write'), [])
  })

  const older = (allowed = false) => follower('1.12.8', allowed).sees(freed)
  for (const [what, c, version] of [
    [
      'after the version was removed from the Lease',
      older().sees(noted(released(12, 'leader'), { [LANGFLOW]: null })),
      '1.12.8',
    ],
    ['after a launcher with a newer LangFlow connected', older().workload({ langflow: '1.13.1' }), '1.13.1'],
    ['if older versions are allowed, and writes its own version', older(true), '1.12.8'],
  ] as const)
    test(`takes the Lease ${what}`, () => {
      assert.deepEqual([c.write.kind, written(c), unable(c)], ['acquire', version, null])
    })

  test('takes its own grant back', () => {
    const c = new Candidate().tell({ type: 'watch', up: true, problem: null })
    c.workload({ alive: 'yes', epoch: 3, identity: 'me', killAt: c.mono + 9_000, langflow: '1.12.8' })
    c.sees(noted(heldBy('me', 10), { [LANGFLOW]: '1.13.0' }), true)
    assert.deepEqual([c.write.kind, written(c)], ['resume', '1.13.0'])
  })
})

describe('a candidate takes the Lease', () => {
  for (const [what, own, of] of [
    ['its LangFlow has the version that led', '1.13.0', '1.13.0'],
    ['its LangFlow is newer', '1.13.1', '1.13.0'],
    ['its LangFlow has an unknown version', null, '1.13.0'],
    ['the Lease contains no version', '1.12.8', null],
    ['the Lease contains an invalid version', '1.12.8', 'latest'],
  ] as const)
    test(`if ${what}`, () => {
      const c = Candidate.follower().workload({ langflow: own })
      c.sees(noted(released(11), { [LANGFLOW]: of }))
      assert.deepEqual([c.write.kind, written(c)], ['acquire', own ?? of])
    })

  test('that it creates, with its own version', () => {
    assert.equal(written(Candidate.follower().workload({ langflow: '1.12.8' }).creates()), '1.12.8')
  })
})

describe('a leader', () => {
  const writes = 'writes its version again if'
  const goes = () =>
    leader('1.13.0')
      .tell({ type: 'step_down', code: 'newer_revision', reason: 'asked' })
      .workload({ alive: 'no' })
  for (const [what, c, kind, version] of [
    [`${writes} a person removed it`, edit(leader('1.13.0'), null), 'renew', '1.13.0'],
    [`${writes} a person wrote an older one`, edit(leader('1.13.0'), '1.12.8'), 'renew', '1.13.0'],
    [`${writes} the Lease contains an invalid one`, edit(leader('1.13.0'), 'latest'), 'renew', '1.13.0'],
    ['keeps the version in the Lease if its own is unknown', edit(leader(null), '1.13.0'), 'renew', '1.13.0'],
    [
      'keeps the version in the Lease if its own is older',
      edit(leader('1.12.8'), '1.13.0'),
      'renew',
      '1.13.0',
    ],
    [
      'lowers the version in the Lease to its own if older versions are allowed',
      edit(leader('1.12.8', true), '1.13.0'),
      'renew',
      '1.12.8',
    ],
    ['writes its version into a Lease that it re-creates', leader('1.13.0').sees(null), 'recreate', '1.13.0'],
    ['leaves its version in the Lease that it releases', goes(), 'release', '1.13.0'],
  ] as const)
    test(what, () => {
      if (c.state.pending === null) c.pass(2_000)
      assert.deepEqual([c.write.kind, written(c)], [kind, version])
    })

  test('continues if its version is older than the one in the Lease, and reports this', () => {
    const c = edit(leader('1.12.8'), '1.13.0')
    assert.match(
      c.state.outdated ?? '',
      /leads with LangFlow 1\.12\.8, although the Lease records that 1\.13\.0 has led/,
    )
    assert.deepEqual([c.effects('kill'), edit(leader('1.12.8', true), '1.13.0').state.outdated], [[], null])
  })
})
