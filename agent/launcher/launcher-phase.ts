import {
  type Grant,
  type Loss,
  NOTHING,
  type ToLauncher,
  type WorkloadCause,
  type WorkloadState,
  type WorkloadView,
} from '../link/link-messages.ts'
import type { Exit } from '../processes/spawn.ts'

export type LauncherPhase =
  | { readonly name: 'idle' } // confirmed: no process is alive, and the port is free
  | { readonly name: 'preparing' } // a start was ordered: it waits for its standby, the port, and its first process
  | { readonly name: 'running' }
  | Frozen
  | EndingInOrder
  | EndingByForce

/** Stopped by SIGSTOP while leadership is in doubt. */
interface Frozen {
  readonly name: 'frozen'
  readonly from: 'preparing' | 'running'
  /** Monotonic ms of the first freeze since it last ran. */
  readonly since: number
  /** Number of checks in a row that found a process awake after the freeze had settled. */
  readonly awakeLooks: number
}

/** Every end is confirmed: it leads to `idle` when no process is alive and the port is free. */
interface Ending {
  readonly name: 'ending'
  readonly reason: EndReason
  /** Monotonic ms at which it began in this manner. */
  readonly since: number
}

export type EndReason =
  | 'order' // an order of the agent, or the signal that ends the launcher
  | 'doubt' // leadership is in doubt, and the workload cannot be frozen, or `--on-doubt` is `stop`
  | 'grant over'
  | 'exit' // its first process ended by itself
  | 'failed start'
  | 'remains' // an earlier launcher left it

/** SIGTERM, and SIGKILL at the deadline. */
export interface EndingInOrder extends Ending {
  readonly manner: 'in order'
  /** Monotonic ms at which SIGKILL follows. */
  readonly stopDeadline: number
  /** The stop was ordered again, with no more time than a cut-off takes. */
  readonly hurried: boolean
  /** LangFlow was ordered to cut off its requests. */
  readonly cutOff: boolean
}

/** SIGKILL, repeated until it has succeeded. */
interface EndingByForce extends Ending {
  readonly manner: 'by force'
  /** SIGKILL left a process alive, or the port taken. */
  readonly unstoppable: boolean
}

export interface LauncherRecord {
  readonly phase: LauncherPhase
  /** The grant in force, until the launcher ends it, regardless of the clocks. */
  readonly grant: Grant | null
  /** Grants up to this epoch are permanently over: the agent ordered a kill. */
  readonly closedEpoch: number
  readonly refusing: boolean
  readonly met: boolean
  /** Exit code of a launcher that ends as soon as it is idle. */
  readonly leaving: number | null
  /** Number of the last start. Late reports of an earlier start are ignored. */
  readonly start: number
  readonly facts: Omit<WorkloadView, 'state' | 'killAt' | 'standby'>
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

export function viewOf({ phase, grant, facts }: LauncherRecord): Omit<WorkloadView, 'standby'> {
  return { ...facts, state: stateOf(phase), killAt: grant?.killAt.mono ?? null }
}

function stateOf(phase: LauncherPhase): WorkloadState {
  if (phase.name === 'preparing') return 'running'
  if (phase.name !== 'ending') return phase.name
  return phase.manner === 'by force' && phase.unstoppable ? 'unstoppable' : 'stopping'
}

export type AgentOrder = Exclude<ToLauncher, { type: 'welcome' | 'refused' | 'ping' | 'measure' }>

export type LauncherEvent =
  | AgentOrder
  /** A welcome. `remains`: processes of an earlier launcher are alive. They are searched for at the first welcome. */
  | { type: 'met'; remains: boolean }
  | { type: 'link down' }
  /** The launcher must end once the workload is stopped: after SIGTERM, or because of a defect of its container. */
  | { type: 'leave'; defect: string | null }
  /** The agent that owns the launcher is gone. */
  | { type: 'orphaned' }
  | { type: 'clock' }
  /** `holder`: why LangFlow cannot start, such as the process on its port, in one sentence. */
  | { type: 'prepared'; start: number; holder: string | null }
  | { type: 'launched'; start: number; pid: number }
  /** `gone`: no process of the start is alive. */
  | { type: 'launch failed'; start: number; reason: string; gone: boolean }
  /** The first process has ended. Others of its tree may still serve without it. */
  | { type: 'exited'; start: number; exit: Exit }
  /** `at`: monotonic ms of the order. `awake`: number of processes that were awake. */
  | { type: 'frozen'; at: number; awake: number }
  | { type: 'signal failed'; reason: string }
  | { type: 'lost'; loss: Loss }
  | { type: 'stop checked'; start: number; gone: boolean }
  /** `supported`: LangFlow can be ordered to cut off its requests. */
  | { type: 'cut off'; supported: boolean }
  /** `left`: names what is alive or on the port. `null` only if no process is alive and the port is free. */
  | { type: 'killed'; left: string | null }

export type Of<Type extends LauncherEvent['type']> = Extract<LauncherEvent, { type: Type }>

export type LauncherEffect =
  | { type: 'report'; view: ReturnType<typeof viewOf>; cause: WorkloadCause }
  | { type: 'check clocks'; afterMs: number }
  | { type: 'prepare standby'; afterMs: number }
  | { type: 'discard standby' }
  | { type: 'prepare'; start: number }
  | { type: 'launch'; start: number; grant: Grant }
  | { type: 'watch serving'; pid: number }
  | { type: 'check serving' }
  | { type: 'freeze'; at: number }
  | { type: 'thaw' }
  | { type: 'terminate' }
  | { type: 'check stop'; start: number; afterMs: number }
  | { type: 'cut off' }
  /** `isUrgent`: the workload has no right to execute any more. */
  | { type: 'kill'; afterMs: number; isUrgent: boolean }
  | { type: 'rest' }
  | { type: 'announce end'; defect: string | null }
  | { type: 'exit'; code: number }

export function isIdle({ phase }: LauncherRecord): boolean {
  return phase.name === 'idle'
}

export function isEndingByForce({ phase }: LauncherRecord): boolean {
  return phase.name === 'ending' && phase.manner === 'by force'
}

export function withFacts(record: LauncherRecord, facts: Partial<LauncherRecord['facts']>): LauncherRecord {
  return { ...record, facts: { ...record.facts, ...facts } }
}

export function emit(record: LauncherRecord, effect: LauncherEffect): LauncherRecord {
  return { ...record, effects: [...record.effects, effect] }
}

export function report(before: LauncherRecord, cause: WorkloadCause): LauncherRecord {
  const deadmanFirings = before.facts.deadmanFirings + (cause.kind === 'deadman' ? 1 : 0)
  const freezes = before.facts.freezes + (cause.kind === 'frozen' ? 1 : 0)
  const record = withFacts(before, { deadmanFirings, freezes })
  return emit(record, { type: 'report', view: viewOf(record), cause })
}
