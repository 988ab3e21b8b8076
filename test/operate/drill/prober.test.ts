import assert from 'node:assert/strict'
import { test } from 'node:test'
import { ATTEMPT_MS, Prober } from '../../../agent/operate/drill/prober.ts'
import { VirtualClock } from '../../harness/virtual-clock.ts'

type Outcome = string | null | Error

/** A service that answers when a test says so. */
class Scripted {
  readonly clock = new VirtualClock()
  readonly asked: { number: number; atMs: number; end: (outcome: Outcome) => void }[] = []
  /** What is answered at once; `undefined`: nothing. */
  answers: Outcome | undefined = undefined
  readonly prober: Prober

  constructor(perSecond: number) {
    const began = this.clock.mono()
    const ask = (number: number, signal: AbortSignal) =>
      new Promise<string | null>((resolve, reject) => {
        const end = (outcome: Outcome) => (outcome instanceof Error ? reject(outcome) : resolve(outcome))
        this.asked.push({ number, atMs: this.clock.mono() - began, end })
        signal.addEventListener('abort', () => reject(new Error('aborted')))
        if (this.answers !== undefined) end(this.answers)
      })
    this.prober = new Prober({ ask }, perSecond, this.clock)
  }
}

test('attempts are sent at a steady rate, whatever became of those before, and none is sent twice', async () => {
  const { prober, clock, asked } = new Scripted(5)
  prober.start()
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
  await Promise.all([prober.stop(), clock.pass(10_000)])
})

test('an attempt ends after its time, and is told from one that was refused', async () => {
  const { prober, clock } = new Scripted(1)
  prober.start()
  await clock.pass(ATTEMPT_MS)
  assert.deepEqual(prober.probes, [
    { number: 1, sentMs: 0, endedMs: ATTEMPT_MS, problem: 'no answer within 30 s' },
  ])
  await Promise.all([prober.stop(), clock.pass(10_000)])
})

test('what is under way at the end is waited for, but not for long, and is no failure then', async () => {
  const { prober, clock, asked } = new Scripted(1)
  prober.start()
  await clock.pass(1_000)
  const stopped = prober.stop()
  await clock.pass(100)
  asked[1]?.end(null)
  await clock.pass(10_000)
  await stopped
  assert.equal(asked.length, 2)
  assert.deepEqual(prober.probes, [{ number: 2, sentMs: 1_000, endedMs: 1_100, problem: null }])
})

test('the first good answer of several attempts counts, or else the last failure', async () => {
  const good = new Scripted(5)
  good.answers = 'status 503'
  good.prober.start()
  const tried = good.prober.tried(3)
  await good.clock.pass(200)
  good.answers = null
  await good.clock.pass(1_000)
  assert.deepEqual([(await tried).number, (await tried).problem], [3, null])
  await good.prober.stop()

  const bad = new Scripted(5)
  bad.answers = 'status 503'
  bad.prober.start()
  const failed = bad.prober.tried(3)
  await bad.clock.pass(1_000)
  assert.deepEqual([(await failed).number, (await failed).problem], [3, 'status 503'])
  await bad.prober.stop()
})

test('all that was sent so far can be waited for, while more is sent', async () => {
  const { prober, clock, asked } = new Scripted(5)
  prober.start()
  await clock.pass(200)
  const settled = prober.settled().then(() => prober.probes.length)
  await clock.pass(200)
  for (const { end } of asked.slice(0, 2)) end(null)
  await clock.pass(0)
  assert.equal(await settled, 2)
  await Promise.all([prober.stop(), clock.pass(10_000)])
})

test('once it has stopped nothing keeps the process, also where somebody still waits for an answer', async () => {
  const { prober, clock, asked } = new Scripted(5)
  prober.start()
  void prober.tried(3)
  const stopped = prober.stop()
  asked[0]?.end('status 503')
  await stopped
  await clock.pass(1_000)
  assert.equal(clock.next(), Number.POSITIVE_INFINITY)
})
