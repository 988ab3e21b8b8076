import assert from 'node:assert/strict'
import { test } from 'node:test'
import { type Bounds, explore, outage } from './exploration.ts'

/** With `EXPLORE="REPLICAS FAULTS DEPTH"`, other bounds: 3 faults take minutes, and some GB. */
const [replicas = 0, faults = 0, depth = 0] = (process.env.EXPLORE ?? '').split(' ').map(Number)
const FEW: readonly Bounds[] = [
  { replicas: 2, faults: 2, depth: 11, failsafe: true },
  { replicas: 3, faults: 2, depth: 9, failsafe: true },
  { replicas: 2, faults: 2, depth: 11, failsafe: false },
]

for (const bounds of replicas > 0 ? [{ replicas, faults, depth, failsafe: true }] : FEW) {
  const { replicas, faults, depth, failsafe } = bounds
  const name = `no order of ${faults} faults in ${depth} steps lets two of ${replicas} replicas act`
  test(`${name}, ${failsafe ? 'with' : 'without'} failsafe`, (t) => {
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
