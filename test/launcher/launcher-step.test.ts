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

/** A launcher without its loop: what happens, in order, and what was decided upon it. */
class Steps {
  private now: Instant = { mono: 1_000_000, boot: 2_000_000, wall: 1_700_000_000_000 }
  record: LauncherRecord = INITIAL_RECORD

  tell(event: LauncherEvent): this {
    this.record = step({ stopTimeoutMs: STOP_MS }, this.record, event, this.now)
    return this
  }

  grant({ epoch = 1, onDoubt = 'freeze', renewedAgo = 0 }: Granted = {}): this {
    const renewedAt = later(this.now, -renewedAgo)
    const [doubtAt, killAt] = [later(renewedAt, DOUBT_MS), later(renewedAt, KILL_MS)]
    return this.tell({ type: 'grant', grant: { epoch, identity: 'me', doubtAt, killAt, onDoubt } })
  }

  /** Time goes by on the clocks that are named. */
  pass(ms: number, clocks: readonly (keyof Instant)[] = ['mono', 'boot', 'wall']): this {
    this.now = { ...this.now, ...Object.fromEntries(clocks.map((clock) => [clock, this.now[clock] + ms])) }
    return this
  }

  /** The launcher looks at the clocks `ms` later. */
  clockAfter(ms: number, clocks?: readonly (keyof Instant)[]): this {
    return this.pass(ms, clocks).tell({ type: 'clock' })
  }

  get mono(): number {
    return this.now.mono
  }

  get phase(): string {
    const { phase } = this.record
    if (phase.name === 'ending') return `ending ${phase.manner}, ${phase.reason}`
    return phase.name === 'frozen' ? `frozen from ${phase.from}` : phase.name
  }

  /** What the last event led to; the next look at the clocks, which almost every one does, apart. */
  get decision(): string {
    const effects = this.record.effects.map(describeEffect).filter((name) => !name.startsWith('check clocks'))
    return effects.length === 0 ? this.phase : `${this.phase}: ${effects.join(', ')}`
  }

  get reasons(): string[] {
    return this.record.effects.flatMap((effect) =>
      effect.type === 'tell' && 'reason' in effect.cause ? effect.cause.reason : [],
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
  if (effect.type === 'tell') return `tell ${effect.cause.kind}`
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

const idle = () => new Steps().tell({ type: 'met', remains: false })
const preparing = (granted?: Granted) => idle().grant(granted).tell(start())
const running = (granted?: Granted) => preparing(granted).tell(prepared()).tell(launched())
const inDoubt = () => running().clockAfter(DOUBT_MS)
const inDoubtEarly = () => preparing().clockAfter(DOUBT_MS)
const stopping = (graceMs = 30_000) => running().tell(stop(graceMs))
const stoppingInDoubt = () => running({ onDoubt: 'stop' }).clockAfter(DOUBT_MS)
const killing = () => running().tell(kill)

/** By sentence: what happens, and the phase that follows, with what is to be done. */
function play(rows: Record<string, [decided: () => Steps, expected: string]>): void {
  for (const [what, [decided, expected]] of Object.entries(rows))
    test(what, () => assert.equal(decided().decision, expected))
}

describe('a grant', () => {
  const REFUSED: Record<string, [refused: () => Steps, reason: string]> = {
    'that is older than the one in force': [
      () => running({ renewedAgo: 5 }).grant({ renewedAgo: 6 }),
      'older',
    ],
    'of an earlier epoch': [() => idle().grant({ epoch: 2 }).grant({ epoch: 1 }), 'epoch 1 is over'],
    'that has expired': [() => idle().grant({ renewedAgo: KILL_MS }), 'expired'],
    'beside processes of another epoch': [() => running().grant({ epoch: 2 }), 'epoch 1 still live'],
    'of an epoch that the agent has ended by a kill': [() => killing().tell(gone).grant(), 'epoch 1 is over'],
    'of an epoch before one that the agent has ended, although a second kill met nothing': [
      () => idle().grant({ epoch: 3 }).tell(kill).tell(kill).grant({ epoch: 2 }),
      'epoch 2 is over',
    ],
  }
  for (const [what, [refused, reason]] of Object.entries(REFUSED))
    test(`is refused ${what}`, () => {
      const { decision, reasons } = refused()
      assert.match(decision, /: tell grant_refused$/)
      assert.ok(reasons[0]?.includes(reason), reasons[0])
    })
  play({
    'is accepted if it is newer, or told again': [
      () => running().pass(1).grant().grant(),
      'running: check serving',
    ],
    'is told to be accepted after a refusal': [
      () => running().grant({ epoch: 0 }).grant(),
      'running: tell grant_accepted, check serving',
    ],
    'that has run out may be followed by another one of its epoch': [
      () => running().clockAfter(KILL_MS).tell(gone).grant().tell(start()),
      'preparing: prepare',
    ],
    'may be of any epoch beside remains of an earlier launcher, whose epoch is unknown': [
      () => new Steps().tell({ type: 'met', remains: true }).grant({ epoch: 5 }),
      'ending by force, remains',
    ],
  })

  test('that is refused leaves the one in force', () => {
    const { grant } = running().record
    assert.deepEqual(running().grant({ renewedAgo: 1 }).record.grant, grant)
  })
})

describe('a start', () => {
  const failed = (isGone: boolean): LauncherEvent => ({
    type: 'launch failed',
    start: 1,
    reason: 'EMFILE',
    gone: isGone,
  })
  play({
    'is refused without a grant': [() => idle().tell(start()), 'idle: tell start_refused'],
    'is refused in another epoch than the grant’s': [
      () => idle().grant().tell(start(2)),
      'idle: tell start_refused',
    ],
    'is refused in doubt': [
      () => idle().grant({ renewedAgo: DOUBT_MS }).tell(start()),
      'idle: tell start_refused',
    ],
    'is refused once the grant is over by the wall clock alone': [
      () => idle().grant().pass(KILL_MS, ['wall']).tell(start()),
      'idle: tell start_refused',
    ],
    'is refused beside a workload': [() => running().tell(start()), 'running: tell start_refused'],
    'is refused while the launcher is to end': [
      () => stopping().tell(leave).tell(start()),
      'ending in order, order: tell start_refused',
    ],
    'waits for its standby and the port': [() => preparing(), 'preparing: prepare'],
    'launches once the port is free': [() => preparing().tell(prepared()), 'preparing: launch'],
    'ends where the port is taken': [
      () => preparing().tell(prepared('it is taken')),
      'idle: rest, prepare standby in 10000, tell start_refused',
    ],
    'ends where nothing may execute any more': [
      () => preparing().pass(KILL_MS, ['wall']).tell(prepared()),
      'idle: rest, prepare standby in 10000, tell start_refused',
    ],
    'kills what stands still where it came to be in doubt before it was launched': [
      () => inDoubtEarly().tell(prepared()),
      'ending by force, failed start: tell stopping, discard standby, kill',
    ],
    'goes on after a thaw': [() => inDoubtEarly().grant(), 'preparing: thaw, tell thawed'],
    runs: [() => running(), 'running: watch serving, tell started, check serving'],
    'that failed without a process is over': [
      () => preparing().tell(prepared()).tell(failed(true)),
      'idle: rest, prepare standby in 10000, tell start_refused',
    ],
    'that failed once there was a process is killed': [
      () => preparing().tell(prepared()).tell(failed(false)),
      'ending by force, failed start: tell start_refused, discard standby, kill',
    ],
    'passes on an end that was ordered before there was a process': [
      () => preparing().tell(prepared()).tell(stop(30_000)).tell(launched()),
      'ending in order, order: terminate, watch serving, tell started',
    ],
    'that is being killed changes nothing': [
      () => preparing().tell(kill).tell(launched()),
      'ending by force, order',
    ],
    'that is over is none of the next one’s': [
      () => preparing().tell(kill).tell(gone).grant({ epoch: 2 }).tell(start(2)).tell(launched(1)),
      'preparing',
    ],
  })

  test('is remembered to have been ordered, and to have served, for as long as its workload lives', () => {
    const steps = running().pass(5_000).tell({ type: 'healthy' }).pass(1_000).tell({ type: 'healthy' })
    const { orderedAt, servedSince } = viewOf(steps.record)
    assert.equal((servedSince as number) - (orderedAt as number), 5_000)
    const ended = viewOf(steps.tell(kill).tell(gone).tell({ type: 'healthy' }).record)
    assert.deepEqual([ended.orderedAt, ended.servedSince, ended.pid, ended.epoch], [null, null, null, 1])
  })
})

describe('the deadman', () => {
  const again = (steps: Steps, awake: number) =>
    steps.clockAfter(1_000).tell({ type: 'frozen', at: steps.mono, awake })
  play({
    'freezes at the doubt': [inDoubt, 'frozen from running: freeze, tell frozen'],
    'freezes once more what is frozen': [() => inDoubt().clockAfter(100), 'frozen from running: freeze'],
    'freezes also what was not launched yet': [inDoubtEarly, 'frozen from preparing: freeze, tell frozen'],
    'kills what it froze at the end of the grant': [
      () => inDoubt().clockAfter(4_000),
      'ending by force, grant over: tell deadman, tell stopping, kill',
    ],
    'kills at once after a sleep past the grant': [
      () => running().clockAfter(KILL_MS + 100, ['boot', 'wall']),
      'ending by force, grant over: tell deadman, tell stopping, kill',
    ],
    'thaws on a newer grant': [() => inDoubt().grant(), 'running: thaw, tell thawed, check serving'],
    'does not thaw on a grant that is in doubt already': [
      () =>
        inDoubt()
          .grant({ renewedAgo: DOUBT_MS - 1 })
          .clockAfter(1)
          .grant({ renewedAgo: DOUBT_MS }),
      'frozen from running: freeze',
    ],
    'only freezes by the wall clock alone, with on-doubt=stop as well': [
      () => running({ onDoubt: 'stop' }).clockAfter(KILL_MS, ['wall']),
      'frozen from running: freeze, tell frozen',
    ],
    'does not thaw what the wall clock froze on a grant from before': [
      () => running().clockAfter(KILL_MS, ['wall']).grant({ renewedAgo: KILL_MS }),
      'frozen from running: tell grant_refused',
    ],
    'with on-doubt=stop stops in order': [
      stoppingInDoubt,
      'ending in order, doubt: tell deadman, tell stopping, terminate, check stop',
    ],
    'leaves that stop its time': [() => stoppingInDoubt().clockAfter(3_999), 'ending in order, doubt'],
    'kills what stops in doubt once the grant is over by the wall clock': [
      () => stoppingInDoubt().clockAfter(4_000, ['wall']),
      'ending by force, doubt: tell deadman, kill',
    ],
    'kills what still stops when the doubt comes': [
      () => stopping().clockAfter(DOUBT_MS),
      'ending by force, doubt: tell deadman, kill',
    ],
    'kills what still stops when the wall clock alone jumps ahead': [
      () => stopping().clockAfter(KILL_MS, ['wall']),
      'ending by force, doubt: tell deadman, kill',
    ],
    'adds nothing to a kill': [() => running().tell(exited()).clockAfter(KILL_MS), 'ending by force, exit'],
    'kills what could not be frozen, or thawed': [
      () => inDoubt().tell({ type: 'signal failed', reason: 'no' }),
      'ending by force, doubt: tell deadman, tell stopping, kill',
    ],
    'leaves what was once found awake': [() => again(inDoubt(), 1), 'frozen from running'],
    'kills what is found awake twice in a row': [
      () => again(again(inDoubt(), 1), 1),
      'ending by force, doubt: tell deadman, tell stopping, kill',
    ],
    'forgets one awake where the next look finds none': [
      () => again(again(again(inDoubt(), 1), 0), 1),
      'frozen from running',
    ],
    'does nothing where nothing lives': [() => idle().grant().clockAfter(KILL_MS), 'idle'],
  })

  test('looks at each deadline of the grant, and each 100 ms in between', () => {
    const next = (steps: Steps) => steps.record.effects.find(({ type }) => type === 'check clocks')
    assert.deepEqual(next(running()), { type: 'check clocks', afterMs: 100 })
    assert.deepEqual(next(running().clockAfter(DOUBT_MS - 30)), { type: 'check clocks', afterMs: 30 })
    assert.deepEqual(next(inDoubt().clockAfter(KILL_MS - DOUBT_MS - 7)), { type: 'check clocks', afterMs: 7 })
  })

  test('counts how often it fired, and froze', () => {
    const { deadmanFirings, freezes } = viewOf(inDoubt().clockAfter(4_000).record)
    assert.deepEqual([deadmanFirings, freezes], [1, 1])
  })
})

describe('an end', () => {
  const deaf = { type: 'cut off', heard: false } as const
  play({
    'of nothing is answered': [() => idle().tell(stop(3_000)), 'idle: tell nothing'],
    'is ordered': [stopping, 'ending in order, order: tell stopping, terminate, check stop'],
    'of a start that still waits ends its standby as well': [
      () => preparing().tell(stop(3_000)),
      'ending in order, order: tell stopping, discard standby, terminate, check stop',
    ],
    'of what is frozen is a kill': [
      () => inDoubt().tell(stop(3_000)),
      'ending by force, order: tell stopping, kill',
    ],
    'in doubt is a kill': [
      () => running().pass(DOUBT_MS).tell(stop(3_000)),
      'ending by force, order: tell stopping, kill',
    ],
    'is looked at each 25 ms': [
      () => stopping().tell(stopChecked()),
      'ending in order, order: check stop in 25',
    ],
    'is over once nothing lives': [
      () => stopping().tell(stopChecked(true)),
      'idle: rest, prepare standby in 10000, tell stopped',
    ],
    'is not over by what an earlier stop has found': [
      () => stopping().tell(stopChecked(true, 0)),
      'ending in order, order',
    ],
    'cuts off what is still being done a second before its deadline, once': [
      () => stopping().pass(29_000).tell(stopChecked()),
      'ending in order, order: cut off',
    ],
    'kills at its deadline': [
      () => stopping(0).tell(stopChecked()).tell(deaf),
      'ending by force, order: kill',
    ],
    'has had its time to cut off if it is hurried and deaf': [
      () => stopping().pass(2_000).tell(stop(CUT_OFF_MS)).tell(stopChecked()).tell(deaf),
      'ending by force, order: kill',
    ],
    'reaches those that the first process left': [
      () => stopping().tell(exited()),
      'ending in order, order: terminate',
    ],
    'that the first process came to by itself kills the others': [
      () => running().tell(exited()),
      'ending by force, exit: tell exited, kill',
    ],
    'of an earlier start’s process is no news': [() => running().tell(exited(0)), 'running'],
    'by force is begun once': [
      () => killing().tell(kill).tell(stop(0)).tell(exited()),
      'ending by force, order',
    ],
    'that fails raises the alarm, and is tried again': [
      () => killing().tell({ type: 'killed', left: 'it lives' }),
      'ending by force, order: tell stop_failed, kill in 1000',
    ],
    'by force is over once nothing lives': [
      () => killing().tell(gone),
      'idle: rest, prepare standby in 10000, tell killed',
    ],
    'of an earlier launcher’s remains comes first': [
      () => new Steps().tell({ type: 'met', remains: true }),
      'ending by force, remains: tell stopping, kill, tell met',
    ],
  })

  const GRACES: Record<string, [steps: Steps, leftMs: number]> = {
    'is the order’s': [stopping(3_000), 3_000],
    'is what is left of it if more is ordered': [stopping(5_000).pass(2_000).tell(stop(30_000)), 3_000],
    'is the shorter one that is ordered later': [stopping(30_000).pass(2_000).tell(stop(5_000)), 5_000],
    'is what cutting off takes if it is hurried': [stopping().pass(2_000).tell(stop(CUT_OFF_MS)), CUT_OFF_MS],
  }
  for (const [what, [steps, leftMs]] of Object.entries(GRACES))
    test(`has a grace, which ${what}`, () => {
      assert.equal(steps.graceLeft, leftMs)
    })

  test('is told as stopping; one that left something as unstoppable', () => {
    assert.equal(viewOf(stopping().record).state, 'stopping')
    assert.equal(viewOf(killing().tell({ type: 'killed', left: 'it lives' }).record).state, 'unstoppable')
  })
})

describe('a standby', () => {
  const prepare = { type: 'prepare' } as const
  play({
    'is put off when a launcher meets its agent': [idle, 'idle: prepare standby in 10000, tell met'],
    'is prepared at once if the leader serves': [() => idle().tell(prepare), 'idle: prepare standby'],
    'is not prepared beside the workload': [() => running().tell(prepare), 'running'],
  })
})

describe('a loss of those that serve', () => {
  const worker: Loss = { role: 'worker', pids: [43] }
  const lost = (loss: Loss): LauncherEvent => ({ type: 'lost', loss })
  play({
    'is told, and is for the agent to act on': [() => running().tell(lost(worker)), 'running: tell bereft'],
    'is not looked for at an end': [() => stopping().clockAfter(100), 'ending in order, order'],
  })

  test('is over once LangFlow is healthy again, unless it was the master', () => {
    for (const [loss, left] of [
      [worker, null],
      [{ ...worker, role: 'master' }, 'master'],
    ] as const) {
      const { loss: found } = viewOf(running().tell(lost(loss)).tell({ type: 'healthy' }).record)
      assert.equal(found?.role ?? null, left)
    }
  })
})

describe('a launcher that is to end', () => {
  const defect = { type: 'leave', defect: 'LangFlow was replaced' } as const
  play({
    'does at once if it is idle': [() => idle().tell(leave), 'idle: announce end, exit'],
    'leaves it to the agent to stop the workload': [() => running().tell(leave), 'running: announce end'],
    'stops the workload itself without an agent': [
      () => running().tell(leave).tell(linkDown),
      'ending in order, order: tell stopping, terminate, check stop',
    ],
    'announces that once': [() => running().tell(leave).tell(defect), 'running'],
    'ends once nothing lives, and prepares nothing': [
      () => stopping().tell(leave).tell(stopChecked(true)),
      'idle: rest, tell stopped, exit',
    ],
    'and whose agent is gone kills the workload': [
      () => running().tell({ type: 'orphaned' }),
      'ending by force, order: tell stopping, kill',
    ],
    'and whose agent is gone ends at once if it is idle': [
      () => idle().tell({ type: 'orphaned' }),
      'idle: exit',
    ],
    'because its reaper was killed kills the rest of LangFlow': [
      () =>
        running().tell({ type: 'exited', start: 1, exit: { code: null, signal: 'SIGKILL', unreaped: true } }),
      'ending by force, exit: tell exited, kill, announce end',
    ],
  })

  test('is none only because its agent goes away', () => {
    assert.equal(running().tell(linkDown).decision, 'running')
  })

  test('ends with exit code 1 for a defect, so that its container is made anew', () => {
    assert.deepEqual(idle().tell(defect).record.effects.at(-1), { type: 'exit', code: 1 })
    assert.deepEqual(idle().tell(leave).record.effects.at(-1), { type: 'exit', code: 0 })
  })
})
