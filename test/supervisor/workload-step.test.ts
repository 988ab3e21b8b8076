import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import {
  COLD,
  CUT_OFF_MS,
  NOTHING,
  type StandbyMode,
  type StandbyView,
  type WorkloadState,
} from '../../agent/link/link-messages.ts'
import { isHealthy, type WorkloadEvent, workloadOf } from '../../agent/supervisor/workload-record.ts'
import {
  beats,
  connect,
  EXITED,
  FREEZES,
  FROZEN,
  GONE,
  HANGS,
  HEALTHY,
  IDLE,
  type Input,
  KILL,
  KILLED,
  loses,
  MEETS,
  MET,
  PONG,
  RUNNING,
  RUNS,
  SERVING,
  START,
  STARTED,
  STARTS,
  STOPPING,
  Supervised,
  stop,
  THAWS,
  told,
  UNHEALTHY,
} from './supervised.ts'

const CLIENTS = ['10.1.2.3', '10.1.2.3']
const back = (view = {}) => [GONE, connect(view, true)]

const DEAD: WorkloadEvent = { type: 'proved_dead' }

describe('the state of a workload', () => {
  const inState = (state: WorkloadState) => [connect({ ...RUNS, state }, true)]
  const alone = [connect({}, false, { alone: true }), MET, START, STARTED]
  const cutOff: WorkloadEvent = { type: 'gone', byPeer: false }
  const terminating: WorkloadEvent = { type: 'received', message: { type: 'terminating' } }
  const rows: [what: string, inputs: Input[], alive: string, canRun: boolean][] = [
    ['no launcher has connected', [], 'no', false],
    ['a new launcher has not searched for remains yet', [connect()], 'no', false],
    ['a new launcher has searched for remains', MEETS, 'no', true],
    ['the same launcher reconnects', [connect({}, true)], 'no', true],
    ['the launcher is terminating', [...MEETS, terminating], 'no', false],
    ['the next launcher has connected', [...MEETS, terminating, connect({}, true)], 'no', true],
    ['the launcher is silent', [...MEETS, ...beats(4)], 'no', false],
    ['the launcher answers again', [...MEETS, ...beats(5), PONG], 'no', true],
    ['the workload runs', inState('running'), 'yes', false],
    ['the workload is frozen', inState('frozen'), 'yes', false],
    ['the workload is stopping', inState('stopping'), 'yes', false],
    ['the workload is unstoppable', inState('unstoppable'), 'yes', false],
    ['a start was ordered', STARTS, 'yes', false],
    ['the start was refused', [...STARTS, told({ kind: 'start_refused', reason: 'no grant' })], 'no', true],
    ['the start has already been stopped', [...STARTS, told({ kind: 'stopped', durationMs: 1 })], 'no', true],
    ['the start has already been killed', [...STARTS, KILLED], 'no', true],
    ['the launcher prepares its standby first', [...STARTS, told({ kind: 'standby' })], 'yes', false],
    ['another order was refused', [...STARTS, told({ kind: 'grant_refused', reason: 'old' })], 'yes', false],
    ['the launcher of a running workload is gone', [...RUNNING, GONE], 'maybe', false],
    ['the launcher is gone after a start was ordered', [...STARTS, GONE], 'maybe', false],
    [
      'the launcher is gone, and a start is ordered before the next one has searched for remains',
      [...RUNNING, GONE, START, connect()],
      'maybe',
      false,
    ],
    ['an idle launcher is gone', [...MEETS, GONE], 'no', false],
    [
      'another launcher came and went without a search for remains',
      [...RUNNING, GONE, connect(), GONE],
      'maybe',
      false,
    ],
    ['another launcher has not searched for remains yet', [...STARTS, GONE, connect()], 'maybe', false],
    [
      'another launcher prepares a standby before its search for remains',
      [...STARTS, GONE, connect(), told({ kind: 'standby' })],
      'maybe',
      false,
    ],
    ['another launcher has searched for remains', [...STARTS, GONE, connect(), MET], 'no', true],
    ['the same launcher reconnects after a loss of the link', [...RUNNING, ...back()], 'no', true],
    ['the PID namespace ended', [...alone, GONE], 'maybe', false],
    ['its processes are proved dead', [...RUNNING, GONE, DEAD], 'no', false],
    ['a launcher reconnected before that', [...RUNNING, ...back(RUNS), DEAD], 'yes', false],
  ]
  for (const [what, inputs, alive, canRun] of rows)
    test(`has alive ${alive} and canRun ${canRun} if ${what}`, () => {
      const { workload } = new Supervised(inputs)
      assert.deepEqual([workload.alive, workload.canRun], [alive, canRun])
    })

  test('the death of a PID namespace is awaited if the launcher was alone and closed the link itself', () => {
    const waits = (...inputs: Input[]) => new Supervised(inputs).of('await_death').length
    assert.equal(waits(...alone, GONE), 1)
    assert.equal(waits(...alone, cutOff), 0)
    assert.equal(waits(...RUNNING, GONE), 0)
  })

  test('a workload that is proved dead keeps its term and counts in the report', () => {
    const { record } = new Supervised([...alone, GONE, DEAD])
    assert.deepEqual(record.view, { ...NOTHING, epoch: 3, identity: 'me' })
  })
})

const DRAIN: WorkloadEvent = { type: 'drain', drainDeadline: 1_027_500, graceMs: 0 }
/** The first look at open connections after LangFlow may be sent SIGTERM, 3 s before the end of the drain. */
const ENDABLE: Input[] = [
  DRAIN,
  { type: 'gate_closed', open: CLIENTS },
  4_000,
  { type: 'looked', open: CLIENTS },
]

describe('a launcher gets', () => {
  const start = { type: 'start', epoch: 3 }
  const prepare = { type: 'prepare' }
  const serves = (yes: boolean): WorkloadEvent => ({ type: 'leader_serves', serves: yes })
  const sends = (graceMs: number) => [{ type: 'stop', graceMs }]
  const rows: [what: string, before: Input[], then: Input[], orders: object[]][] = [
    ['a start', MEETS, [START], [start]],
    ['no second start when it reconnects', STARTS, back(), []],
    ['the stop again when it reconnects', [...MEETS, ...stop(5_000)], back(), sends(5_000)],
    ['the kill again when it reconnects', [...MEETS, KILL], back(), [KILL]],
    [
      'no stop again when it reconnects, if a start has followed',
      [...MEETS, ...stop(5_000), START],
      back(),
      [],
    ],
    ['no earlier order if it is a new launcher', [...MEETS, KILL, GONE], [connect()], []],
    [
      'one order to prepare when the leader begins to serve',
      MEETS,
      [serves(false), serves(true), serves(true)],
      [prepare],
    ],
    ['no order to prepare when it reconnects', [...MEETS, serves(true)], back(), []],
    [
      'an order to prepare at each welcome while the leader serves',
      [...MEETS, serves(true)],
      [MET],
      [prepare],
    ],
    [
      'no order to prepare once the leader has ceased to serve',
      [...MEETS, serves(true), serves(false)],
      [MET],
      [],
    ],
    [
      'an order to prepare when the leader serves again',
      [...MEETS, serves(true), serves(false)],
      [serves(true)],
      [prepare],
    ],
    ['a report that LangFlow is healthy', RUNNING, [HEALTHY], [{ type: 'healthy' }]],
    [
      'a report that LangFlow is healthy after it has reconnected',
      [...SERVING, ...back(RUNS)],
      [HEALTHY],
      [{ type: 'healthy' }],
    ],
    ['a stop with the ordered grace', SERVING, [...stop(30_000)], sends(30_000)],
    ['a stop that cuts off open requests', SERVING, [...stop(30_000, CLIENTS)], sends(CUT_OFF_MS)],
    [
      'a stop that cuts off requests if the open ones are unknown',
      SERVING,
      [...stop(30_000, null)],
      sends(CUT_OFF_MS),
    ],
    ['a stop with a grace shorter than a cut-off', SERVING, [...stop(200, CLIENTS)], sends(200)],
    [
      'a stop that cuts off open requests after the time for them',
      SERVING,
      [...stop(30_000, CLIENTS, 5_000)],
      sends(6_000),
    ],
    [
      'a stop with the rest of the drain and the grace when the drain becomes endable',
      SERVING,
      ENDABLE,
      sends(33_000),
    ],
    ['a stop with 5 s if LangFlow hangs', [...SERVING, HANGS], [...stop(30_000)], sends(5_000)],
    [
      'a stop with less than 5 s if LangFlow hangs and the grace is shorter',
      [...SERVING, HANGS],
      [...stop(200)],
      sends(200),
    ],
    [
      'a stop with the rest of the drain and 5 s if LangFlow hangs',
      [...SERVING, HANGS],
      ENDABLE,
      sends(8_000),
    ],
    [
      'a stop with the full grace if LangFlow no longer hangs',
      [...SERVING, HANGS, HEALTHY],
      [...stop(30_000)],
      sends(30_000),
    ],
    [
      'a stop with the full grace for the next LangFlow after one that hung',
      [...SERVING, HANGS, KILLED, START, STARTED],
      [...stop(30_000)],
      sends(30_000),
    ],
    [
      'a stop without grace if LangFlow lost its worker',
      [...SERVING, loses('worker')],
      [...stop(30_000, CLIENTS)],
      sends(0),
    ],
    [
      'a stop with the full grace if LangFlow lost its master',
      [...SERVING, loses('master')],
      [...stop(30_000)],
      sends(30_000),
    ],
  ]
  for (const [what, before, then, orders] of rows)
    test(what, () => {
      const workload = new Supervised(before)
      workload.orders()
      assert.deepEqual(workload.after(...then).orders(), orders)
    })
})

describe('an order to end a workload', () => {
  const gateOf = (...inputs: Input[]) => new Supervised(inputs).of('close_gate').length
  test('waits for the gate, unless LangFlow serves no request', () => {
    const drained = (...inputs: Input[]) => new Supervised(inputs).of('dispatch').map(({ fact }) => fact.type)
    for (const idle of [
      [...RUNNING],
      [...SERVING, loses('worker')],
      [...SERVING, EXITED],
      [...SERVING, KILLED],
    ]) {
      assert.equal(gateOf(...idle, DRAIN), 0)
      assert.equal(drained(...idle, DRAIN).at(-1), 'drained')
    }
    const [order] = stop(9)
    for (const serves of [SERVING, [...SERVING, loses('master')], [...SERVING, FREEZES], [...SERVING, HANGS]])
      for (const end of [DRAIN, order as WorkloadEvent]) assert.equal(gateOf(...serves, end), 1)
  })

  test('is dropped if a kill or the end of LangFlow comes first', () => {
    for (const first of [KILL, KILLED]) {
      const workload = new Supervised([...SERVING, ...stop(9).slice(0, 1), first])
      workload.orders()
      assert.deepEqual(workload.after({ type: 'gate_closed', open: [] }).orders(), [])
    }
  })

  test('lets a drain wait no longer than until no process is alive', () => {
    const workload = new Supervised([...SERVING, DRAIN, { type: 'gate_closed', open: [] }])
    assert.notEqual(workload.after(told({ kind: 'stopping' }, STOPPING)).record.drain, null)
    assert.equal(workload.after(KILLED).record.drain, null)
  })
})

describe('a failure is', () => {
  const unreaped = told({ kind: 'exited', code: null, signal: 'SIGKILL', unreaped: true }, STOPPING)
  const refused = told({ kind: 'start_refused', reason: 'the port is taken' }, IDLE)
  const gaveUp = [told({ kind: 'frozen' }, FROZEN), told({ kind: 'stopping' }, STOPPING), KILLED]
  const rows: [what: string, inputs: Input[], reason: RegExp, remedy: object | string][] = [
    [
      'an exit, with the time that LangFlow had served',
      [...SERVING, EXITED],
      /ended by itself/,
      { servedMs: 20_000 },
    ],
    [
      'the loss of its worker, with the time that LangFlow had served',
      [...SERVING, loses('worker')],
      /lost its worker/,
      { servedMs: 20_000 },
    ],
    [
      'an unhealthy state, with the time that LangFlow had served',
      [...SERVING, UNHEALTHY],
      /unhealthy: .health: 500/,
      { servedMs: 20_000 },
    ],
    [
      'an exit after a freeze, with the time that LangFlow had served',
      [...SERVING, FREEZES, THAWS, HEALTHY, EXITED],
      /ended/,
      { servedMs: 20_000 },
    ],
    [
      'an exit before LangFlow served after a restart',
      [...SERVING, ...stop(9), KILLED, START, STARTED, EXITED],
      /ended/,
      { servedMs: null },
    ],
    ['an exit before LangFlow served', [...RUNNING, EXITED], /ended/, { servedMs: null }],
    ['the end of its launcher', [...MEETS, GONE], /launcher is gone/, 'handover'],
    ['the silence of its launcher', [...RUNNING, ...beats(9)], /launcher does not answer/, 'handover'],
    ['a refused start', [...STARTS, refused], /not started: the port is taken/, 'handover'],
    ['the end of its reaper', [...SERVING, unreaped], /tini, was killed/, 'handover'],
    ['a stop that was not ordered', [...SERVING, KILLED], /stopped LangFlow by its own clock/, 'handover'],
    ['a start that the launcher gave up in doubt', [...STARTS, ...gaveUp], /cancelled the start/, 'restart'],
    [
      'a second kill if only the first one was ordered',
      [...SERVING, KILL, KILLED, START, STARTED, KILLED],
      /by its own clock/,
      'handover',
    ],
  ]
  for (const [what, inputs, reason, remedy] of rows)
    test(what, () => {
      const { failures } = new Supervised(inputs)
      assert.equal(failures.length, 1)
      assert.match(failures[0]?.reason ?? '', reason)
      assert.deepEqual(failures[0]?.remedy, remedy)
    })

  test('neither an ordered end nor the silence of an idle launcher', () => {
    for (const inputs of [
      [...SERVING, ...stop(5_000), KILLED],
      [...SERVING, KILL, KILLED],
      [...MEETS, ...beats(9)],
    ])
      assert.deepEqual(new Supervised(inputs).failures, [])
  })

  test('the fourth unanswered heartbeat, once for each silence', () => {
    const workload = new Supervised(RUNNING)
    for (const failures of [1, 2]) {
      assert.equal(workload.after(...beats(3)).record.launcher.state, 'connected')
      assert.equal(workload.after(...beats(1)).record.launcher.state, 'silent')
      assert.equal(workload.after(...beats(9)).failures.length, failures)
      assert.equal(workload.after(PONG).record.launcher.state, 'connected')
    }
  })
})

describe('the agent', () => {
  const cases: [what: string, inputs: Input[], reclaims: RegExp | null][] = [
    ['is silent', [...RUNNING, ...beats(4)], /does not answer/],
    ['is gone', [...RUNNING, GONE], /is gone/],
    ['is gone and had no workload', [...MEETS, GONE], null],
    ['has half a kill margin to confirm a kill', [...RUNNING, KILL, 499], null],
    ['did not confirm a kill', [...RUNNING, KILL, 500], /did not confirm/],
    [
      'did not confirm a kill in time, although it was ordered again',
      [...RUNNING, KILL, 400, KILL, 100],
      /did not confirm/,
    ],
    ['has half a kill margin again after another start', [...RUNNING, KILL, 400, START, KILL, 499], null],
    ['confirmed the kill', [...RUNNING, KILL, KILLED, 1_000], null],
    ['was ordered to start again', [...RUNNING, KILL, START, 1_000], null],
    ['had no workload to kill', [...MEETS, KILL, START, 1_000], null],
  ]
  for (const [what, inputs, reclaims] of cases)
    test(`${reclaims === null ? 'waits' : 'kills the workload in `run`, and waits in a pod,'} if the launcher ${what}`, () => {
      const [reclaim, ...more] = new Supervised(inputs, true).of('reclaim')
      assert.deepEqual([reclaim !== undefined, more], [reclaims !== null, []])
      if (reclaims !== null) assert.match(reclaim?.reason ?? '', reclaims)
      assert.deepEqual(new Supervised(inputs).of('reclaim'), [])
    })
})

describe('the status of a workload', () => {
  test('shows what the launcher reports', () => {
    const workload = new Supervised([...MEETS, connect({}, true, { langflow: '1.13.0' }), START, STARTED])
    const { epoch, identity, killAt, failed, stopFailed } = workload.workload
    assert.deepEqual([epoch, identity, killAt, failed, stopFailed], [3, 'me', 9, null, null])
    assert.equal(workload.after(loses('worker')).workload.failed, 'LangFlow lost its worker (pid 7)')
    const unstoppable = told(
      { kind: 'stop_failed', reason: 'pid 42 lives' },
      { ...RUNS, state: 'unstoppable' },
    )
    assert.match(workload.after(unstoppable).workload.stopFailed ?? '', /could not be stopped/)
    assert.match(workload.of('log').at(-1)?.text ?? '', /ALARM: pid 42 lives/)
    assert.match(workload.after(GONE).workload.stopFailed ?? '', /could not be stopped/)
    assert.match(new Supervised([...RUNNING, GONE]).workload.stopFailed ?? '', /may still be alive/)
  })

  test('keeps the reports of a launcher that is away, until another one connects', () => {
    const digests = { flows: '0123456789ab', secretKey: '01234567', inputs: '0123456789abcdef' }
    const refused = told({ kind: 'grant_refused', reason: 'it has expired' })
    const workload = new Supervised([connect({}, false, { langflow: '1.13.0' }), MET, refused])
    workload.after({ type: 'received', message: { type: 'digests', digests } }, GONE)
    const { record } = workload
    assert.deepEqual([workload.workload.langflow, workload.workload.inputs], ['1.13.0', digests.inputs])
    assert.equal(record.launcher.refusedGrant, 'the launcher refuses grants: it has expired')
    workload.after(connect())
    assert.deepEqual([workload.workload.langflow, workload.workload.inputs], [null, null])
    assert.equal(workload.record.launcher.refusedGrant, null)
    const accepts = new Supervised([...MEETS, refused, told({ kind: 'grant_accepted' })])
    assert.equal(accepts.record.launcher.refusedGrant, null)
  })

  test('is prepared if the standby has the configured mode and is ready', () => {
    const cases: [StandbyMode, Partial<StandbyView>, prepared: boolean][] = [
      ['cold', {}, true],
      ['warm', { mode: 'warm', state: 'ready' }, true],
      ['warm', {}, false],
      ['warm', { mode: 'warm', state: 'preparing' }, false],
    ]
    for (const [wanted, standby, prepared] of cases) {
      const { record } = new Supervised([connect({ standby: { ...COLD, ...standby } }, true)])
      assert.equal(workloadOf(wanted, record).prepared, prepared)
    }
  })

  test('is well while the probes and the launcher answer and no process is lost', () => {
    const cases: [Input[], well: boolean, failed?: RegExp][] = [
      [RUNNING, false],
      [SERVING, true],
      [[...SERVING, UNHEALTHY], false],
      [[...SERVING, ...beats(4)], false],
      [[...SERVING, ...beats(4), PONG], true],
      [[...SERVING, loses('worker')], false, /worker/],
      [[...SERVING, loses('worker'), HEALTHY], true],
      [[...SERVING, loses('master'), HEALTHY], false, /master/],
    ]
    for (const [inputs, well, failed] of cases) {
      const { workload } = new Supervised(inputs)
      assert.equal(workload.well, well)
      if (failed === undefined) assert.equal(workload.failed, null)
      else assert.match(workload.failed ?? '', failed)
    }
  })
})

describe('the health of a workload', () => {
  const timeouts = (workload: Supervised) =>
    workload.failures.filter(({ reason }) => /within 60 s/.test(reason)).length

  test('is after a thaw what it was before the freeze, and is probed immediately', () => {
    const workload = new Supervised([...RUNNING, FREEZES, THAWS])
    assert.equal(isHealthy(workload.record), false)
    assert.equal(isHealthy(workload.after(HEALTHY, FREEZES).record), false)
    assert.equal(isHealthy(workload.after(THAWS).record), true)
    assert.equal(workload.record.probed, 'healthy')
    assert.equal(isHealthy(workload.after(told({ kind: 'stopping' }, STOPPING)).record), false)
  })

  test('is probed again after the loss of its worker', () => {
    const workload = new Supervised([...SERVING, loses('worker')])
    assert.deepEqual([workload.record.probed, isHealthy(workload.record)], ['served', false])
  })

  test('must follow within one start timeout of the order, including waits and doubt', () => {
    const waits = [...STARTS, told({ kind: 'standby' }), 40_000]
    const workload = new Supervised([...waits, STARTED, 10_000, FREEZES, 4_000, THAWS, 5_999])
    assert.equal(timeouts(workload), 0)
    assert.equal(timeouts(workload.after(1)), 1)
    assert.equal(timeouts(new Supervised([...waits, 20_000])), 1)
  })

  test('is reported as a failure repeatedly while a start takes too long', () => {
    const workload = new Supervised([...RUNNING, 65_000])
    assert.equal(timeouts(workload), 2)
    assert.equal(timeouts(workload.after(HEALTHY, 60_000)), 2)
  })

  test('is taken over by a restarted agent with its times', () => {
    const found = (view: object, orderedAgo: number | null, servedAgo: number | null) => {
      const ago = (ms: number | null) => (ms === null ? null : 1_000_000 - ms)
      const its = { ...RUNS, orderedAt: ago(orderedAgo), servedSince: ago(servedAgo) }
      return new Supervised([connect({ ...its, ...view }, true), told({ kind: 'thawed' }, its)])
    }
    const unknown = found({}, null, null)
    assert.equal(unknown.record.probed, 'starting')
    assert.deepEqual([timeouts(unknown.after(59_999)), timeouts(unknown.after(1))], [0, 1])
    const late = found({}, 59_000, null)
    assert.deepEqual([timeouts(late.after(999)), timeouts(late.after(1))], [0, 1])
    for (const view of [{}, { state: 'frozen' }]) {
      const served = found(view, 70_000, 20_000)
      assert.equal(served.record.probed, 'served')
      assert.deepEqual(served.after(UNHEALTHY).failures.at(-1)?.remedy, { servedMs: 20_000 })
    }
  })

  test('is measured as part of a takeover only if this agent ordered the start', () => {
    const measured = (inputs: Input[]) =>
      new Supervised(inputs).of('measured').map(({ what, ms }) => [what, ms])
    assert.deepEqual(measured([...STARTS, 30, STARTED, 500, HEALTHY, UNHEALTHY, HEALTHY]), [
      ['start', 30],
      ['healthy', 500],
    ])
    assert.deepEqual(measured([connect(RUNS, true), HEALTHY, ...stop(5_000), KILLED]), [['stopped', 5]])
  })
})
