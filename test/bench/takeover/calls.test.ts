import assert from 'node:assert/strict'
import { test } from 'node:test'
import { type Call, reasons, recoveryMs, restartMs, silenceMs, slowestMs, tally } from './calls.ts'

const good = (sentAt: number, endedAt: number, to = 'a'): Call => ({ sentAt, endedAt, to, failure: null })
const bad = (sentAt: number, endedAt: number, failure: string, to: string | null = 'a'): Call => ({
  sentAt,
  endedAt,
  to,
  failure,
})
const FAULT_AT = 1_000

/** The leader `a` fails at 1000; `b` answers from 1450 on. */
const TAKEOVER = [
  good(800, 830),
  good(900, 930),
  bad(990, 1_000, 'cut'),
  bad(1_100, 1_101, 'refused'),
  bad(1_200, 1_200, 'nobody was ready', null),
  bad(1_300, 1_300, 'nobody was ready', null),
  good(1_400, 1_450, 'b'),
  good(1_500, 1_540, 'b'),
]

test('all failures count; which found nobody, and which were in flight, is told beside it', () => {
  assert.deepEqual(tally(TAKEOVER, FAULT_AT), { sent: 8, failed: 4, nobodyReady: 2, inFlight: 1 })
})

test('the recovery ends with the first good answer of another replica, in whatever order they end', () => {
  const calls = [good(1_050, 1_090), ...TAKEOVER.toReversed()]
  assert.equal(recoveryMs(calls, FAULT_AT, 'a'), 450)
})

test('without a good answer of another replica there is no recovery', () => {
  assert.equal(recoveryMs([bad(1_100, 1_200, 'refused', 'b')], FAULT_AT, 'a'), undefined)
})

test('the silence is the longest time between two good answers, of those that end after the fault', () => {
  assert.equal(silenceMs(TAKEOVER, FAULT_AT), 1_450 - 930)
  assert.equal(silenceMs([good(0, 10), good(600, 610), good(1_100, 1_110)], FAULT_AT), 500)
})

test('the slowest answer is looked for after the fault only, among good ones', () => {
  const calls = [good(0, 900), good(980, 1_400), bad(1_000, 31_000, 'no answer'), good(1_500, 1_510)]
  assert.equal(slowestMs(calls, FAULT_AT), 420)
})

test('reasons are counted, the most frequent first', () => {
  assert.deepEqual(reasons(TAKEOVER), [
    ['nobody was ready', 2],
    ['cut', 1],
    ['refused', 1],
  ])
})

test('in place counts from the fault to the first good answer to what was sent after it', () => {
  const calls = [good(980, 1_010), bad(1_100, 1_101, 'refused'), good(1_900, 2_700)]
  assert.equal(restartMs(calls, FAULT_AT), 1_700)
  assert.equal(restartMs(calls.slice(0, 2), FAULT_AT), undefined)
})
