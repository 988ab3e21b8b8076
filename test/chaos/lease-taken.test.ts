import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { KINDS, mayCostLease } from './faults/kinds.ts'
import { leaseTaken, RELEASED, type Succession } from './lease-taken.ts'
import type { Struck } from './strikes.ts'

const term = { replica: 'a-1', epoch: 4, first: 0, last: 120_000 }
const next = { replica: 'b-1', epoch: 5, first: 115_000, last: 116_000 }
const EXPIRED = 'its holder did not renew it in time'

function struck(kind: string, at: number, healedAt: number, replica = 'a-1'): Struck {
  return { kind, at, healedAt, replica, role: replica === '' ? '' : 'leader' }
}

const FROZEN = struck('launcher is frozen', 100_000, Number.POSITIVE_INFINITY)
const CUT = struck('link is a black hole', 98_000, 110_000)

function taken(others: readonly Struck[], more: Partial<Succession> = {}): boolean {
  return leaseTaken({ term, next, because: EXPIRED, stillSince: 100_000, ...more }, [FROZEN, ...others])
}

describe('the Lease of a replica whose launcher stands still', () => {
  test('is taken by a fault of its agent, its link or the API server', () => {
    assert.ok(taken([CUT]))
    assert.ok(taken([struck('API server hangs', 101_000, Number.POSITIVE_INFINITY, '')]))
    assert.ok(taken([struck('Lease is given to a stranger', 99_000, 99_000, '')]))
  })

  test('is taken by its own fault, where that froze the whole pod', () => {
    assert.ok(taken([struck('pod is suspended', 100_000, 119_000)]))
  })

  test('is not lost by itself', () => {
    assert.ok(!taken([]))
  })

  test('is not taken by a fault that costs no Lease', () => {
    for (const kind of KINDS.filter((one) => !mayCostLease(one)))
      assert.ok(!taken([struck(kind, 99_000, 110_000)]), kind)
    assert.ok(!mayCostLease('workload falls ill') && !mayCostLease('socket is removed'))
  })

  test('is not taken by a fault of another replica, of later, or of a lease duration before', () => {
    assert.ok(!taken([{ ...CUT, replica: 'b-1' }]))
    assert.ok(!taken([struck('link is a black hole', 115_001, 119_000)]))
    assert.ok(taken([struck('link is a black hole', 70_000, 83_000)]))
    assert.ok(!taken([struck('link is a black hole', 70_000, 82_999)]))
  })

  test('is not taken where the next term says that it was released', () => {
    assert.ok(!taken([CUT], { because: RELEASED }))
  })

  test('may be taken where a holder in between, who never acted, released it', () => {
    assert.ok(taken([CUT], { because: RELEASED, next: { ...next, epoch: 6 } }))
  })

  test('is judged by the faults alone while nobody says how the next term came about', () => {
    assert.ok(taken([CUT], { because: undefined }))
    assert.ok(!taken([], { because: undefined }))
  })
})
