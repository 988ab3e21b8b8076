import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { EventName } from '../../../agent/observe/events.ts'
import { phasesOf } from './phases.ts'

const FAULT_AT = Date.parse('2026-01-01T00:00:10.000Z')
const TIMES = { faultAt: FAULT_AT, answeredAt: FAULT_AT + 900 }
const said = (ms: number, event: EventName, more: { acquireMs?: number } = {}) => ({
  event,
  time: new Date(FAULT_AT + ms).toISOString(),
  ...more,
})

const NEXT = [
  said(-9_000, 'acquired'),
  said(-8_000, 'serving'),
  said(420, 'acquired', { acquireMs: 6 }),
  said(700, 'serving'),
  said(450, 'workload_started'),
]

test('a leader that gives way: each phase from the end of the one before', () => {
  const old = [
    said(-5_000, 'draining'),
    said(-4_000, 'released'),
    said(30, 'draining'),
    said(410, 'released'),
  ]
  assert.deepEqual(phasesOf(TIMES, old, NEXT), {
    detect: 30,
    stop: 380,
    acquire: 10,
    start: 30,
    healthy: 250,
    answer: 200,
  })
})

test('a leader that is gone: its Lease runs out, and the write is the next holder’s', () => {
  assert.deepEqual(phasesOf(TIMES, [said(-100, 'serving')], NEXT), {
    detect: 414,
    acquire: 6,
    start: 30,
    healthy: 250,
    answer: 200,
  })
})

test('what was not logged has no length', () => {
  assert.deepEqual(phasesOf(TIMES, [], [said(420, 'acquired')]), { detect: 420, acquire: 0 })
  assert.deepEqual(phasesOf(TIMES, [], []), {})
})
