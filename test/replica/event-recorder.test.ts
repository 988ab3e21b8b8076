import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { initialState } from '../../agent/election/state.ts'
import { LogThrottle } from '../../agent/observe/log-throttle.ts'
import { EventRecorder } from '../../agent/replica/event-recorder.ts'
import { VirtualClock } from '../harness/virtual-clock.ts'

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
  return { lines, said: () => lines.map(([msg]) => msg), counted, recorder }
}

describe('what happens to a replica', () => {
  test('is logged with its details, and counted where leadership changes', () => {
    const { lines, counted, recorder } = setUp()
    const detail = { unchangedMs: 15_000, acquireMs: 12 }
    recorder.event({
      type: 'event',
      event: 'acquired',
      epoch: 4,
      code: 'expired',
      reason: 'it expired',
      detail,
    })
    recorder.event({ type: 'event', event: 'doubt', epoch: 4 })
    recorder.event({ type: 'event', event: 'stepped_down', epoch: 4, code: 'terminated', reason: 'SIGTERM' })
    recorder.event({ type: 'event', event: 'lost', epoch: 5, code: 'no_renewal' })
    assert.deepEqual(lines, [
      ['acquired', { epoch: 4, code: 'expired', reason: 'it expired', ...detail }],
      ['doubt', { epoch: 4, code: undefined, reason: undefined }],
      ['stepped_down', { epoch: 4, code: 'terminated', reason: 'SIGTERM' }],
      ['lost', { epoch: 5, code: 'no_renewal', reason: undefined }],
    ])
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

  test('is told with its reason where LangFlow is restarted in place', () => {
    for (const [onCrash, why] of [
      ['restart', '--on-crash=restart'],
      ['handover', 'no other replica is ready'],
    ] as const) {
      const { lines, counted, recorder } = setUp(onCrash)
      recorder.restart({ code: 'workload_exited', reason: 'it ended' }, { term: null, highestEpoch: 7 })
      assert.deepEqual(lines, [
        [`LangFlow is restarted in place: it ended; ${why}`, { epoch: 7, code: 'workload_exited' }],
      ])
      assert.deepEqual(counted, [['restarted', 'workload_exited']])
    }
  })
})

test('a replica says once that it serves or stands by, with what, and again after a pause', () => {
  const { lines, recorder } = setUp()
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
})

describe('a trouble', () => {
  const OWNER_OVER = 'the Lease belongs to no other Deployment or StatefulSet any more'
  for (const [what, trouble, said, over] of [
    ['with its owner', 'owner', 'it is wrong', OWNER_OVER],
    ['with an absent launcher', 'launcher', 'it is wrong', 'a launcher has connected'],
    ['with versions of LangFlow', 'version', 'it is wrong', null],
    ['with epochs that have left their field is an alarm, and', 'epoch', 'ALARM: it is wrong', null],
  ] as const) {
    test(`${what} is told once, and once more where it comes back`, () => {
      const { said: lines, recorder } = setUp()
      for (const problem of [null, 'it is wrong', 'it is wrong', null, 'it is wrong'])
        recorder[trouble](problem)
      assert.deepEqual(lines(), [said, ...(over === null ? [] : [over]), said])
    })
  }

  test('with versions is told again where it is another one', () => {
    const { said, recorder } = setUp()
    for (const problem of ['it is older', 'it is none']) recorder.version(problem)
    assert.deepEqual(said(), ['it is older', 'it is none'])
  })

  test('with the Lease is told once, writes before reads before the watch, and when it is over', () => {
    const { lines, said, recorder } = setUp()
    const sound = initialState()
    const watch = { ...sound, watchProblem: 'no watch' }
    const read = { ...watch, readProblem: 'no read' }
    const write = { ...read, writeProblem: 'no write' }
    for (const state of [sound, watch, read, write, write, sound]) recorder.lease(state, 'following')
    assert.deepEqual(said(), ['no watch', 'no read', 'no write', 'the Lease can be reached again'])
    assert.deepEqual(lines[0]?.[1], { decision: 'following' })
  })
})
