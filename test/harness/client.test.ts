import assert from 'node:assert/strict'
import { test } from 'node:test'
import { reasons, recoveryMs, restartMs, silenceMs, tally as tallyOfFault } from '../bench/takeover/calls.ts'
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

/** The leader `a` fails at 1000; `b` answers from 1450 on. */
const TAKEOVER = [
  good(800, 830),
  good(900, 930),
  bad(990, 1_000, 'connection cut'),
  bad(1_200, 1_200, 'nobody was ready', null),
  bad(1_300, 1_300, 'nobody was ready', null),
  good(1_400, 1_450, 'b'),
]

test('calls tell how many failed and why, how long nobody answered, and when the next one did', () => {
  assert.deepEqual(tallyOfFault(TAKEOVER, FAULT_AT), { sent: 6, failed: 3, nobodyReady: 2, inFlight: 1 })
  assert.equal(recoveryMs(TAKEOVER.toReversed(), FAULT_AT, 'a'), 450)
  assert.equal(recoveryMs(TAKEOVER.slice(0, 5), FAULT_AT, 'a'), undefined)
  assert.equal(restartMs(TAKEOVER, FAULT_AT), 450)
  assert.equal(silenceMs(TAKEOVER, FAULT_AT), 1_450 - 930)
  assert.deepEqual(reasons(TAKEOVER), [
    ['nobody was ready', 2],
    ['connection cut', 1],
  ])
  assert.deepEqual(tally(TAKEOVER, 850, 2_000), {
    calls: 5,
    failed: 3,
    longestSilenceMs: 2_000 - 1_450,
    failures: { 'connection cut': 1, 'nobody was ready': 2 },
  })
})
