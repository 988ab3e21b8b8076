import assert from 'node:assert/strict'
import { test } from 'node:test'
import { type Bounds, explore, outage } from './exploration.ts'

const LONG_MS = 20_000
const FEW: readonly Bounds[] = [
  { replicas: 2, faults: 2, depth: 10, failsafe: false },
  { replicas: 2, faults: 2, depth: 9, failsafe: true },
  { replicas: 3, faults: 2, depth: 8, failsafe: true },
  { replicas: 2, faults: 2, depth: 9, failsafe: true, away: true },
  { replicas: 3, faults: 1, depth: 11, failsafe: true, away: true, unlistedMaxMs: 8_000 },
  { replicas: 3, faults: 1, depth: 11, failsafe: true, away: true, maxMs: LONG_MS, unlistedMaxMs: LONG_MS },
  {
    replicas: 3,
    faults: 3,
    depth: 11,
    failsafe: true,
    away: true,
    maxMs: LONG_MS,
    unlistedMaxMs: LONG_MS,
    among: /^r1 loses|deleted|pod of r2/,
  },
  {
    replicas: 3,
    faults: 3,
    depth: 11,
    failsafe: true,
    maxMs: LONG_MS,
    unlistedMaxMs: LONG_MS,
    among: /^r0: lose reply|^r0 and r2|is away/,
  },
  {
    replicas: 2,
    faults: 2,
    depth: 14,
    failsafe: true,
    away: true,
    leaseDurationMs: 12_000,
    maxMs: 40_000,
    among: /delay answers|cut/,
  },
]

/** Played each night: they take minutes, and some GB. */
const MANY: readonly Bounds[] = [
  { replicas: 2, faults: 3, depth: 11, failsafe: false },
  { replicas: 2, faults: 3, depth: 11, failsafe: true },
  { replicas: 2, faults: 3, depth: 11, failsafe: true, away: true },
  { replicas: 3, faults: 2, depth: 11, failsafe: true, away: true },
  { replicas: 3, faults: 2, depth: 11, failsafe: true, maxMs: LONG_MS, unlistedMaxMs: LONG_MS },
  { replicas: 3, faults: 2, depth: 11, failsafe: true, away: true, maxMs: LONG_MS, unlistedMaxMs: LONG_MS },
  {
    replicas: 3,
    faults: 3,
    depth: 12,
    failsafe: true,
    away: true,
    maxMs: LONG_MS,
    unlistedMaxMs: LONG_MS,
    among: /^r1 loses|unreadable|declared|deleted|pod of r2/,
  },
]

for (const bounds of process.env.EXPLORE === 'many' ? MANY : FEW) {
  const { replicas, faults, depth, failsafe, away, unlistedMaxMs, among } = bounds
  const name = `no order of ${faults} faults${among ? ` among ${among}` : ''} in ${depth} steps lets two of ${replicas} replicas act`
  const begun = `${away ? ', after the leader has lost the API server' : ''}${unlistedMaxMs ? `, of which one is no member, with --failsafe-max=${unlistedMaxMs}ms` : ''}`
  test(`${name}, ${failsafe ? 'with' : 'without'} failsafe${begun}`, (t) => {
    const { states, violation } = explore(bounds)
    t.diagnostic(`${states} states`)
    assert.equal(violation, null)
    assert.ok(states > 1_000)
  })
}

test('a leader without the API server goes on until the limit if all members agree, and else until its deadline', () => {
  const of = (replicas: number, failsafe: boolean) => outage({ replicas, failsafe, faults: 0, depth: 0 })
  assert.deepEqual([of(2, false), of(1, true)], [6_000, 6_000])
  assert.deepEqual([of(2, true), of(3, true)], [12_000, 12_000])
})
