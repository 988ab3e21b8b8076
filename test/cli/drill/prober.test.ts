import assert from 'node:assert/strict'
import { test } from 'node:test'
import { ATTEMPT_MS, Prober } from '../../../agent/cli/drill/prober.ts'
import { VirtualClock } from '../../harness/virtual-clock.ts'

type Outcome = string | null | Error

/** A service that answers when a test says so. */
class Scripted {
  readonly clock = new VirtualClock()
  readonly asked: { number: number; atMs: number; end: (outcome: Outcome) => void }[] = []
  readonly quit = new AbortController()
  readonly prober: Prober

  constructor() {
    const began = this.clock.mono()
    const ask = (number: number, signal: AbortSignal) =>
      new Promise<string | null>((resolve, reject) => {
        const end = (outcome: Outcome) => (outcome instanceof Error ? reject(outcome) : resolve(outcome))
        this.asked.push({ number, atMs: this.clock.mono() - began, end })
        signal.addEventListener('abort', () => reject(new Error('aborted')))
      })
    this.prober = new Prober({ ask }, this.clock, this.quit.signal)
  }
}

test('attempts are sent at a steady rate, whatever became of those before, and none is sent twice', async () => {
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

test('an attempt ends after its time, and is told from one that was refused', async () => {
  const { prober, clock, quit } = new Scripted()
  await clock.pass(ATTEMPT_MS)
  assert.deepEqual(prober.probes, [
    { number: 1, sentMs: 0, endedMs: ATTEMPT_MS, problem: 'no answer within 30 s' },
  ])
  quit.abort()
  await prober.stop()
})

test('what is under way at the end is waited for', async () => {
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

test('what is under way when all is given up is no failure', async () => {
  const { prober, clock, quit } = new Scripted()
  await clock.pass(200)
  quit.abort()
  await prober.stop()
  assert.deepEqual(prober.probes, [])
  assert.equal(clock.next(), Number.POSITIVE_INFINITY)
})
