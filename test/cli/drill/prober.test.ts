import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import {
  ATTEMPT_MS,
  type Measured,
  measure,
  type Probe,
  startProber,
} from '../../../agent/cli/drill/prober.ts'
import { VirtualClock } from '../../harness/virtual-clock.ts'

type Outcome = string | null | Error

/** A service whose responses the test triggers. */
class Scripted {
  readonly clock = new VirtualClock()
  readonly asked: { number: number; atMs: number; end: (outcome: Outcome) => void }[] = []
  readonly quit = new AbortController()
  readonly prober: ReturnType<typeof startProber>

  constructor() {
    const began = this.clock.mono()
    const ask = (number: number, signal: AbortSignal) =>
      new Promise<string | null>((resolve, reject) => {
        const end = (outcome: Outcome) => (outcome instanceof Error ? reject(outcome) : resolve(outcome))
        this.asked.push({ number, atMs: this.clock.mono() - began, end })
        signal.addEventListener('abort', () => reject(new Error('aborted')))
      })
    this.prober = startProber({ ask }, this.clock, this.quit.signal)
  }
}

test('attempts start at a steady rate, independent of earlier attempts, and without retries', async () => {
  const { prober, clock, asked, quit } = new Scripted()
  await clock.pass(1_000)
  assert.deepEqual(
    asked.map(({ number, atMs }) => [number, atMs]),
    [0, 200, 400, 600, 800, 1_000].map((atMs, i) => [i + 1, atMs]),
  )
  asked[1]?.end('status 503')
  asked[2]?.end(new Error('connection refused'))
  await clock.pass(100)
  asked[0]?.end(null)
  await clock.pass(0)
  assert.deepEqual(prober.probes, [
    { number: 2, sentMs: 200, endedMs: 1_000, problem: 'status 503' },
    { number: 3, sentMs: 400, endedMs: 1_000, problem: 'connection refused' },
    { number: 1, sentMs: 0, endedMs: 1_100, problem: null },
  ])
  quit.abort()
  await prober.stop()
})

test('a timeout and a refused connection are reported as different problems', async () => {
  const { prober, clock, quit } = new Scripted()
  await clock.pass(ATTEMPT_MS)
  assert.deepEqual(prober.probes, [
    { number: 1, sentMs: 0, endedMs: ATTEMPT_MS, problem: 'no answer within 30 s' },
  ])
  quit.abort()
  await prober.stop()
})

test('the end waits for open attempts', async () => {
  const { prober, clock, asked } = new Scripted()
  await clock.pass(200)
  const stopped = prober.stop()
  await clock.pass(1_000)
  assert.equal(asked.length, 2)
  for (const { end } of asked) end(null)
  await stopped
  assert.equal(prober.probes.length, 2)
  assert.equal(clock.next(), Number.POSITIVE_INFINITY)
})

test('an attempt that is open when the drill is aborted does not count', async () => {
  const { prober, clock, quit } = new Scripted()
  await clock.pass(200)
  quit.abort()
  await prober.stop()
  assert.deepEqual(prober.probes, [])
  assert.equal(clock.next(), Number.POSITIVE_INFINITY)
})

/** Attempts every 200 ms that take 20 ms each, except for the given changes. */
function probes(count: number, changes: Readonly<Record<number, Partial<Probe>>> = {}): Probe[] {
  return Array.from({ length: count }, (_, i) => {
    const sentMs = i * 200
    return { number: i + 1, sentMs, endedMs: sentMs + 20, problem: null, ...changes[i + 1] }
  })
}

const refused = { problem: 'connection refused' }

const bad = (one: Probe) => ({ ...one, ...refused })
const held = { 4: { endedMs: 1_500 }, 5: { endedMs: 1_500 }, 6: { endedMs: 1_510 }, 7: { endedMs: 1_520 } }
const failures = { 4: refused, 5: refused, 6: { problem: 'status 503' } }
const late = { 4: { ...refused, endedMs: 30_000 } }
describe('the measurement', () => {
  const cases: Readonly<Record<string, [all: Probe[], expected: Partial<Measured>]>> = {
    'without a fault has an RTO of one interval of the prober': [
      probes(20),
      { requests: 20, failed: 0, firstProblem: null, rtoMs: 200, lost: null },
    ],
    'has the longest time from one good answer to the next as RTO': [
      probes(20, failures),
      { requests: 20, failed: 3, firstProblem: 'connection refused', rtoMs: 800 },
    ],
    'counts a held request as a wait, not as a failure': [probes(20, held), { failed: 0, rtoMs: 1_000 }],
    'has no RTO if failures follow the last good answer': [
      probes(11).map((one) => (one.sentMs > 1_200 ? bad(one) : one)),
      { rtoMs: null },
    ],
    'has no RTO if no answer was good': [probes(11).map(bad), { rtoMs: null }],
    'does not extend the RTO by a late failure of an early request': [
      probes(20, late),
      { failed: 1, rtoMs: 400 },
    ],
  }
  for (const [what, [all, expected]] of Object.entries(cases))
    test(what, () => assert.partialDeepStrictEqual(measure(all, null), expected))

  test('has the number of acknowledged messages that are not stored as RPO', () => {
    const all = probes(5, { 2: refused, 3: refused })
    assert.equal(measure(all, new Set([1, 3, 4])).lost, 1)
    assert.equal(measure(all, new Set([1, 4, 5])).lost, 0)
  })
})
