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
import {
  isHealthy,
  type Order,
  type WorkloadEvent,
  workloadOf,
} from '../../agent/supervisor/workload-phase.ts'
import {
  beats,
  connect,
  EXITED,
  FREEZES,
  FROZEN,
  GONE,
  GRANT,
  HANGS,
  type Happening,
  HEALTHY,
  IDLE,
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

describe('whether a workload may live, and a launcher could start one', () => {
  const inState = (state: WorkloadState) => [connect({ ...RUNS, state }, true)]
  const alone = [connect({}, false, { alone: true }), MET, START, STARTED]
  const portIs = (free: boolean): WorkloadEvent => ({ type: 'port_checked', free })
  const cutOff: WorkloadEvent = { type: 'gone', byPeer: false }
  const terminating: WorkloadEvent = { type: 'received', message: { type: 'terminating' } }
  const rows: [what: string, happenings: Happening[], alive: string, canRun: boolean][] = [
    ['no launcher has come', [], 'no', false],
    ['a new launcher has not looked yet for what an earlier one left', [connect()], 'no', false],
    ['a new launcher has looked', MEETS, 'no', true],
    ['the same launcher is back', [connect({}, true)], 'no', true],
    ['the launcher was asked to end', [...MEETS, terminating], 'no', false],
    ['the next launcher has come', [...MEETS, terminating, connect({}, true)], 'no', true],
    ['the launcher is silent', [...MEETS, ...beats(4)], 'no', false],
    ['it answers again', [...MEETS, ...beats(5), PONG], 'no', true],
    ['it runs', inState('running'), 'yes', false],
    ['it is frozen', inState('frozen'), 'yes', false],
    ['it is being stopped', inState('stopping'), 'yes', false],
    ['it can not be stopped', inState('unstoppable'), 'yes', false],
    ['its start was ordered', STARTS, 'yes', false],
    ['its start was refused', [...STARTS, told({ kind: 'start_refused', reason: 'no grant' })], 'no', true],
    ['its start has ended already', [...STARTS, told({ kind: 'stopped', durationMs: 1 })], 'no', true],
    ['its start was killed already', [...STARTS, KILLED], 'no', true],
    ['the launcher prepares its standby first', [...STARTS, told({ kind: 'standby' })], 'yes', false],
    ['another order was refused', [...STARTS, told({ kind: 'grant_refused', reason: 'old' })], 'yes', false],
    ['the launcher is gone', [...RUNNING, GONE], 'maybe', false],
    ['the launcher is gone, and was told to start', [...STARTS, GONE], 'maybe', false],
    [
      'the launcher is gone, and a start comes too late',
      [...RUNNING, GONE, START, connect()],
      'maybe',
      false,
    ],
    ['an idle launcher is gone', [...MEETS, GONE], 'no', false],
    ['another one came and went without having looked', [...RUNNING, GONE, connect(), GONE], 'maybe', false],
    ['another one has not looked yet', [...STARTS, GONE, connect()], 'maybe', false],
    [
      'another one prepares before it has looked',
      [...STARTS, GONE, connect(), told({ kind: 'standby' })],
      'maybe',
      false,
    ],
    ['another one has looked', [...STARTS, GONE, connect(), MET], 'no', true],
    ['the same one is back', [...RUNNING, ...back()], 'no', true],
    ['its namespace ends, for less than half a second', [...alone, GONE, 499], 'maybe', false],
    ['its namespace ends, and the port is taken', [...alone, GONE, 500, portIs(false)], 'maybe', false],
    ['its namespace ends, and the port is free', [...alone, GONE, 500, portIs(true)], 'no', false],
    ['a launcher came before the port was looked at', [...alone, ...back(RUNS), portIs(true)], 'yes', false],
    ['the agent itself has killed it', [...RUNNING, GONE, { type: 'reclaimed' }], 'no', false],
    ['a launcher came back before that', [...RUNNING, ...back(RUNS), { type: 'reclaimed' }], 'yes', false],
  ]
  for (const [what, happenings, alive, canRun] of rows)
    test(`${what}: alive ${alive}, can run ${canRun}`, () => {
      const { workload } = new Supervised(happenings)
      assert.deepEqual([workload.alive, workload.canRun], [alive, canRun])
    })

  test('the port is looked at every 50 ms, only where the launcher was alone and has ended by itself', () => {
    const looks = (...happenings: Happening[]) => new Supervised(happenings).of('check_port').length
    assert.equal(looks(...alone, GONE, 500, portIs(false), 50, portIs(false), 49), 2)
    assert.equal(looks(...alone, cutOff, 5_000), 0)
    assert.equal(looks(...RUNNING, GONE, 5_000), 0)
    assert.equal(looks(...alone, ...back(RUNS), 5_000), 0)
  })

  test('what is proved dead keeps the term and the counts that it had', () => {
    const { record } = new Supervised([...alone, GONE, 500, portIs(true)])
    assert.deepEqual(record.view, { ...NOTHING, epoch: 3, identity: 'me' })
  })
})

describe('a launcher is told', () => {
  const start = { type: 'start', epoch: 3 }
  const prepare = { type: 'prepare' }
  const serves = (yes: boolean): WorkloadEvent => ({ type: 'leader_serves', serves: yes })
  const sends = (graceMs: number) => [{ type: 'stop', graceMs }]
  const rows: [what: string, before: Happening[], then: Happening[], orders: object[]][] = [
    ['a grant', MEETS, [GRANT], [GRANT]],
    ['a grant again when it is back', [...MEETS, GRANT], back(), [GRANT]],
    ['a start', MEETS, [START], [start]],
    ['no start again when it is back', STARTS, back(), []],
    [
      'a stop again, and the grant before it',
      [...MEETS, GRANT, stop(5_000)],
      back(),
      [GRANT, ...sends(5_000)],
    ],
    ['a kill again, and no grant', [...MEETS, GRANT, KILL], back(), [KILL]],
    ['no stop again once a start has followed', [...MEETS, stop(5_000), START], back(), []],
    ['nothing again when it is another one', [...MEETS, GRANT, KILL, GONE], [connect()], []],
    ['that the leader serves, once', MEETS, [serves(false), serves(true), serves(true)], [prepare]],
    ['that the leader serves not when it is back', [...MEETS, serves(true)], back(), []],
    ['that the leader serves with each meeting', [...MEETS, serves(true)], [MET], [prepare]],
    ['no longer that the leader serves', [...MEETS, serves(true), serves(false)], [MET], []],
    ['that the leader serves again', [...MEETS, serves(true), serves(false)], [serves(true)], [prepare]],
    ['that LangFlow is healthy', RUNNING, [HEALTHY], [{ type: 'healthy' }]],
    [
      'that LangFlow is healthy again when it is back',
      [...SERVING, ...back(RUNS)],
      [HEALTHY],
      [{ type: 'healthy' }],
    ],
    ['to stop within the grace', SERVING, [stop(30_000)], sends(30_000)],
    ['to cut off what is open', SERVING, [stop(30_000, CLIENTS)], sends(CUT_OFF_MS)],
    ['to cut off what may be open', SERVING, [stop(30_000, null)], sends(CUT_OFF_MS)],
    ['to cut off within a shorter grace', SERVING, [stop(200, CLIENTS)], sends(200)],
    ['to let what is open end within a drain', SERVING, [stop(30_000, CLIENTS, 5_000)], sends(30_000)],
    ['to end a drain that is endable', SERVING, [{ type: 'endable', leftMs: 3_000 }], sends(33_000)],
    ['to stop what hangs within 5 s', [...SERVING, HANGS], [stop(30_000)], sends(5_000)],
    ['to stop what hangs within a shorter grace', [...SERVING, HANGS], [stop(200)], sends(200)],
    ['to stop what hangs 5 s after a drain', [...SERVING, HANGS], [stop(30_000, [], 5_000)], sends(10_000)],
    ['to end a drain of what hangs', [...SERVING, HANGS], [{ type: 'endable', leftMs: 3_000 }], sends(8_000)],
    ['to stop in order what hangs no more', [...SERVING, HANGS, HEALTHY], [stop(30_000)], sends(30_000)],
    [
      'to stop the next one in order',
      [...SERVING, HANGS, KILLED, START, STARTED],
      [stop(30_000)],
      sends(30_000),
    ],
    ['to end at once what lost its worker', [...SERVING, loses('worker')], [stop(30_000, CLIENTS)], sends(0)],
    ['to end in order what lost its master', [...SERVING, loses('master')], [stop(30_000)], sends(30_000)],
  ]
  for (const [what, before, then, orders] of rows)
    test(what, () => {
      const workload = new Supervised(before)
      workload.orders()
      assert.deepEqual(workload.after(...then).orders(), orders)
    })
})

test('a drain is over once nothing lives', () => {
  const drain: Order = { type: 'drain', drainDeadline: 1, graceMs: 0 }
  const waits = new Supervised([...SERVING, drain])
  waits.effects = []
  assert.equal(waits.after(told({ kind: 'stopping' }, STOPPING)).of('end_drain').length, 0)
  assert.equal(waits.after(KILLED).of('end_drain').length, 1)
})

describe('a failure', () => {
  const unreaped = told({ kind: 'exited', code: null, signal: 'SIGKILL', unreaped: true }, STOPPING)
  const refused = told({ kind: 'start_refused', reason: 'the port is taken' }, IDLE)
  const gaveUp = [told({ kind: 'frozen' }, FROZEN), told({ kind: 'stopping' }, STOPPING), KILLED]
  const rows: [what: string, happenings: Happening[], reason: RegExp, remedy: object | string][] = [
    ['its end, by how long it had served', [...SERVING, EXITED], /ended by itself/, { servedMs: 20_000 }],
    [
      'the loss of its worker, likewise',
      [...SERVING, loses('worker')],
      /lost its worker/,
      { servedMs: 20_000 },
    ],
    ['being unhealthy, likewise', [...SERVING, UNHEALTHY], /unhealthy: .health: 500/, { servedMs: 20_000 }],
    [
      'its end, also after a freeze',
      [...SERVING, FREEZES, THAWS, HEALTHY, EXITED],
      /ended/,
      { servedMs: 20_000 },
    ],
    [
      'its end before it served again',
      [...SERVING, stop(9), KILLED, START, STARTED, EXITED],
      /ended/,
      { servedMs: null },
    ],
    ['its end before it served', [...RUNNING, EXITED], /ended/, { servedMs: null }],
    ['the end of its launcher', [...MEETS, GONE], /launcher is gone/, 'handover'],
    ['the silence of its launcher', [...RUNNING, ...beats(9)], /launcher does not answer/, 'handover'],
    ['a start that is refused', [...STARTS, refused], /not started: the port is taken/, 'handover'],
    ['the end of its reaper', [...SERVING, unreaped], /tini, was killed/, 'handover'],
    ['a stop that was not ordered', [...SERVING, KILLED], /stopped LangFlow by itself/, 'handover'],
    ['a start that its launcher gave up in doubt', [...STARTS, ...gaveUp], /gave up a start/, 'restart'],
    [
      'a stop that was ordered in an earlier term',
      [...SERVING, KILL, KILLED, START, STARTED, KILLED],
      /by itself/,
      'handover',
    ],
  ]
  for (const [what, happenings, reason, remedy] of rows)
    test(`is remedied: ${what}`, () => {
      const { failures } = new Supervised(happenings)
      assert.equal(failures.length, 1)
      assert.match(failures[0]?.reason ?? '', reason)
      assert.deepEqual(failures[0]?.remedy, remedy)
    })

  test('is none: an ordered end, or the silence of an idle launcher', () => {
    for (const happenings of [
      [...SERVING, stop(5_000), KILLED],
      [...SERVING, KILL, KILLED],
      [...MEETS, ...beats(9)],
    ])
      assert.deepEqual(new Supervised(happenings).failures, [])
  })

  test('by silence comes with the fourth heartbeat that is not answered, once for each silence', () => {
    const workload = new Supervised(RUNNING)
    for (const failures of [1, 2]) {
      assert.equal(workload.after(...beats(3)).record.launcher.state, 'connected')
      assert.equal(workload.after(...beats(1)).record.launcher.state, 'silent')
      assert.equal(workload.after(...beats(9)).failures.length, failures)
      assert.equal(workload.after(PONG).record.launcher.state, 'connected')
    }
  })
})

describe('a launcher that does nothing any more', () => {
  const cases: [what: string, happenings: Happening[], reclaims: RegExp | null][] = [
    ['is silent', [...RUNNING, ...beats(4)], /does not answer/],
    ['is gone', [...RUNNING, GONE], /is gone/],
    ['is gone and had nothing', [...MEETS, GONE], null],
    ['has half a kill margin to confirm a kill', [...RUNNING, KILL, 499], null],
    ['did not confirm a kill', [...RUNNING, KILL, 500], /did not confirm/],
    ['is not given more time by further kills', [...RUNNING, KILL, 400, KILL, 100], /did not confirm/],
    ['is given time anew by a start', [...RUNNING, KILL, 400, START, KILL, 499], null],
    ['has killed', [...RUNNING, KILL, KILLED, 1_000], null],
    ['is to start again', [...RUNNING, KILL, START, 1_000], null],
    ['had nothing to kill', [...MEETS, KILL, START, 1_000], null],
  ]
  for (const [what, happenings, reclaims] of cases)
    test(`and ${what}: in \`run\` the agent ${reclaims === null ? 'waits' : 'kills it'}, in a pod it waits`, () => {
      const [reclaim, ...more] = new Supervised(happenings, true).of('reclaim')
      assert.deepEqual([reclaim !== undefined, more], [reclaims !== null, []])
      if (reclaims !== null) assert.match(reclaim?.reason ?? '', reclaims)
      assert.deepEqual(new Supervised(happenings).of('reclaim'), [])
    })
})

describe('what is reported', () => {
  test('is what the launcher sees', () => {
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
    assert.match(new Supervised([...RUNNING, GONE]).workload.stopFailed ?? '', /nothing proves yet/)
  })

  test('of a launcher lasts while that is away, and not beyond it', () => {
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

  test('is prepared while what stands by is ready, and as warm as was asked for', () => {
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

  test('is well while its probes and its launcher answer, and it has lost no process', () => {
    const cases: [Happening[], well: boolean, failed?: RegExp][] = [
      [RUNNING, false],
      [SERVING, true],
      [[...SERVING, UNHEALTHY], false],
      [[...SERVING, ...beats(4)], false],
      [[...SERVING, ...beats(4), PONG], true],
      [[...SERVING, loses('worker')], false, /worker/],
      [[...SERVING, loses('worker'), HEALTHY], true],
      [[...SERVING, loses('master'), HEALTHY], false, /master/],
    ]
    for (const [happenings, well, failed] of cases) {
      const { workload } = new Supervised(happenings)
      assert.equal(workload.well, well)
      if (failed === undefined) assert.equal(workload.failed, null)
      else assert.match(workload.failed ?? '', failed)
    }
  })
})

describe('the health of a workload', () => {
  const timeouts = (workload: Supervised) =>
    workload.failures.filter(({ reason }) => /within 60 s/.test(reason)).length

  test('is after a thaw as before its freeze, and asked for again at once', () => {
    const workload = new Supervised([...RUNNING, FREEZES, THAWS])
    assert.equal(isHealthy(workload.record), false)
    assert.equal(isHealthy(workload.after(HEALTHY, FREEZES).record), false)
    assert.equal(isHealthy(workload.after(THAWS).record), true)
    assert.deepEqual(workload.probes, ['starting', 'starting', 'healthy'])
    assert.equal(isHealthy(workload.after(told({ kind: 'stopping' }, STOPPING)).record), false)
  })

  test('is asked anew once it has lost its worker', () => {
    const workload = new Supervised([...SERVING, loses('worker')])
    assert.deepEqual([workload.probes.at(-1), isHealthy(workload.record)], ['served', false])
  })

  test('has one start timeout from the order, however long its launcher waited or was in doubt', () => {
    const waits = [...STARTS, told({ kind: 'standby' }), 40_000]
    const workload = new Supervised([...waits, STARTED, 10_000, FREEZES, 4_000, THAWS, 5_999])
    assert.equal(timeouts(workload), 0)
    assert.equal(timeouts(workload.after(1)), 1)
    assert.equal(timeouts(new Supervised([...waits, 20_000])), 1)
  })

  test('is reported again and again while a start takes too long, until it is healthy', () => {
    const workload = new Supervised([...RUNNING, 65_000])
    assert.equal(timeouts(workload), 2)
    assert.equal(timeouts(workload.after(HEALTHY, 60_000)), 2)
  })

  test('is found by a restarted agent as it was', () => {
    const found = (view: object, orderedAgo: number | null, servedAgo: number | null) => {
      const ago = (ms: number | null) => (ms === null ? null : 1_000_000 - ms)
      const its = { ...RUNS, orderedAt: ago(orderedAgo), servedSince: ago(servedAgo) }
      return new Supervised([connect({ ...its, ...view }, true), told({ kind: 'thawed' }, its)])
    }
    const unknown = found({}, null, null)
    assert.equal(unknown.probes.at(-1), 'starting')
    assert.deepEqual([timeouts(unknown.after(59_999)), timeouts(unknown.after(1))], [0, 1])
    const late = found({}, 59_000, null)
    assert.deepEqual([timeouts(late.after(999)), timeouts(late.after(1))], [0, 1])
    for (const view of [{}, { state: 'frozen' }]) {
      const served = found(view, 70_000, 20_000)
      assert.equal(served.probes.at(-1), 'served')
      assert.deepEqual(served.after(UNHEALTHY).failures.at(-1)?.remedy, { servedMs: 20_000 })
    }
  })

  test('is counted as a takeover where this agent ordered the start', () => {
    const measured = (happenings: Happening[]) =>
      new Supervised(happenings).of('measured').map(({ what, ms }) => [what, ms])
    assert.deepEqual(measured([...STARTS, 30, STARTED, 500, HEALTHY, UNHEALTHY, HEALTHY]), [
      ['start', 30],
      ['healthy', 500],
    ])
    assert.deepEqual(measured([connect(RUNS, true), HEALTHY, stop(5_000), KILLED]), [['stopped', 5]])
  })
})
