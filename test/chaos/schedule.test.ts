import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import type { Fault } from './faults/fault.ts'
import { KINDS, kindOf } from './faults/kinds.ts'
import { REPLICAS } from './ground.ts'
import { planFaults } from './schedule.ts'

const MINUTE_MS = 60_000
const hits = ({ kind }: Fault) => kindOf(kind).hits

describe('the schedule of faults', () => {
  test('is the same for the same seed, and another one for another', () => {
    assert.deepEqual(planFaults(7, 10 * MINUTE_MS), planFaults(7, 10 * MINUTE_MS))
    assert.notDeepEqual(planFaults(7, 10 * MINUTE_MS), planFaults(8, 10 * MINUTE_MS))
  })

  test('of a longer run begins with that of a shorter one', () => {
    const short = planFaults(7, 3 * MINUTE_MS)
    assert.deepEqual(planFaults(7, 60 * MINUTE_MS).slice(0, short.length), short)
  })

  test('has every kind within ten minutes, whatever the seed', () => {
    for (let seed = 0; seed < 50; seed++) {
      const kinds = new Set(planFaults(seed, 10 * MINUTE_MS).map(({ kind }) => kind))
      assert.deepEqual(
        [...KINDS].filter((kind) => !kinds.has(kind)),
        [],
        `seed ${seed}`,
      )
    }
  })

  test('has a fault each 2 to 8 s, aimed at the leader or at any seat, no longer than its kind allows', () => {
    const plan = planFaults(1, 60 * MINUTE_MS)
    for (const [n, fault] of plan.entries()) {
      const spacing = fault.at - (plan[n - 1]?.at ?? 0)
      assert.ok(spacing >= 1_999 && spacing <= 8_001, `${spacing} ms`)
      const [shortest, longest] = kindOf(fault.kind).ms ?? [0, 0]
      assert.ok(fault.ms >= shortest && fault.ms <= longest, `${fault.kind}: ${fault.ms} ms`)
    }
    assert.deepEqual([...new Set(plan.map(({ seat }) => seat))].sort(), [...Array(REPLICAS).keys()])
    assert.equal(new Set(plan.map(({ leader }) => leader)).size, 2)
  })

  test('has faults that overlap', () => {
    const plan = planFaults(1, 60 * MINUTE_MS)
    const overlapping = plan.filter(({ at }) => plan.some((one) => one.at < at && one.at + one.ms > at))
    assert.ok(overlapping.length > plan.length / 3, `${overlapping.length} of ${plan.length}`)
  })

  test('leaves the API server alone while it is struck, and the Lease for a lease duration after an edit', () => {
    const plan = planFaults(3, 60 * MINUTE_MS)
    const shared = plan.filter((fault) => ['api', 'lease'].includes(hits(fault)))
    for (const [n, fault] of shared.entries()) {
      const before = shared[n - 1]
      if (before !== undefined && hits(before) === 'api') assert.ok(fault.at > before.at + before.ms)
    }
    const edits = plan.filter((fault) => hits(fault) === 'lease')
    for (const [n, { at }] of edits.entries()) assert.ok(at - (edits[n - 1]?.at ?? -Infinity) >= 15_000)
  })
})
