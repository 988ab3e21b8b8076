import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import {
  COLD,
  CUT_OFF_MS,
  NOTHING,
  type StandbyMode,
  type StandbyView,
} from '../../agent/link/link-messages.ts'
import type { WorkloadEvent } from '../../agent/supervisor/workload-record.ts'
import {
  ANSWERS,
  beats,
  connect,
  EXITED,
  FREEZES,
  FROZEN,
  GONE,
  HANGS,
  HEALTHY,
  type Input,
  KILL,
  KILLED,
  loses,
  MEETS,
  MET,
  PONG,
  RUNNING,
  RUNS,
  reports,
  SERVING,
  SILENT,
  START,
  STARTED,
  STARTS,
  STOPPING,
  Supervised,
  stop,
  THAWS,
  UNHEALTHY,
  used,
} from './supervised.ts'

const CLIENTS = 2
const DEAD: WorkloadEvent = { type: 'proved_dead' }
const DRAIN: WorkloadEvent = { type: 'drain', drainDeadline: 1_027_500, graceMs: 0 }
const CLOSED: WorkloadEvent = { type: 'gate_closed', open: CLIENTS }
/** The first look at open connections after LangFlow may be sent SIGTERM, 3 s before the end of the drain. */
const LOOKED: WorkloadEvent = { type: 'looked', open: CLIENTS }
const ENDABLE: Input[] = [DRAIN, CLOSED, 4_000, LOOKED]
const ALONE = [connect({}, false, { alone: true }), MET, START, STARTED]
const STANDBY = reports({ kind: 'standby' })
const TERMINATING: WorkloadEvent = { type: 'received', message: { type: 'terminating' } }
const serves = (yes: boolean): WorkloadEvent => ({ type: 'leader_serves', serves: yes })
const back = (view = {}) => [GONE, connect(view, true)]

describe('the state of a workload', () => {
  const found = (view: object) => [connect({ ...RUNS, ...view }, true)]
  const rows: [what: string, inputs: Input[], alive: string, canRun: boolean][] = [
    ['no launcher has connected', [], 'no', false],
    ['a new launcher has not searched for remains yet', [connect()], 'no', false],
    ['a new launcher has searched for remains', MEETS, 'no', true],
    ['the same launcher reconnects', [connect({}, true)], 'no', true],
    ['the launcher is terminating', [...MEETS, TERMINATING], 'no', false],
    ['the next launcher has connected', [...MEETS, TERMINATING, connect({}, true)], 'no', true],
    ['the launcher is silent', [...MEETS, ...beats(4)], 'no', false],
    ['the launcher answers again', [...MEETS, ...beats(5), PONG], 'no', true],
    ['the workload runs', found({}), 'yes', false],
    ['the workload is frozen', found({ state: 'frozen' }), 'yes', false],
    ['the workload is stopping', found({ state: 'stopping' }), 'yes', false],
    ['the workload is unstoppable', found({ state: 'unstoppable' }), 'yes', false],
    ['a start was ordered', STARTS, 'yes', false],
    ['the start was refused', [...STARTS, reports({ kind: 'start_refused', reason: 'why' })], 'no', true],
    ['the start was stopped', [...STARTS, reports({ kind: 'stopped', durationMs: 1 })], 'no', true],
    ['the start was killed', [...STARTS, KILLED], 'no', true],
    ['the launcher prepares its standby first', [...STARTS, STANDBY], 'yes', false],
    ['another was refused', [...STARTS, reports({ kind: 'grant_refused', reason: 'old' })], 'yes', false],
    ['the launcher of a running workload is gone', [...RUNNING, GONE], 'maybe', false],
    ['the launcher is gone after a start was ordered', [...STARTS, GONE], 'maybe', false],
    ['a start is ordered while the launcher is gone', [...RUNNING, GONE, START, connect()], 'maybe', false],
    ['an idle launcher is gone', [...MEETS, GONE], 'no', false],
    ['another launcher came and went before its search', [...RUNNING, GONE, connect(), GONE], 'maybe', false],
    ['another launcher has not searched for remains yet', [...STARTS, GONE, connect()], 'maybe', false],
    ['another launcher prepares a standby first', [...STARTS, GONE, connect(), STANDBY], 'maybe', false],
    ['another launcher has searched for remains', [...STARTS, GONE, connect(), MET], 'no', true],
    ['the same launcher reconnects after a loss of the link', [...RUNNING, ...back()], 'no', true],
    ['the PID namespace ended', [...ALONE, GONE], 'maybe', false],
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
    const cutOff: WorkloadEvent = { type: 'gone', byPeer: false }
    assert.deepEqual([waits(...ALONE, GONE), waits(...ALONE, cutOff), waits(...RUNNING, GONE)], [1, 0, 0])
  })

  test('a workload that is proved dead keeps its term and counts in the report', () => {
    const { record } = new Supervised([...ALONE, GONE, DEAD])
    assert.deepEqual(record.view, { ...NOTHING, epoch: 3, identity: 'me' })
  })
})

describe('a launcher gets', () => {
  const sends = (graceMs: number) => [{ type: 'stop', graceMs }]
  const prepare = [{ type: 'prepare' }]
  const healthy = [{ type: 'healthy' }]
  const rows: [what: string, before: Input[], then: Input[], orders: object[]][] = [
    ['a start', MEETS, [START], [{ type: 'start', epoch: 3 }]],
    ['no second start when it reconnects', STARTS, back(), []],
    ['the stop again when it reconnects', [...MEETS, ...stop(5_000)], back(), sends(5_000)],
    ['the kill again when it reconnects', [...MEETS, KILL], back(), [KILL]],
    ['no stop again if a start has followed', [...MEETS, ...stop(5_000), START], back(), []],
    ['no earlier order if it is a new launcher', [...MEETS, KILL, GONE], [connect()], []],
    ['one order to prepare', MEETS, [serves(false), serves(true), serves(true)], prepare],
    ['no order to prepare when it reconnects', [...MEETS, serves(true)], back(), []],
    ['an order to prepare at each welcome while the leader serves', [...MEETS, serves(true)], [MET], prepare],
    ['no order to prepare after that', [...MEETS, serves(true), serves(false)], [MET], []],
    ['another order to prepare later', [...MEETS, serves(true), serves(false)], [serves(true)], prepare],
    ['a report that LangFlow is healthy', RUNNING, [HEALTHY], healthy],
    ['that report again after it has reconnected', [...SERVING, ...back(RUNS)], [HEALTHY], healthy],
    ['a stop with the ordered grace', SERVING, stop(30_000), sends(30_000)],
    ['a stop that cuts off open requests', SERVING, stop(30_000, CLIENTS), sends(CUT_OFF_MS)],
    ['the same if the open ones are unknown', SERVING, stop(30_000, null), sends(CUT_OFF_MS)],
    ['a stop with a grace shorter than a cut-off', SERVING, stop(200, CLIENTS), sends(200)],
    ['a stop with the rest of the drain and the grace', SERVING, ENDABLE, sends(33_000)],
    ['no stop in a drain while LangFlow is frozen', [...SERVING, FREEZES], ENDABLE, []],
    ['that stop after a thaw', [...SERVING, FREEZES, ...ENDABLE, THAWS], [LOOKED], sends(33_000)],
    ['a stop with 5 s if LangFlow hangs', [...SERVING, HANGS], stop(30_000), sends(5_000)],
    ['a stop with the shorter grace if LangFlow hangs', [...SERVING, HANGS], stop(200), sends(200)],
    ['the rest of the drain and 5 s if LangFlow hangs', [...SERVING, HANGS], ENDABLE, sends(8_000)],
    ['the full grace if LangFlow no longer hangs', [...SERVING, HANGS, HEALTHY], stop(30_000), sends(30_000)],
    ['the next grace', [...SERVING, HANGS, KILLED, START, STARTED], stop(30_000), sends(30_000)],
    ['no grace if LangFlow lost its worker', [...SERVING, loses('worker')], stop(30_000, CLIENTS), sends(0)],
    ['the full grace without a master', [...SERVING, loses('master')], stop(30_000), sends(30_000)],
  ]
  for (const [what, before, then, orders] of rows)
    test(what, () => {
      const workload = new Supervised(before)
      workload.orders()
      assert.deepEqual(workload.after(...then).orders(), orders)
    })
})

describe('an order to end a workload', () => {
  const waitsForGate = (...inputs: Input[]) => new Supervised(inputs).of('close_gate').length === 1
  const [STOP] = stop(9) as [WorkloadEvent]

  test('waits for the gate, unless LangFlow serves no request', () => {
    for (const idle of [RUNNING, [...SERVING, loses('worker')], [...SERVING, EXITED], [...SERVING, KILLED]]) {
      const workload = new Supervised([...idle, DRAIN])
      assert.equal(workload.of('close_gate').length, 0)
      assert.equal(workload.of('dispatch').at(-1)?.fact.type, 'drained')
    }
    for (const busy of [SERVING, [...SERVING, loses('master')], [...SERVING, FREEZES], [...SERVING, HANGS]])
      for (const end of [DRAIN, STOP]) assert.ok(waitsForGate(...busy, end))
  })

  test('is dropped if a kill or the end of LangFlow comes first', () => {
    for (const first of [KILL, KILLED]) {
      const workload = new Supervised([...SERVING, STOP, first])
      workload.orders()
      assert.deepEqual(workload.after(CLOSED).orders(), [])
    }
  })

  test('lets a drain wait no longer than until no process is alive', () => {
    const workload = new Supervised([...SERVING, DRAIN, CLOSED])
    assert.notEqual(workload.after(reports({ kind: 'stopping' }, STOPPING)).record.drain, null)
    assert.equal(workload.after(KILLED).record.drain, null)
    const lost = new Supervised([...SERVING, DRAIN, CLOSED, loses('worker'), LOOKED])
    assert.equal(lost.of('dispatch').at(-1)?.fact.type, 'drained')
  })
})

describe('a failure is', () => {
  const unreaped = reports({ kind: 'exited', code: null, signal: 'SIGKILL', unreaped: true }, STOPPING)
  const refused = reports({ kind: 'start_refused', reason: 'the port is taken' })
  const gaveUp = [FREEZES, reports({ kind: 'stopping' }, STOPPING), KILLED]
  const served = { servedMs: 20_000 }
  const never = { servedMs: null }
  const rows: [what: string, inputs: Input[], code: string, remedy: object | string][] = [
    ['an exit', [...SERVING, EXITED], 'workload_exited', served],
    ['the loss of its worker', [...SERVING, loses('worker')], 'workload_lost', served],
    ['an unhealthy state', [...SERVING, UNHEALTHY], 'workload_unhealthy', served],
    ['an exit after a freeze', [...SERVING, FREEZES, THAWS, HEALTHY, EXITED], 'workload_exited', served],
    [
      'an early exit',
      [...SERVING, ...stop(9), KILLED, START, STARTED, EXITED],
      'workload_exited',
      { servedMs: null },
    ],
    ['an exit before LangFlow served', [...RUNNING, EXITED], 'workload_exited', never],
    ['the end of its launcher', [...MEETS, GONE], 'launcher_gone', 'handover'],
    ['the silence of its launcher', [...RUNNING, ...beats(9)], 'launcher_silent', 'handover'],
    ['a refused start', [...STARTS, refused], 'start_refused', 'handover'],
    ['the end of its reaper', [...SERVING, unreaped], 'workload_exited', 'handover'],
    ['a stop that was not ordered', [...SERVING, KILLED], 'deadman', 'handover'],
    ['a start that the launcher gave up in doubt', [...STARTS, ...gaveUp], 'deadman', 'restart'],
    ['a second kill', [...SERVING, KILL, KILLED, START, STARTED, KILLED], 'deadman', 'handover'],
  ]
  for (const [what, inputs, code, remedy] of rows)
    test(what, () => {
      const failures = new Supervised(inputs).of('fail').map(({ why, remedy }) => [why.code, remedy])
      assert.deepEqual(failures, [[code, remedy]])
    })

  test('neither an ordered end nor the silence of an idle launcher', () => {
    for (const inputs of [
      [...SERVING, ...stop(5_000), KILLED],
      [...SERVING, KILL, KILLED],
      [...MEETS, ...beats(9)],
    ])
      assert.deepEqual(new Supervised(inputs).of('fail'), [])
  })

  test('the fourth unanswered heartbeat, once for each silence', () => {
    const workload = new Supervised(RUNNING)
    for (const failures of [1, 2]) {
      assert.equal(workload.after(...beats(3)).record.launcher.state, 'connected')
      assert.equal(workload.after(...beats(1)).record.launcher.state, 'silent')
      assert.equal(workload.after(...beats(9)).of('fail').length, failures)
      assert.equal(workload.after(PONG).record.launcher.state, 'connected')
    }
  })
})

describe('a LangFlow that does not answer /health', () => {
  /** A row of probes, which takes 6 s. `readings`: at the end of each probe. */
  const row = (...[first = null, second = null, last = null]: (number | null)[]): Input[] => {
    const probe = (cpuMs: number | null, ms: number) => [SILENT, used(cpuMs), ms]
    return [...probe(first, 3_000), ...probe(second, 3_000), ...probe(last, 0), HANGS]
  }
  const WORKS = row(5_000, 5_300, 5_600)
  const BUSY = [...SERVING, ...WORKS]
  const answered = (answeredAt: number) => [...SERVING, ...row().slice(0, -1), { ...HANGS, answeredAt }]
  const found = [connect({ ...RUNS, orderedAt: 1, servedSince: 2 }, true)]
  const BEGAN = 1_020_500 // when the first probe of a LangFlow that serves is given up
  const rows: [what: string, inputs: Input[], failures: 0 | 1][] = [
    ['has not failed if it used a tenth of a core', BUSY, 0],
    ['has failed if it used less', [...SERVING, ...row(5_000, 5_300, 5_590)], 1],
    ['has failed if nothing was measured, as by an older launcher', [...SERVING, ...row()], 1],
    ['has failed if only one reading arrived', [...SERVING, ...row(5_000)], 1],
    ['has failed if two readings are too close', [...SERVING, SILENT, used(0), 5, used(40), HANGS], 1],
    ['has not failed if its answers reached the front', answered(BEGAN + 1), 0],
    ['has failed if they reached the front before', answered(BEGAN), 1],
    ['has failed if it refuses connections', [...SERVING, ...WORKS.slice(0, -1), UNHEALTHY], 1],
    [
      'has failed if it worked in an earlier row only',
      [...SERVING, ...row(0, 3e3, 6e3), 3_000, ...row(6e3, 6e3, 6e3)],
      1,
    ],
    ['has not failed while it works', [...BUSY, 3_000, ...row(5_900, 6_200, 6_500)], 0],
    ['has the whole busy timeout', [...BUSY, 23_999], 0],
    ['has failed after the busy timeout', [...BUSY, 24_000], 1],
    ['has that time again once it has answered', [...BUSY, 20_000, ANSWERS, ...WORKS, 23_999], 0],
    ['has that time again after a doubt', [...BUSY, FREEZES, THAWS, 60_000], 0],
    ['has that time again after the loss of its worker', [...BUSY, loses('worker'), 60_000], 0],
    ['has that time again once it is healthy', [...found, ...WORKS, HEALTHY, 60_000], 0],
    ['is not judged while it is stopped', [...BUSY, ...stop(9), 60_000, KILLED], 0],
    ['has the same time beside a restarted agent', [...found, ...WORKS, 23_999], 0],
    ['has failed after that time', [...found, ...WORKS, 24_000], 1],
    ['has failed beside a restarted agent as before', [...found, ...row(5_000, 5_000, 5_000)], 1],
  ]
  for (const [what, inputs, failures] of rows)
    test(what, () => {
      const codes = new Supervised(inputs).of('fail').map(({ why }) => why.code)
      assert.equal(codes.filter((code) => code === 'workload_unhealthy').length, failures)
    })

  test('is measured at each probe and heartbeat until it answers', () => {
    const workload = new Supervised(SERVING)
    const asked = (...inputs: Input[]) => {
      workload.effects = []
      return workload
        .after(...inputs)
        .of('send')
        .filter(({ message }) => message.type === 'measure').length
    }
    assert.deepEqual([asked(...beats(1)), asked(SILENT), asked(...beats(2))], [0, 1, 2])
    assert.deepEqual([asked(ANSWERS, PONG, ...beats(1)), asked(SILENT, KILL, ...beats(1))], [0, 1])
  })

  test('stays healthy while it works, and shows for how long and with which CPU time', () => {
    const workload = new Supervised(BUSY)
    assert.deepEqual([workload.status.healthy, workload.workload.well], [true, true])
    assert.deepEqual(workload.status.busy, { ms: 6_000, cpuMs: 600 })
    assert.equal(workload.after(ANSWERS).status.busy, null)
    const hung = workload.after(...WORKS, 24_000)
    assert.deepEqual([hung.status.healthy, hung.status.busy, hung.record.probed], [false, null, 'served'])
    hung.orders()
    assert.deepEqual(hung.after(...stop(30_000)).orders(), [{ type: 'stop', graceMs: 5_000 }])
  })
})

describe('the agent', () => {
  for (const [what, inputs, reclaims] of [
    ['is silent', [...RUNNING, ...beats(4)], true],
    ['is gone', [...RUNNING, GONE], true],
    ['is gone and had no workload', [...MEETS, GONE], false],
    ['has half a kill margin to confirm a kill', [...RUNNING, KILL, 499], false],
    ['did not confirm a kill', [...RUNNING, KILL, 500], true],
    ['did not confirm a kill that was ordered again', [...RUNNING, KILL, 400, KILL, 100], true],
    ['has half a kill margin again after another start', [...RUNNING, KILL, 400, START, KILL, 499], false],
    ['confirmed the kill', [...RUNNING, KILL, KILLED, 1_000], false],
    ['was ordered to start again', [...RUNNING, KILL, START, 1_000], false],
    ['had no workload to kill', [...MEETS, KILL, START, 1_000], false],
  ] as [string, Input[], boolean][])
    test(`${reclaims ? 'kills the workload in `run`, and waits in a pod,' : 'waits'} if the launcher ${what}`, () => {
      assert.equal(new Supervised(inputs, true).of('reclaim').length, Number(reclaims))
      assert.deepEqual(new Supervised(inputs).of('reclaim'), [])
    })
})

describe('the status of a workload', () => {
  test('shows what the launcher reports', () => {
    const workload = new Supervised([...MEETS, connect({}, true, { langflow: '1.13.0' }), START, STARTED])
    const { epoch, identity, killAt, failed, stopFailed } = workload.workload
    assert.deepEqual([epoch, identity, killAt, failed, stopFailed], [3, 'me', 9, null, null])
    assert.notEqual(workload.after(loses('worker')).workload.failed, null)
    workload.after(reports({ kind: 'stop_failed', reason: 'pid 42' }, { ...RUNS, state: 'unstoppable' }))
    const unstopped = workload.workload.stopFailed
    assert.deepEqual([unstopped === null, workload.of('log').at(-1)?.level], [false, 'error'])
    assert.equal(workload.after(GONE).workload.stopFailed, unstopped)
    const orphaned = new Supervised([...RUNNING, GONE]).workload.stopFailed
    assert.ok(orphaned !== null && orphaned !== unstopped)
  })

  test('keeps the reports of a launcher that is away, until another one connects', () => {
    const digests = { flows: '0123456789ab', secretKey: '01234567', inputs: '0123456789abcdef' }
    const refused = reports({ kind: 'grant_refused', reason: 'it has expired' })
    const workload = new Supervised([connect({}, false, { langflow: '1.13.0' }), MET, refused])
    workload.after({ type: 'received', message: { type: 'digests', digests } }, GONE)
    const values = () => {
      const { langflow, inputs } = workload.workload
      return [langflow, inputs, workload.record.launcher.refusedGrant !== null]
    }
    assert.deepEqual(values(), ['1.13.0', digests.inputs, true])
    workload.after(connect())
    assert.deepEqual(values(), [null, null, false])
    assert.deepEqual(
      new Supervised([...MEETS, refused, reports({ kind: 'grant_accepted' })]).status.refusedGrant,
      null,
    )
  })

  test('is prepared if the standby has the configured mode and is ready', () => {
    const cases: [StandbyMode, Partial<StandbyView>, prepared: boolean][] = [
      ['cold', {}, true],
      ['warm', { mode: 'warm', state: 'ready' }, true],
      ['warm', {}, false],
      ['warm', { mode: 'warm', state: 'preparing' }, false],
    ]
    for (const [configured, standby, prepared] of cases) {
      const inputs = [connect({ standby: { ...COLD, ...standby } }, true)]
      assert.equal(new Supervised(inputs, false, configured).workload.prepared, prepared)
    }
  })

  test('is well while the probes and the launcher answer and no process is lost', () => {
    const cases: [Input[], well: boolean, failed?: true][] = [
      [RUNNING, false],
      [SERVING, true],
      [[...SERVING, UNHEALTHY], false],
      [[...SERVING, ...beats(4)], false],
      [[...SERVING, ...beats(4), PONG], true],
      [[...SERVING, loses('worker')], false, true],
      [[...SERVING, loses('worker'), HEALTHY], true],
      [[...SERVING, loses('master'), HEALTHY], false, true],
    ]
    for (const [inputs, well, failed = false] of cases) {
      const { workload } = new Supervised(inputs)
      assert.deepEqual([workload.well, workload.failed !== null], [well, failed])
    }
  })

  test('shows whether LangFlow was healthy in its term, also during a restart in place', () => {
    const workload = new Supervised([connect({}, true), START, STARTED])
    assert.equal(workload.status.served, false)
    assert.equal(workload.after(HEALTHY).status.served, true)
    assert.equal(workload.after(KILLED, START, STARTED).status.served, true)
  })
})

describe('the health of a workload', () => {
  const timeouts = (workload: Supervised) =>
    workload.of('fail').filter(({ why }) => why.code === 'start_timeout').length

  test('is after a thaw what it was before the freeze, and is probed immediately', () => {
    const workload = new Supervised([...RUNNING, FREEZES, THAWS])
    assert.deepEqual([workload.status.healthy, workload.record.probed], [false, 'starting'])
    assert.equal(workload.after(HEALTHY, FREEZES).status.healthy, false)
    assert.equal(workload.after(THAWS).status.healthy, true)
    assert.equal(workload.record.probed, 'healthy')
    assert.equal(workload.after(reports({ kind: 'stopping' }, STOPPING)).status.healthy, false)
  })

  test('must follow within one start timeout of the order, including waits and doubt', () => {
    const waits = [...STARTS, STANDBY, 40_000]
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
      return new Supervised([connect({ ...its, ...view }, true), reports({ kind: 'thawed' }, its)])
    }
    const unknown = found({}, null, null)
    assert.equal(unknown.record.probed, 'starting')
    assert.deepEqual([timeouts(unknown.after(59_999)), timeouts(unknown.after(1))], [0, 1])
    const late = found({}, 59_000, null)
    assert.deepEqual([timeouts(late.after(999)), timeouts(late.after(1))], [0, 1])
    for (const view of [{}, FROZEN]) {
      const served = found(view, 70_000, 20_000)
      assert.equal(served.record.probed, 'served')
      assert.deepEqual(served.after(UNHEALTHY).of('fail').at(-1)?.remedy, { servedMs: 20_000 })
    }
  })

  test('is timed as part of a takeover only if this agent ordered the start', () => {
    const took = (inputs: Input[]) =>
      new Supervised(inputs).of('dispatch').map(({ fact }) => fact.type === 'workload_healthy' && fact.took)
    const times = took([...STARTS, 30, STARTED, 500, HEALTHY, UNHEALTHY, HEALTHY])
    assert.deepEqual(times, [{ startMs: 30, healthyMs: 500 }, null])
    assert.deepEqual(took([connect(RUNS, true), HEALTHY]), [null])
  })
})
