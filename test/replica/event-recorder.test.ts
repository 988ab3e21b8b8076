import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { initialState } from '../../agent/election/state.ts'
import { LogThrottle } from '../../agent/observe/log-throttle.ts'
import { EventRecorder } from '../../agent/replica/event-recorder.ts'
import { VirtualClock } from '../support/virtual-clock.ts'

function setUp(onCrash: 'handover' | 'restart' = 'handover') {
  const lines: unknown[][] = []
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
    onCrash,
    log,
    metrics: {
      leading: count('leading'),
      transition: count('transition'),
      takeover: count('takeover'),
      restarted: count('restarted'),
    },
    repeats: new LogThrottle(log, new VirtualClock()),
  })
  return { lines, counted, recorder }
}

describe('what happens to a replica', () => {
  test('is logged with its details, and counted where leadership changes', () => {
    const { lines, counted, recorder } = setUp()
    const detail = { unchangedMs: 15_000, acquireMs: 12 }
    recorder.event({ type: 'event', event: 'acquired', epoch: 4, reason: 'it expired', detail })
    recorder.event({ type: 'event', event: 'doubt', epoch: 4 })
    recorder.event({ type: 'event', event: 'stepped_down', epoch: 4, reason: 'SIGTERM' })
    recorder.event({ type: 'event', event: 'lost', epoch: 5 })
    assert.deepEqual(lines, [
      ['acquired', { epoch: 4, reason: 'it expired', ...detail }],
      ['doubt', { epoch: 4, reason: undefined }],
      ['stepped_down', { epoch: 4, reason: 'SIGTERM' }],
      ['lost', { epoch: 5, reason: undefined }],
    ])
    assert.deepEqual(counted, [
      ['leading', true],
      ['transition', 'acquired', 'it expired'],
      ['takeover', 'detect', 15_000],
      ['takeover', 'acquire', 12],
      ['leading', false],
      ['transition', 'stepped_down', 'SIGTERM'],
      ['leading', false],
      ['transition', 'lost', ''],
    ])
  })

  test('is told with its reason where LangFlow is restarted in place', () => {
    for (const [onCrash, why] of [
      ['restart', '--on-crash=restart'],
      ['handover', 'no other replica is ready'],
    ] as const) {
      const { lines, counted, recorder } = setUp(onCrash)
      recorder.restart('it ended', { term: null, highestEpoch: 7 })
      assert.deepEqual(lines, [[`LangFlow is restarted in place: it ended; ${why}`, { epoch: 7 }]])
      assert.deepEqual(counted, [['restarted', 'it ended']])
    }
  })
})

describe('a trouble', () => {
  test('with the Lease is told once, writes before reads before the watch, and when it is over', () => {
    const { lines, recorder } = setUp()
    const sound = initialState()
    recorder.lease(sound, 'following')
    recorder.lease({ ...sound, watchProblem: 'no watch' }, 'following')
    recorder.lease({ ...sound, readProblem: 'no read', watchProblem: 'no watch' }, 'following')
    const all = { writeProblem: 'no write', readProblem: 'no read', watchProblem: 'no watch' }
    recorder.lease(all, 'holding')
    recorder.lease(all, 'holding')
    recorder.lease(sound, 'holding')
    assert.deepEqual(
      lines.map(([msg]) => msg),
      ['no watch', 'no read', 'no write', 'the Lease can be reached again'],
    )
    assert.deepEqual(lines[0]?.[1], { decision: 'following' })
  })

  test('with its owner, and with an absent launcher, is told once, and when it is over', () => {
    const { lines, recorder } = setUp()
    for (const problem of [null, 'it is another one’s', 'it is another one’s', null]) recorder.owner(problem)
    for (const problem of [null, 'none has come', 'none has come', null]) recorder.launcher(problem)
    assert.deepEqual(
      lines.map(([msg]) => msg),
      [
        'it is another one’s',
        'the Lease belongs to no other Deployment or StatefulSet any more',
        'none has come',
        'a launcher has connected',
      ],
    )
  })
})

describe('what is wrong with versions of LangFlow', () => {
  test('is a warning, once for each thing', () => {
    const { lines, recorder } = setUp()
    for (const problem of [null, 'it is older', 'it is older', 'it is none', null, 'it is older'])
      recorder.version(problem)
    assert.deepEqual(lines, [['it is older'], ['it is none'], ['it is older']])
  })
})

describe('epochs that have left their field', () => {
  test('are an alarm, once', () => {
    const { lines, recorder } = setUp()
    for (const problem of [null, 'it is full', 'it is full', null, 'it is full']) recorder.epoch(problem)
    assert.deepEqual(lines, [['ALARM: it is full'], ['ALARM: it is full']])
  })
})
