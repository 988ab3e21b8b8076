import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { causeOf } from './report.ts'
import type { Struck } from './strikes.ts'

const gap = { from: 100_000, to: 101_000, before: 'a-1/4', after: 'b-1/5' }

function struck(kind: string, at: number, more: Partial<Struck> = {}): Struck {
  return { kind, at, healedAt: at, replica: 'a-1', role: 'leader', ...more }
}

describe('the cause of a time without a server', () => {
  test('is the one fault that hit who was there before, or all', () => {
    assert.equal(causeOf(gap, [struck('agent is killed', 99_000)]), 'agent is killed')
    assert.equal(
      causeOf(gap, [struck('API server hangs', 70_000, { replica: '', healedAt: 99_000 })]),
      'API server hangs',
    )
  })

  test('is no fault of another pod, of later, or of more than a lease duration ago', () => {
    const faults = [
      struck('agent is killed', 99_000, { replica: 'c-1' }),
      struck('link is slow', 101_000),
      struck('launcher is killed', 80_000),
    ]
    assert.equal(causeOf(gap, faults), 'none that was seen')
  })

  test('is one of two, or cannot be told where more are possible', () => {
    const faults = [struck('launcher is killed', 98_000), struck('agent is killed', 99_000)]
    assert.equal(causeOf(gap, faults), 'agent is killed or launcher is killed')
    assert.equal(causeOf(gap, [...faults, struck('link is slow', 97_000)]), 'three faults or more')
  })
})
