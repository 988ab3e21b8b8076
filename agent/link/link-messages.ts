import type { Socket } from 'node:net'
import type { Instant } from '../clock.ts'
import type { Exit } from '../processes/process-tree.ts'

/**
 * The agent and the launcher talk in JSON lines over a unix socket: rights and orders go down, facts go up.
 * A line is at most 64 KiB.
 */
export const MAX_LINE_BYTES = 64 * 1024

/** What a follower keeps ready: nothing, or a LangFlow that waits for its grant. */
export type StandbyMode = 'cold' | 'warm'

export interface StandbyView {
  /** What it would start from now: `cold` also where something warmer could not be prepared. */
  readonly mode: StandbyMode
  /** `none`: nothing is kept, since the mode needs nothing, or since the workload runs. */
  readonly state: 'none' | 'preparing' | 'ready'
  /** Why it is colder than it was asked to be, or starts slower than it could, in one sentence; `null`: neither. */
  readonly reason: string | null
  /** What a ready one holds (PSS); `null`: nothing, or unknown. */
  readonly memoryBytes: number | null
}

/** Why a standby is colder than it was asked to be, in one sentence; `null`: it is not, or is on its way. */
export function whyColder({ mode, reason }: StandbyView, wanted: StandbyMode): string | null {
  return mode === wanted ? null : reason
}

export const COLD: StandbyView = { mode: 'cold', state: 'none', reason: null, memoryBytes: null }

/** The right to run the workload until a fixed instant. It holds on the launcher's own clocks. */
export interface Grant {
  readonly epoch: number
  readonly identity: string
  /** From here on leadership is in doubt: nothing may execute until a newer grant arrives. */
  readonly doubtAt: Instant
  /** From here on nothing may live. */
  readonly killAt: Instant
  readonly onDoubt: 'freeze' | 'stop'
}

export type WorkloadState =
  | 'idle' // nothing lives, and the port is free: confirmed
  | 'running'
  | 'frozen'
  | 'stopping' // told to end, not confirmed yet
  | 'unstoppable' // something lives after SIGKILL, or holds the port

/** What the launcher knows of the workload. */
export interface WorkloadView {
  readonly state: WorkloadState
  /** Of the grant it runs or last ran under; `null` before the first. */
  readonly epoch: number | null
  readonly identity: string | null
  /** The first process of the command. */
  readonly pid: number | null
  /** `killAt.mono` of the grant in force; `null` without one. */
  readonly killAt: number | null
  /** How often the launcher acted on its own because no grant came. */
  readonly deadmanFirings: number
  readonly freezes: number
  /** CLOCK_MONOTONIC in ms, when what lives was ordered to start; `null`: nothing lives. */
  readonly orderedAt: number | null
  /** The same, when an agent first said that it is healthy; `null`: none has. */
  readonly servedSince: number | null
  /** The serving processes that the running workload has lost. */
  readonly loss: Loss | null
  readonly standby: StandbyView
}

/**
 * How long before SIGKILL LangFlow is told to cut off what it is still doing: it cancels that, writes what it holds back, and
 * ends (half a second). So a stop with no more than this does it at once.
 */
export const CUT_OFF_MS = 1_000

/** Of a launcher that has run nothing yet. */
export const NOTHING: WorkloadView = {
  state: 'idle',
  epoch: null,
  identity: null,
  pid: null,
  killAt: null,
  deadmanFirings: 0,
  freezes: 0,
  orderedAt: null,
  servedSince: null,
  loss: null,
  standby: COLD,
}

/**
 * The processes that served the port are gone while the workload's first process lives. `worker`: no process accepts connections
 * any more; `master`: a worker may, but no master looks after it.
 */
export interface Loss {
  readonly role: 'worker' | 'master'
  readonly pids: readonly number[]
}

/** How a process ended, for the log and as the reason of a handover. */
export function describeExit({ code, signal, unreaped }: Exit): string {
  const how = signal ?? `exit code ${code}`
  return unreaped ? `LangFlow's parent, tini, was killed (${how})` : `LangFlow ended by itself (${how})`
}

export function describeLoss({ role, pids }: Loss): string {
  return `LangFlow lost its ${role} (pid ${pids.join(', ')})`
}

/** Why the view changed, for the log and for decisions. */
export type WorkloadCause =
  | { kind: 'met' } // after a welcome: what an earlier launcher left was looked for
  | { kind: 'nothing' } // told to stop, with nothing to stop
  | { kind: 'started' }
  | { kind: 'start_refused'; reason: string } // e.g. the port is taken, the command does not exist
  /** `unreaped`: not LangFlow's first process but tini, its parent, was killed; the launcher ends, for a new container. */
  | { kind: 'exited'; code: number | null; signal: NodeJS.Signals | null; unreaped?: true }
  | { kind: 'bereft'; loss: Loss } // it runs, and serves no more
  | { kind: 'frozen' }
  | { kind: 'thawed' }
  | { kind: 'stopping' }
  | { kind: 'stopped'; durationMs: number }
  | { kind: 'killed'; durationMs: number }
  /** The launcher ended the workload by itself. */
  | { kind: 'deadman'; reason: string }
  | { kind: 'stop_failed'; reason: string }
  | { kind: 'grant_refused'; reason: string }
  | { kind: 'grant_accepted' } // told after a refusal alone
  | { kind: 'standby' }

/** A launcher's CLOCK_BOOTTIME, and then its CLOCK_MONOTONIC, in ms, read in this order (see `BootOffset`). */
export interface BootReading {
  readonly boot: number
  readonly mono: number
}

/** Of what replicas must have alike, to compare them by; `null`: there is none, or unknown. */
export interface Digests {
  /** Of the files that LangFlow loads its flows from. */
  readonly flows: string | null
  readonly secretKey: string | null
  /** Of all that LangFlow is started from: its environment and flows; absent: of an older launcher. */
  readonly inputs?: string | null
}

export const UNKNOWN_DIGESTS: Digests = { flows: null, secretKey: null }

export type ToAgent =
  | {
      type: 'hello'
      version: 1
      /** From an earlier `welcome`; absent on a launcher's first connection. */
      token?: string
      pid: number
      /** The launcher is PID 1, alone in its namespace: when it dies, the kernel kills the rest. */
      alone: boolean
      /** The launcher's CLOCK_MONOTONIC in ms, to find out whether both share one clock. */
      mono: number
      /** To find out how far apart the two boot clocks are; absent: they are one. */
      clocks?: BootReading
      /** The version of the LangFlow that it would start, by its package; absent: unknown. */
      langflow?: string
      view: WorkloadView
    }
  | { type: 'workload'; view: WorkloadView; cause: WorkloadCause }
  | { type: 'pong'; id: number; clocks?: BootReading }
  /** After a welcome as soon as they are known, and with each change; an older launcher never tells them. */
  | { type: 'digests'; digests: Digests }
  /** After a welcome: it has the lock by which its death is proven; an older launcher never tells. */
  | { type: 'locked' }
  /** The launcher itself was asked to end (SIGTERM): stop the workload, then hand over. */
  | { type: 'terminating' }

export type ToLauncher =
  | {
      type: 'welcome'
      token: string
      /** Marks the workload's processes. */
      tree: string
      port: number
      standby: StandbyMode
      /** How long the standby may take to be prepared. */
      startTimeoutMs: number
    }
  | { type: 'refused'; reason: string }
  | { type: 'ping'; id: number }
  /** Its instants are those of the launcher's clocks. */
  | { type: 'grant'; grant: Grant }
  /** Start the workload under the grant in force, which must be of this epoch. */
  | { type: 'start'; epoch: number }
  /** The workload has become healthy: an agent that is started anew learns so from the view. */
  | { type: 'healthy' }
  /** The leader serves: the standby is no longer put off for its start. An older launcher waits its time. */
  | { type: 'prepare' }
  /** SIGTERM, SIGKILL after `graceMs`, then confirm; told again, it can only be earlier. The grant goes on meanwhile. */
  | { type: 'stop'; graceMs: number }
  /** SIGKILL everything now; ends the grant. */
  | { type: 'kill' }

/** Writes one line; a peer that does not read what it is sent is cut off. */
export function writeLine(socket: Socket, message: ToAgent | ToLauncher): void {
  if (!socket.writable) return
  if (socket.writableLength > MAX_LINE_BYTES) socket.destroy()
  else socket.write(`${JSON.stringify(message)}\n`)
}
