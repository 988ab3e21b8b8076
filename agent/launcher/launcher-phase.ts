import {
  type Grant,
  type Loss,
  NOTHING,
  type ToLauncher,
  type WorkloadCause,
  type WorkloadState,
  type WorkloadView,
} from '../link/link-messages.ts'
import type { Exit } from '../processes/process-tree.ts'

/** What the workload is at. */
export type Phase =
  | { readonly name: 'idle' } // nothing lives, and the port is free: confirmed
  | { readonly name: 'preparing' } // a start was ordered: it waits for its standby, the port, and its first process
  | { readonly name: 'running' }
  | Frozen
  | EndingInOrder
  | EndingByForce

/** Stopped by SIGSTOP while leadership is in doubt. */
interface Frozen {
  readonly name: 'frozen'
  /** The phase that a thaw goes back to. */
  readonly from: 'preparing' | 'running'
  /** Monotonic ms of the first freeze since it last ran. */
  readonly since: number
  /** How many looks in a row have found a process awake after the freeze had settled. */
  readonly awakeLooks: number
}

/** Every end is confirmed: it leads to `idle` once nothing lives, and the port is free. */
interface Ending {
  readonly name: 'ending'
  readonly reason: EndReason
  /** Monotonic ms at which it began in this manner. */
  readonly since: number
}

export type EndReason =
  | 'order' // the agent's, or that of the signal which ends the launcher
  | 'doubt' // leadership is in doubt, and the workload can't be, or isn't to be, frozen
  | 'grant over'
  | 'exit' // its first process ended by itself
  | 'failed start'
  | 'remains' // an earlier launcher left it

/** SIGTERM, and SIGKILL at the deadline. */
export interface EndingInOrder extends Ending {
  readonly manner: 'in order'
  /** Monotonic ms at which SIGKILL follows. */
  readonly stopDeadline: number
  /** The stop was ordered again, with no more time than cutting off takes. */
  readonly hurried: boolean
  /** LangFlow was told to cut off what it is still doing. */
  readonly cutOff: boolean
}

/** SIGKILL, again and again until it has succeeded. */
export interface EndingByForce extends Ending {
  readonly manner: 'by force'
  /** SIGKILL left something alive, or the port taken. */
  readonly unstoppable: boolean
}

/** All that the launcher decides by. */
export interface LauncherRecord {
  readonly phase: Phase
  /** The grant in force, until the launcher ends it, whatever the clocks say. */
  readonly grant: Grant | null
  /** Grants up to this epoch are over for good: the agent ordered a kill. */
  readonly closedEpoch: number
  /** The last grant was refused. */
  readonly refusing: boolean
  /** Remains of an earlier launcher were looked for. */
  readonly met: boolean
  /** Exit code of the launcher, which ends as soon as it is idle; `null`: it stays. */
  readonly leaving: number | null
  /** Number of the last start: what an earlier one reports late is ignored. */
  readonly start: number
  readonly facts: Omit<WorkloadView, 'state' | 'killAt' | 'standby'>
  /** To be carried out in this order. */
  readonly effects: readonly LauncherEffect[]
}

const { state: _state, killAt: _killAt, standby: _standby, ...NO_FACTS } = NOTHING

export const INITIAL_RECORD: LauncherRecord = {
  phase: { name: 'idle' },
  grant: null,
  closedEpoch: -1,
  refusing: false,
  met: false,
  leaving: null,
  start: 0,
  facts: NO_FACTS,
  effects: [],
}

/** What an agent is told of a record, its standby apart. */
export type RecordView = Omit<WorkloadView, 'standby'>

export function viewOf({ phase, grant, facts }: LauncherRecord): RecordView {
  return { ...facts, state: stateOf(phase), killAt: grant?.killAt.mono ?? null }
}

function stateOf(phase: Phase): WorkloadState {
  if (phase.name === 'preparing') return 'running'
  if (phase.name !== 'ending') return phase.name
  return phase.manner === 'by force' && phase.unstoppable ? 'unstoppable' : 'stopping'
}

/** What the agent says of the workload. */
export type Order = Exclude<ToLauncher, { type: 'welcome' | 'refused' | 'ping' }>

export type LauncherEvent =
  | Order
  /** A welcome. `remains`: processes of an earlier launcher live; looked for at the first welcome. */
  | { type: 'met'; remains: boolean }
  | { type: 'link down' }
  /** The launcher is to end once the agent has had the workload stopped: by SIGTERM, or for a defect of its container. */
  | { type: 'leave'; defect: string | null }
  /** The agent that it belongs to is gone: it ends, and the workload at once. */
  | { type: 'orphaned' }
  /** A time has come at which the clocks are to be compared with the grant. */
  | { type: 'clock' }
  /** `holder`: one sentence that says who holds the port; `null`: it is free. */
  | { type: 'prepared'; start: number; holder: string | null }
  | { type: 'launched'; start: number; pid: number }
  /** `gone`: nothing of the start lives. */
  | { type: 'launch failed'; start: number; reason: string; gone: boolean }
  /** The first process has ended; others of its tree may go on serving without it. */
  | { type: 'exited'; start: number; exit: Exit }
  /** `at`: monotonic ms of the order; `awake`: how many were. */
  | { type: 'frozen'; at: number; awake: number }
  | { type: 'signal failed'; reason: string }
  | { type: 'lost'; loss: Loss }
  | { type: 'stop checked'; start: number; gone: boolean }
  /** `heard`: LangFlow can be told to cut off what it does. */
  | { type: 'cut off'; heard: boolean }
  /** `left`: one sentence that names what lives, or who holds the port; `null`: nothing lives, and it is free. */
  | { type: 'killed'; left: string | null }

export type Of<Type extends LauncherEvent['type']> = Extract<LauncherEvent, { type: Type }>

export type LauncherEffect =
  | { type: 'tell'; view: RecordView; cause: WorkloadCause }
  | { type: 'check clocks'; afterMs: number }
  | { type: 'prepare standby'; afterMs: number }
  | { type: 'discard standby' }
  /** Waits for the standby, then asks who holds the port. */
  | { type: 'prepare'; start: number }
  | { type: 'launch'; start: number; grant: Grant }
  | { type: 'watch serving'; pid: number }
  | { type: 'check serving' }
  | { type: 'freeze'; at: number }
  | { type: 'thaw' }
  | { type: 'terminate' }
  | { type: 'check stop'; start: number; afterMs: number }
  | { type: 'cut off' }
  | { type: 'kill'; afterMs: number }
  /** Nothing lives, so that nothing is watched. */
  | { type: 'rest' }
  /** The agent is to have the workload stopped, since the launcher is to end. */
  | { type: 'announce end'; defect: string | null }
  | { type: 'exit'; code: number }

export type EffectOf<Type extends LauncherEffect['type']> = Extract<LauncherEffect, { type: Type }>

export function isIdle({ phase }: LauncherRecord): boolean {
  return phase.name === 'idle'
}

export function isEndingByForce({ phase }: LauncherRecord): boolean {
  return phase.name === 'ending' && phase.manner === 'by force'
}

export function know(record: LauncherRecord, facts: Partial<LauncherRecord['facts']>): LauncherRecord {
  return { ...record, facts: { ...record.facts, ...facts } }
}

export function emit(record: LauncherRecord, effect: LauncherEffect): LauncherRecord {
  return { ...record, effects: [...record.effects, effect] }
}

export function tell(before: LauncherRecord, cause: WorkloadCause): LauncherRecord {
  const { deadmanFirings, freezes } = before.facts
  const record = know(before, {
    deadmanFirings: deadmanFirings + (cause.kind === 'deadman' ? 1 : 0),
    freezes: freezes + (cause.kind === 'frozen' ? 1 : 0),
  })
  return emit(record, { type: 'tell', view: viewOf(record), cause })
}
