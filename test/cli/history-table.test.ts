import assert from 'node:assert/strict'
import { test } from 'node:test'
import { historyTable } from '../../agent/cli/status-table.ts'
import type { PastTerm } from '../../agent/lease/lease-history.ts'
import { TERM } from '../observe/replica.ts'

const NOW = Date.parse('2026-01-02T03:04:05Z')

const LASTS: PastTerm = {
  ...TERM,
  epoch: 8,
  holder: 'langflow-1',
  began: '2026-01-02T03:00:00Z',
  phases: { detectMs: 12, acquireMs: 8.4, startMs: 960, healthyMs: 1_240 },
  gapMs: 2_220,
}

const VANISHED: PastTerm = {
  ...TERM,
  began: '2026-01-01T00:00:00Z',
  because: 'never_held',
  phases: { detectMs: 0, acquireMs: 5, startMs: null, healthyMs: null },
  gapMs: null,
  ended: '2026-01-02T03:00:00Z',
  endedBecause: 'switchover',
  stopMs: 80,
}

test('the history is a table, newest first', () => {
  assert.equal(
    historyTable([LASTS, VANISHED], NOW),
    [
      'EPOCH  HOLDER      BEGAN                 LASTED  BECAUSE     DETECT  ACQUIRE  START  HEALTHY  NO SERVER  ENDED       STOP',
      '8      langflow-1  2026-01-02T03:00:00Z  4m5s    released    12ms    8ms      960ms  1.2s     2.2s       current     -',
      '7      langflow-0  2026-01-01T00:00:00Z  1d3h    never_held  0s      5ms      -      -        -          switchover  80ms',
      '',
    ].join('\n'),
  )
})

test('a term with an unknown reason for its end is not shown as current', () => {
  assert.match(historyTable([{ ...VANISHED, endedBecause: null }], NOW), / unknown +80ms$/m)
})

test('the reasons of operators are a column, if there are any', () => {
  const [head, first, second] = historyTable([LASTS, { ...VANISHED, note: 'a leak' }], NOW).split('\n')
  assert.match(head ?? '', / STOP {2}REASON$/)
  assert.match(first ?? '', / - {5}-$/)
  assert.match(second ?? '', / switchover {2}80ms {2}a leak$/)
})

test('a Lease without terms has a history of one sentence', () => {
  assert.equal(historyTable([], NOW), 'The Lease has no recorded term.\n')
})
