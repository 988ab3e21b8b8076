import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { Rollout } from './rollout.ts'
import { COMBINATIONS, nameOf, rolloutsText, shortcomings } from './rollout-table.ts'

const rollout: Rollout = {
  allNewMs: 10_900,
  handovers: 1,
  statusMs: null,
  awayMs: 2_500,
  failed: 48,
  calls: 200,
  overlapMs: 0,
  violations: [],
}

test('every traffic mode is combined with both kinds and one to three replicas, and one is the real LangFlow', () => {
  assert.equal(new Set(COMBINATIONS.map(nameOf)).size, 19)
  assert.equal(COMBINATIONS.filter(({ real }) => real).length, 1)
})

test('kubectl rollout status need not succeed where readiness is leadership, and else must', () => {
  assert.deepEqual(shortcomings({ traffic: 'readiness', kind: 'Deployment', replicas: 2 }, rollout), [])
  assert.equal(shortcomings({ traffic: 'label', kind: 'Deployment', replicas: 2 }, rollout).length, 1)
})

test('old pods, a second handover and whatever must never be are shortcomings', () => {
  const poor = { ...rollout, allNewMs: null, handovers: 2, violations: ['two acted at once for 3 ms'] }
  assert.deepEqual(shortcomings({ traffic: 'readiness', kind: 'StatefulSet', replicas: 3 }, poor), [
    'old pods are left',
    '2 handovers',
    'two acted at once for 3 ms',
  ])
})

test('the table has a row for each combination: medians, the longest, and each rollout’s handovers', () => {
  const combination = { traffic: 'label', kind: 'StatefulSet', replicas: 3 } as const
  const row = (...rollouts: Rollout[]) =>
    rolloutsText([[combination, rollouts]], [])
      .split('\n')
      .at(-1)
  const first = { ...rollout, statusMs: 20_040 }
  assert.equal(
    row(first, { ...first, handovers: 2, awayMs: 4_000, overlapMs: 3 }, first),
    '| label | StatefulSet | 3 | 10.9 s (10.9) | 1, 2, 1 | success after 20.0 s (20.0) | 2.5 s (4.0) | 144 of 600 | 3 ms |',
  )
  assert.match(
    row(first, { ...first, statusMs: null }) ?? '',
    /success after 20\.0 s \(20\.0\); \*\*1 did not end\*\*/,
  )
  assert.match(
    row(rollout, { ...rollout, allNewMs: null }) ?? '',
    /\| \*\*never\*\* \| 1, 1 \| does not end \|/,
  )
})
