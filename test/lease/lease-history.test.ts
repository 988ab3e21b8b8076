import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { Lease } from '../../agent/lease/lease.ts'
import {
  encodeHistory,
  HISTORY,
  historyOf,
  MOST_BYTES,
  type PastTerm,
} from '../../agent/lease/lease-history.ts'
import { TERM } from '../observe/replica.ts'

const ENDED: PastTerm = { ...TERM, ended: '2026-01-02T04:04:05Z', endedBecause: 'switchover', stopMs: 80 }

function noted(history: string | undefined): Lease {
  return { metadata: { annotations: history === undefined ? {} : { [HISTORY]: history } } }
}

test('terms are read as they were written, newest first', () => {
  const lasting: PastTerm = {
    ...TERM,
    epoch: 8,
    phases: { detectMs: 15_000, acquireMs: 0, startMs: null, healthyMs: null },
    because: 'expired',
    gapMs: null,
  }
  const terms = [lasting, ENDED]
  assert.deepEqual(historyOf(noted(encodeHistory(terms))), terms)
})

test('the annotation keeps the last terms within 8 KiB, even with long names of pods', () => {
  for (const holder of ['a', 'x'.repeat(63), 'ü'.repeat(200)]) {
    const many = Array.from({ length: 60 }, (_, n) => ({ ...ENDED, holder, epoch: 100 - n }))
    const text = encodeHistory(many)
    assert.ok(Buffer.byteLength(text) <= MOST_BYTES)
    const kept = historyOf(noted(text))
    assert.deepEqual(kept, many.slice(0, kept.length))
    assert.ok(kept.length > 10)
  }
})

test('invalid histories and invalid entries are left out', () => {
  const good = encodeHistory([ENDED]).slice(1, -1)
  for (const nonsense of ['', '{', '7', '{}', 'null', 'x'.repeat(3 * MOST_BYTES), undefined])
    assert.deepEqual(historyOf(noted(nonsense)), [], String(nonsense).slice(0, 20))
  for (const entry of ['[]', '{}', '[1,2]', good.replace('"released"', '"because"'), good.replace('7', '-7')])
    assert.deepEqual(historyOf(noted(`[${entry},${good}]`)), [ENDED], entry)
  assert.deepEqual(historyOf(null), [])
})
