import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { LogThrottle } from '../../agent/observe/log.ts'
import { EventRecorder } from '../../agent/replica/event-recorder.ts'
import type { ReplicaEvent } from '../../agent/replica/kube-events.ts'
import type { Problem } from '../../agent/replica/problems.ts'
import { VirtualClock } from '../harness/virtual-clock.ts'

function setUp() {
  const clock = new VirtualClock()
  const lines: unknown[][] = []
  const recorded: ReplicaEvent[] = []
  const counted: unknown[][] = []
  const log = {
    event: (...event: unknown[]) => void lines.push(event),
    warn: (...line: unknown[]) => void lines.push(line),
    error: (...line: unknown[]) => void lines.push(line),
    info: (...line: unknown[]) => void lines.push(line),
  }
  const count =
    (name: string) =>
    (...values: unknown[]) =>
      void counted.push([name, ...values])
  const recorder = new EventRecorder({
    clock,
    log,
    events: { record: (what) => void recorded.push(what) },
    metrics: {
      leading: count('leading'),
      transition: count('transition'),
      takeover: count('takeover'),
      restarted: count('restarted'),
      doubted: count('doubted'),
      alarm: count('alarm'),
    },
    repeats: new LogThrottle(log, clock),
  })
  return { clock, lines, counted, recorded, recorder }
}

const HAPPENED = [
  { event: 'acquired', epoch: 4, reason: 'it expired', code: 'expired' },
  { event: 'doubt', epoch: 4, reason: 'no answer', code: 'no_renewal' },
  { event: 'draining', epoch: 4, reason: 'SIGTERM', code: 'terminated' },
  { event: 'stepped_down', epoch: 4, reason: 'SIGTERM', code: 'terminated' },
  { event: 'lost', epoch: 5, reason: 'no answer', code: 'no_renewal' },
  { event: 'fatal', epoch: 5, reason: 'used by another', code: 'identity_taken' },
] as const

describe('an event of a replica', () => {
  test('is logged with its details, and counted if leadership changes', () => {
    const { lines, counted, recorder } = setUp()
    const detail = { unchangedMs: 15_000, acquireMs: 12 }
    for (const effect of HAPPENED) recorder.event({ type: 'event', ...effect, detail })
    assert.deepEqual(
      lines,
      HAPPENED.map(({ event, epoch, code, reason }) => [event, { epoch, code, reason, ...detail }]),
    )
    assert.deepEqual(counted, [
      ['leading', true],
      ['transition', 'acquired', 'expired'],
      ['takeover', 'detect', 15_000],
      ['takeover', 'acquire', 12],
      ['leading', false],
      ['transition', 'stepped_down', 'terminated'],
      ['leading', false],
      ['transition', 'lost', 'no_renewal'],
    ])
  })

  test('is a Kubernetes Event with its epoch, code and reason, except for draining', () => {
    const { recorded, recorder } = setUp()
    for (const effect of HAPPENED) recorder.event({ type: 'event', ...effect })
    const [first, ...more] = recorded
    assert.deepEqual(first, { reason: 'LeaderAcquired', epoch: 4, code: 'expired', because: 'it expired' })
    assert.deepEqual(
      more.map(({ reason }) => reason),
      ['LeadershipInDoubt', 'SteppedDown', 'LeadershipLost', 'CannotGoOn'],
    )
  })

  test('is logged, counted and recorded if LangFlow is restarted in place', () => {
    const { lines, counted, recorded, recorder } = setUp()
    const code = 'workload_exited'
    recorder.restart({ code, reason: 'why' }, 7)
    assert.deepEqual(lines[0]?.[1], { epoch: 7, code })
    assert.deepEqual(counted, [['restarted', code]])
    assert.deepEqual(recorded, [{ reason: 'RestartedInPlace', epoch: 7, code, because: 'why' }])
  })
})

test('consent is recorded once, when it is no longer needed', () => {
  const { recorded, recorder } = setUp()
  for (const how of [null, 'API server away for 5s', 'API server away for 40s', null, null])
    recorder.consent(how, 7)
  assert.deepEqual(recorded, [{ reason: 'LedByConsent', epoch: 7, because: 'API server away for 40s' }])
})

test('a replica reports once that it serves or that its standby is ready, and again after an interruption', () => {
  const { lines, recorded, recorder } = setUp()
  for (const [ready, standsBy] of [
    [true, false],
    [true, false],
    [false, false],
    [true, false],
    [false, true],
    [false, true],
    [false, false],
    [false, true],
  ] as const)
    recorder.gate(ready, standsBy, 3, 'warm')
  const standby = ['standby_ready', { epoch: 3, mode: 'warm' }]
  assert.deepEqual(lines, [['serving', { epoch: 3 }], ['serving', { epoch: 3 }], standby, standby])
  const serving = { reason: 'Serving', epoch: 3 }
  assert.deepEqual(recorded, [serving, serving])
})

test('the length of a doubt is counted once it is over', async () => {
  const { clock, counted, recorder } = setUp()
  for (const inDoubt of [false, true, true, false, false, true, false]) {
    recorder.doubt(inDoubt)
    await clock.pass(1_000)
  }
  assert.deepEqual(counted, [
    ['doubted', 2_000],
    ['doubted', 1_000],
  ])
})

describe('the recorder records', () => {
  test('each problem as an Event when it begins, if it is one, and shows whether it lasts', () => {
    for (const how of [
      { alarm: 'grant_refused' },
      { event: 'StopFailed', alarm: 'stop_failed' },
      { event: 'ContentRefused', over: 'used again' },
      { over: 'reached again' },
    ] as Omit<Problem, 'fault'>[]) {
      const { event: reason = null, alarm = null } = how
      const { recorded, counted, recorder } = setUp()
      for (const fault of [null, 'first', 'second', null, 'third']) recorder.problems([{ fault, ...how }], 7)
      const events = ['first', 'third'].map((because) => ({ reason, epoch: 7, because }))
      assert.deepEqual(recorded, reason === null ? [] : events)
      const lasts = [false, true, true, false, true].map((value) => ['alarm', alarm, value])
      assert.deepEqual(counted, alarm === null ? [] : lasts)
    }
  })
})

test('a problem is logged while it lasts and when it is over, unless it is logged elsewhere', () => {
  const { lines, recorder } = setUp()
  for (const fault of [null, 'no read', 'no read', 'no write', null])
    recorder.problems([{ fault, over: 'reached again' }, { fault }], 7)
  assert.deepEqual(
    lines.map(([msg]) => msg),
    ['no read', 'no write', 'reached again'],
  )
})
