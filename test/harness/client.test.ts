import assert from 'node:assert/strict'
import { test } from 'node:test'
import { fateOf } from '../bench/takeover/calls.ts'
import { type Call, tally } from './client.ts'

const good = (sentAt: number, endedAt: number, to = 'a'): Call => ({
  sentAt,
  endedAt,
  to,
  answer: '',
  failure: null,
})
const bad = (sentAt: number, endedAt: number, failure: string, to: string | null = 'a'): Call => ({
  ...{ sentAt, endedAt, to, failure },
  answer: null,
})
const FAULT_AT = 1_000

/** The leader `a` fails at 1000. From 1450 on, `b` answers. */
const TAKEOVER = [
  good(800, 830),
  good(900, 930),
  bad(990, 1_000, 'connection cut'),
  bad(1_200, 1_200, 'no replica was ready', null),
  bad(1_300, 1_300, 'no replica was ready', null),
  good(1_400, 1_450, 'b'),
]

test("a tally counts failed calls by reason, and measures the longest silence and the time to the next leader's answer", () => {
  const { slowestMs: _, ...fate } = fateOf(TAKEOVER, FAULT_AT, 'a')
  const reasons = { 'connection cut': 1, 'no replica was ready': 2 }
  const times = { nextMs: 450, silenceMs: 1_450 - 930 }
  assert.deepEqual(fate, { sent: 6, failed: 3, inFlight: 1, reasons, ...times })
  assert.deepEqual(tally(TAKEOVER, 850, 2_000), {
    calls: 5,
    failed: 3,
    longestSilenceMs: 2_000 - 1_450,
    failures: { 'connection cut': 1, 'no replica was ready': 2 },
  })
})
