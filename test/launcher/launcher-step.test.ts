import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { type Instant, later } from '../../agent/clock.ts'
import {
  INITIAL_RECORD,
  type LauncherEffect,
  type LauncherEvent,
  type LauncherRecord,
  viewOf,
} from '../../agent/launcher/launcher-phase.ts'
import { step } from '../../agent/launcher/launcher-step.ts'
import { CUT_OFF_MS, type Loss } from '../../agent/link/link-messages.ts'

const DOUBT_MS = 10_000
const KILL_MS = 14_000
const STOP_MS = 5_000

interface Granted {
  readonly epoch?: number
  readonly onDoubt?: 'freeze' | 'stop'
  readonly renewedAgo?: number
}

/** The pure step of a launcher, without its loop: takes events in order, and shows the decision of each. */
class Steps {
  private now: Instant = { mono: 1_000_000, boot: 2_000_000, wall: 1_700_000_000_000 }
  record: LauncherRecord = INITIAL_RECORD

  take(event: LauncherEvent): this {
    this.record = step({ stopTimeoutMs: STOP_MS }, this.record, event, this.now)
    return this
  }

  grant({ epoch = 1, onDoubt = 'freeze', renewedAgo = 0 }: Granted = {}): this {
    const renewedAt = later(this.now, -renewedAgo)
    const [doubtAt, killAt] = [later(renewedAt, DOUBT_MS), later(renewedAt, KILL_MS)]
    return this.take({ type: 'grant', grant: { epoch, identity: 'me', doubtAt, killAt, onDoubt } })
  }

  /** Advances these clocks. */
  pass(ms: number, clocks: readonly (keyof Instant)[] = ['mono', 'boot', 'wall']): this {
    this.now = { ...this.now, ...Object.fromEntries(clocks.map((clock) => [clock, this.now[clock] + ms])) }
    return this
  }

  /** Advances these clocks; the launcher then checks them. */
  clockAfter(ms: number, clocks?: readonly (keyof Instant)[]): this {
    return this.pass(ms, clocks).take({ type: 'clock' })
  }

  get mono(): number {
    return this.now.mono
  }

  get phase(): string {
    const { phase } = this.record
    if (phase.name === 'ending') return `ending ${phase.manner}, ${phase.reason}`
    return phase.name === 'frozen' ? `frozen from ${phase.from}` : phase.name
  }

  /** The phase and effects after the last event, without the check of the clocks that nearly every event schedules. */
  get decision(): string {
    const effects = this.record.effects.map(describeEffect).filter((name) => !name.startsWith('check clocks'))
    return effects.length === 0 ? this.phase : `${this.phase}: ${effects.join(', ')}`
  }

  get reasons(): string[] {
    return this.record.effects.flatMap((effect) =>
      effect.type === 'report' && 'reason' in effect.cause ? effect.cause.reason : [],
    )
  }

  /** Ms until SIGKILL follows the SIGTERM. */
  get graceLeft(): number {
    const { phase } = this.record
    assert.ok(phase.name === 'ending' && phase.manner === 'in order')
    return phase.stopDeadline - this.now.mono
  }
}

function describeEffect(effect: LauncherEffect): string {
  if (effect.type === 'report') return `report ${effect.cause.kind}`
  if (effect.type === 'kill' && !effect.isUrgent) return 'kill, tini last'
  return 'afterMs' in effect && effect.afterMs > 0 ? `${effect.type} in ${effect.afterMs}` : effect.type
}

const start = (epoch = 1): LauncherEvent => ({ type: 'start', epoch })
const prepared = (holder: string | null = null): LauncherEvent => ({ type: 'prepared', start: 1, holder })
const launched = (start = 1): LauncherEvent => ({ type: 'launched', start, pid: 42 })
const exited = (start = 1): LauncherEvent => ({ type: 'exited', start, exit: { code: 1, signal: null } })
const stop = (graceMs: number): LauncherEvent => ({ type: 'stop', graceMs })
const stopChecked = (gone = false, start = 1): LauncherEvent => ({ type: 'stop checked', start, gone })
const kill = { type: 'kill' } as const
const leave = { type: 'leave', defect: null } as const
const linkDown = { type: 'link down' } as const
const gone = { type: 'killed', left: null } as const

const idle = () => new Steps().take({ type: 'met', remains: false })
const preparing = (granted?: Granted) => idle().grant(granted).take(start())
const running = (granted?: Granted) => preparing(granted).take(prepared()).take(launched())
const inDoubt = () => running().clockAfter(DOUBT_MS)
const inDoubtEarly = () => preparing().clockAfter(DOUBT_MS)
const stopping = (graceMs = 30_000) => running().take(stop(graceMs))
const stoppingInDoubt = () => running({ onDoubt: 'stop' }).clockAfter(DOUBT_MS)
const killing = () => running().take(kill)

const RESTED = 'idle: rest, prepare standby in 10000, report'
const TAKEN_DOWN = 'report deadman, report stopping, kill'

/** One test for each row: the events, and the phase and effects that follow. */
function play(rows: Record<string, [decided: () => Steps, expected: string]>): void {
  for (const [what, [decided, expected]] of Object.entries(rows))
    test(what, () => assert.equal(decided().decision, expected))
}

describe('a grant', () => {
  const REFUSED: Record<string, [refused: () => Steps, reason: string]> = {
    'older than the one in force': [() => running({ renewedAgo: 5 }).grant({ renewedAgo: 6 }), 'older'],
    'of an earlier epoch': [() => idle().grant({ epoch: 2 }).grant({ epoch: 1 }), 'epoch 1 is over'],
    'that has expired': [() => idle().grant({ renewedAgo: KILL_MS }), 'expired'],
    'while another epoch is alive': [() => running().grant({ epoch: 2 }), 'epoch 1 are still alive'],
    'of an epoch that a kill has ended': [() => killing().take(gone).grant(), 'epoch 1 is over'],
    'of an epoch before one that a kill has ended, also after a second kill': [
      () => idle().grant({ epoch: 3 }).take(kill).take(kill).grant({ epoch: 2 }),
      'epoch 2 is over',
    ],
  }
  for (const [what, [refused, reason]] of Object.entries(REFUSED))
    test(`${what} is refused`, () => {
      const { decision, reasons } = refused()
      assert.match(decision, /: report grant_refused$/)
      assert.ok(reasons[0]?.includes(reason), reasons[0])
    })
  const accepted = 'running: report grant_accepted, check serving'
  const afterExpired = () => running().clockAfter(KILL_MS).take(gone).grant()
  const withRemains = () => new Steps().take({ type: 'met', remains: true })
  play({
    'that is newer, or sent again, is accepted': [
      () => running().pass(1).grant().grant(),
      'running: check serving',
    ],
    'after a refused one is confirmed': [() => running().grant({ epoch: 0 }).grant(), accepted],
    'can follow an expired one of the same epoch': [() => afterExpired().take(start()), 'preparing: prepare'],
    'is accepted beside remains of unknown epoch': [
      () => withRemains().grant({ epoch: 5 }),
      'ending by force, remains',
    ],
  })

  test('that is refused does not change the one in force', () => {
    const { grant } = running().record
    assert.deepEqual(running().grant({ renewedAgo: 1 }).record.grant, grant)
  })
})

describe('a start', () => {
  const refused = 'report start_refused'
  const failed = (gone: boolean) =>
    preparing().take(prepared()).take({ type: 'launch failed', start: 1, reason: 'EMFILE', gone })
  const stoppedEarly = () => preparing().take(prepared()).take(stop(30_000))
  const restarted = () => preparing().take(kill).take(gone).grant({ epoch: 2 }).take(start(2))
  play({
    'is refused without a grant': [() => idle().take(start()), `idle: ${refused}`],
    'is refused in another epoch': [() => idle().grant().take(start(2)), `idle: ${refused}`],
    'is refused in doubt': [() => idle().grant({ renewedAgo: DOUBT_MS }).take(start()), `idle: ${refused}`],
    'is refused after the grant by the wall clock': [
      () => idle().grant().pass(KILL_MS, ['wall']).take(start()),
      `idle: ${refused}`,
    ],
    'is refused while a workload runs': [() => running().take(start()), `running: ${refused}`],
    'is refused while the launcher is leaving': [
      () => stopping().take(leave).take(start()),
      `ending in order, order: ${refused}`,
    ],
    'first waits for its standby and the port': [() => preparing(), 'preparing: prepare'],
    'launches once the port is free': [() => preparing().take(prepared()), 'preparing: launch'],
    'fails if the port is taken': [() => preparing().take(prepared('nginx')), `${RESTED} start_refused`],
    'fails if the grant has ended while it waited': [
      () => preparing().pass(KILL_MS, ['wall']).take(prepared()),
      `${RESTED} start_refused`,
    ],
    'kills the frozen processes if doubt began before the launch': [
      () => inDoubtEarly().take(prepared()),
      'ending by force, failed start: report stopping, discard standby, kill',
    ],
    'continues after a thaw': [() => inDoubtEarly().grant(), 'preparing: thaw, report thawed'],
    'is complete with its first process': [running, 'running: watch serving, report started, check serving'],
    'is over if it failed without a process': [() => failed(true), `${RESTED} start_refused`],
    'kills the processes if it failed after a process existed': [
      () => failed(false),
      'ending by force, failed start: report start_refused, discard standby, kill, tini last',
    ],
    'sends SIGTERM to the new process if a stop was ordered before the launch': [
      () => stoppedEarly().take(launched()),
      'ending in order, order: terminate, watch serving, report started',
    ],
    'does not run if killed': [() => preparing().take(kill).take(launched()), 'ending by force, order'],
    'ignores the late launch of an earlier start': [() => restarted().take(launched(1)), 'preparing'],
  })

  test('keeps the times of its order and of the first healthy answer until its workload is gone', () => {
    const steps = running().pass(5_000).take({ type: 'healthy' }).pass(1_000).take({ type: 'healthy' })
    const { orderedAt, servedSince } = viewOf(steps.record)
    assert.equal((servedSince as number) - (orderedAt as number), 5_000)
    const ended = viewOf(steps.take(kill).take(gone).take({ type: 'healthy' }).record)
    assert.deepEqual([ended.orderedAt, ended.servedSince, ended.pid, ended.epoch], [null, null, null, 1])
  })
})

describe('the deadman', () => {
  const again = (steps: Steps, awake: number) =>
    steps.clockAfter(1_000).take({ type: 'frozen', at: steps.mono, awake })
  const barelyRenewed = () =>
    inDoubt()
      .grant({ renewedAgo: DOUBT_MS - 1 })
      .clockAfter(1)
  const unfreezable = () => inDoubt().take({ type: 'signal failed', reason: 'no' })
  const killed = 'ending by force, doubt: report deadman, kill'
  play({
    'freezes the workload when doubt begins': [inDoubt, 'frozen from running: freeze, report frozen'],
    'freezes again at each check': [() => inDoubt().clockAfter(100), 'frozen from running: freeze'],
    'freezes a start before its launch': [inDoubtEarly, 'frozen from preparing: freeze, report frozen'],
    'kills at the end of the grant': [
      () => inDoubt().clockAfter(4_000),
      `ending by force, grant over: ${TAKEN_DOWN}`,
    ],
    'kills immediately if the machine slept past the end of the grant': [
      () => running().clockAfter(KILL_MS + 100, ['boot', 'wall']),
      `ending by force, grant over: ${TAKEN_DOWN}`,
    ],
    'thaws on a newer grant': [() => inDoubt().grant(), 'running: thaw, report thawed, check serving'],
    'does not thaw on a newer grant whose doubt has already begun': [
      () => barelyRenewed().grant({ renewedAgo: DOUBT_MS }),
      'frozen from running: freeze',
    ],
    'only freezes if the grant is over by the wall clock alone, also with on-doubt=stop': [
      () => running({ onDoubt: 'stop' }).clockAfter(KILL_MS, ['wall']),
      'frozen from running: freeze, report frozen',
    ],
    'does not thaw on an older grant after the wall clock caused the freeze': [
      () => running().clockAfter(KILL_MS, ['wall']).grant({ renewedAgo: KILL_MS }),
      'frozen from running: report grant_refused',
    ],
    'stops in order with on-doubt=stop': [
      stoppingInDoubt,
      'ending in order, doubt: report deadman, report stopping, terminate, check stop',
    ],
    'does not shorten that stop': [() => stoppingInDoubt().clockAfter(3_999), 'ending in order, doubt'],
    'kills after that stop by the wall clock': [() => stoppingInDoubt().clockAfter(4_000, ['wall']), killed],
    'kills if doubt begins during a stop': [() => stopping().clockAfter(DOUBT_MS), killed],
    'kills a stopping workload by the wall clock': [() => stopping().clockAfter(KILL_MS, ['wall']), killed],
    'does not repeat a kill': [() => running().take(exited()).clockAfter(KILL_MS), 'ending by force, exit'],
    'kills a workload that could not be frozen': [unfreezable, `ending by force, doubt: ${TAKEN_DOWN}`],
    'leaves a process alive that one check found awake': [() => again(inDoubt(), 1), 'frozen from running'],
    'kills the workload if two checks in a row find a process awake': [
      () => again(again(inDoubt(), 1), 1),
      `ending by force, doubt: ${TAKEN_DOWN}`,
    ],
    'counts these checks anew after one without': [
      () => again(again(again(inDoubt(), 1), 0), 1),
      'frozen from running',
    ],
    'does nothing while no workload is alive': [() => idle().grant().clockAfter(KILL_MS), 'idle'],
  })

  test('checks the clocks at each deadline of the grant, and every 100 ms between them', () => {
    const next = (steps: Steps) => steps.record.effects.find(({ type }) => type === 'check clocks')
    assert.deepEqual(next(running()), { type: 'check clocks', afterMs: 100 })
    assert.deepEqual(next(running().clockAfter(DOUBT_MS - 30)), { type: 'check clocks', afterMs: 30 })
    assert.deepEqual(next(inDoubt().clockAfter(KILL_MS - DOUBT_MS - 7)), { type: 'check clocks', afterMs: 7 })
  })
})

describe('an end', () => {
  const deaf = { type: 'cut off', supported: false } as const
  const left = { type: 'killed', left: 'it lives' } as const
  const hurried = () => stopping().pass(2_000).take(stop(CUT_OFF_MS))
  const forced = 'ending by force, order: report stopping, kill'
  const begun = 'ending in order, order: report stopping'
  play({
    'is answered if there is no workload': [() => idle().take(stop(3_000)), 'idle: report nothing'],
    'begins with SIGTERM': [stopping, `${begun}, terminate, check stop`],
    'of a start that still waits discards its standby': [
      () => preparing().take(stop(3_000)),
      `${begun}, discard standby, terminate, check stop`,
    ],
    'of a frozen workload is a kill': [() => inDoubt().take(stop(3_000)), forced],
    'during doubt is a kill': [() => running().pass(DOUBT_MS).take(stop(3_000)), forced],
    'is checked': [() => stopping().take(stopChecked()), 'ending in order, order: check stop in 25'],
    'is over once no process is alive': [() => stopping().take(stopChecked(true)), `${RESTED} stopped`],
    'ignores a late check': [() => stopping().take(stopChecked(true, 0)), 'ending in order, order'],
    'cuts off open requests once, a second before its deadline': [
      () => stopping().pass(29_000).take(stopChecked()),
      'ending in order, order: cut off',
    ],
    'kills at its deadline': [
      () => stopping(0).take(stopChecked()).take(deaf),
      'ending by force, order: kill, tini last',
    ],
    'is a kill if it is hurried and LangFlow cannot cut off its requests': [
      () => hurried().take(stopChecked()).take(deaf),
      'ending by force, order: kill, tini last',
    ],
    'goes on after an exit': [() => stopping().take(exited()), 'ending in order, order: terminate'],
    'by an exit is a kill': [
      () => running().take(exited()),
      'ending by force, exit: report exited, kill, tini last',
    ],
    'of a process of an earlier start is ignored': [() => running().take(exited(0)), 'running'],
    'by force begins once': [
      () => killing().take(kill).take(stop(0)).take(exited()),
      'ending by force, order',
    ],
    'that fails raises the alarm and is tried again after a second': [
      () => killing().take(left),
      'ending by force, order: report stop_failed, kill in 1000',
    ],
    'by force is over once no process is alive': [() => killing().take(gone), `${RESTED} killed`],
    'of an earlier launcher’s remains begins at the first welcome': [
      () => new Steps().take({ type: 'met', remains: true }),
      'ending by force, remains: report stopping, kill, report met',
    ],
  })

  const GRACES: Record<string, [steps: Steps, leftMs: number]> = {
    'is that of the order': [stopping(3_000), 3_000],
    'is not extended by a later order': [stopping(5_000).pass(2_000).take(stop(30_000)), 3_000],
    'is shortened by a later order': [stopping(30_000).pass(2_000).take(stop(5_000)), 5_000],
    'is the time of a cut-off if it is hurried': [hurried(), CUT_OFF_MS],
  }
  for (const [what, [steps, leftMs]] of Object.entries(GRACES))
    test(`has a grace period, which ${what}`, () => assert.equal(steps.graceLeft, leftMs))

  test('is reported as stopping, and as unstoppable if a kill left a process', () => {
    assert.equal(viewOf(stopping().record).state, 'stopping')
    assert.equal(viewOf(killing().take(left).record).state, 'unstoppable')
  })
})

describe('a standby', () => {
  const prepare = { type: 'prepare' } as const
  play({
    'is prepared after the launcher meets its agent': [idle, 'idle: prepare standby in 10000, report met'],
    'is prepared immediately if the leader serves': [() => idle().take(prepare), 'idle: prepare standby'],
    'is not prepared while the workload runs': [() => running().take(prepare), 'running'],
  })
})

describe('a loss of a serving process', () => {
  const worker: Loss = { role: 'worker', pids: [43] }
  const lost = (loss: Loss = worker) => running().take({ type: 'lost', loss })
  play({
    'is reported, and the launcher leaves the workload running': [lost, 'running: report serving_lost'],
    'is not searched for during an end': [() => stopping().clockAfter(100), 'ending in order, order'],
  })

  test('is over once LangFlow is healthy again, unless the master was lost', () => {
    for (const [loss, left] of [
      [worker, null],
      [{ ...worker, role: 'master' }, 'master'],
    ] as const) {
      const { loss: found } = viewOf(lost(loss).take({ type: 'healthy' }).record)
      assert.equal(found?.role ?? null, left)
    }
  })
})

test('a launcher keeps its workload running if the link to the agent is down', () => {
  assert.equal(running().take(linkDown).decision, 'running')
})

describe('a launcher that is leaving', () => {
  const defect = { type: 'leave', defect: 'LangFlow was replaced' } as const
  const exit = { code: null, signal: 'SIGKILL', unreaped: true } as const
  play({
    'exits immediately if it is idle': [() => idle().take(leave), 'idle: announce end, exit'],
    'waits for the agent to stop the workload': [() => running().take(leave), 'running: announce end'],
    'stops the workload itself if it has no agent': [
      () => running().take(leave).take(linkDown),
      'ending in order, order: report stopping, terminate, check stop',
    ],
    'announces its end once': [() => running().take(leave).take(defect), 'running'],
    'exits once no process is alive, and prepares no standby': [
      () => stopping().take(leave).take(stopChecked(true)),
      'idle: rest, report stopped, exit',
    ],
    'kills the workload if its agent is gone': [
      () => running().take({ type: 'orphaned' }),
      'ending by force, order: report stopping, kill',
    ],
    'exits if its agent is gone and it is idle': [() => idle().take({ type: 'orphaned' }), 'idle: exit'],
    'kills the rest of LangFlow if its reaper was killed': [
      () => running().take({ type: 'exited', start: 1, exit }),
      'ending by force, exit: report exited, kill, tini last, announce end',
    ],
  })

  test('exits with code 1 for a defect, so that its container is recreated', () => {
    assert.deepEqual(idle().take(defect).record.effects.at(-1), { type: 'exit', code: 1 })
    assert.deepEqual(idle().take(leave).record.effects.at(-1), { type: 'exit', code: 0 })
  })
})
