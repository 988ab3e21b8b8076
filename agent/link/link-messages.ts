import type { Socket } from 'node:net'
import * as z from 'zod/mini'
import type { Instant } from '../clock.ts'
import type { Exit } from '../processes/spawn.ts'
import { isVersion } from '../python-version.ts'

/**
 * The agent and the launcher exchange JSON lines over a unix socket: the agent sends grants and orders, the launcher
 * sends facts. A line is at most 64 KiB.
 */
export const MAX_LINE_BYTES = 64 * 1024

export type StandbyMode = 'cold' | 'warm'

export interface StandbyView {
  /** The kind of start that is possible now. Also `cold` if a warmer standby could not be prepared. */
  readonly mode: StandbyMode
  readonly state: 'none' | 'preparing' | 'ready'
  /** Why it is colder than configured, or starts slower than it could, in one sentence. */
  readonly reason: string | null
}

/** In one sentence. `null` also while it is being prepared. */
export function whyColder({ mode, reason }: StandbyView, configured: StandbyMode): string | null {
  return mode === configured ? null : reason
}

export const COLD: StandbyView = { mode: 'cold', state: 'none', reason: null }

/** The right to run the workload until a fixed instant. It applies to the launcher's own clocks. */
export interface Grant {
  readonly epoch: number
  readonly identity: string
  /** Start of the doubt about leadership: from here on nothing may execute until a newer grant arrives. */
  readonly doubtAt: Instant
  /** From here on no process may be alive. */
  readonly killAt: Instant
  readonly onDoubt: 'freeze' | 'stop'
}

export type WorkloadState =
  | 'idle' // confirmed: no process is alive, and the port is free
  | 'running'
  | 'frozen'
  | 'stopping' // ordered to end, not confirmed yet
  | 'unstoppable' // a process is alive after SIGKILL, or has the port

export interface WorkloadView {
  readonly state: WorkloadState
  /** Of the grant that it runs or last ran under. */
  readonly epoch: number | null
  readonly identity: string | null
  readonly pid: number | null
  readonly killAt: number | null // `killAt.mono` of the grant in force
  readonly deadmanFirings: number
  readonly freezes: number
  /** Of the live workload, in ms of CLOCK_MONOTONIC: the order to start, and the first report that it is healthy. */
  readonly orderedAt: number | null
  readonly servedSince: number | null
  readonly loss: Loss | null
  readonly standby: StandbyView
}

/** Time before SIGKILL at which LangFlow is ordered to cut off its requests. It then ends within half a second. */
export const CUT_OFF_MS = 1_000

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

/** `worker`: no process accepts connections any more. `master`: a worker may accept, but no master manages it. */
export interface Loss {
  readonly role: 'worker' | 'master'
  readonly pids: readonly number[]
}

export function describeExit({ code, signal, unreaped }: Exit): string {
  const how = signal ?? `exit code ${code}`
  return unreaped ? `LangFlow's parent, tini, was killed (${how})` : `LangFlow ended by itself (${how})`
}

export function describeLoss({ role, pids }: Loss): string {
  return `LangFlow lost its ${role} (pid ${pids.join(', ')})`
}

export type WorkloadCause =
  | { kind: 'met' } // after a welcome: the launcher has searched for remains of an earlier one
  | { kind: 'nothing' } // a stop was ordered, but nothing runs
  | { kind: 'started' }
  | { kind: 'start_refused'; reason: string } // for example, the port is taken or the command does not exist
  | { kind: 'exited'; code: number | null; signal: NodeJS.Signals | null; unreaped?: true }
  | { kind: 'serving_lost'; loss: Loss } // it runs, but no longer serves
  | { kind: 'frozen' }
  | { kind: 'thawed' }
  | { kind: 'stopping' }
  | { kind: 'stopped'; durationMs: number }
  | { kind: 'killed'; durationMs: number }
  | { kind: 'deadman'; reason: string } // the launcher ended the workload by itself
  | { kind: 'stop_failed'; reason: string }
  | { kind: 'grant_refused'; reason: string }
  | { kind: 'grant_accepted' } // sent only after a refusal
  | { kind: 'standby' }

/** A launcher's CLOCK_BOOTTIME, and then its CLOCK_MONOTONIC, in ms, read in this order (see `BootOffset`). */
const BootReading = z.object({ boot: z.number(), mono: z.number() })
export type BootReading = z.infer<typeof BootReading>

/** Of the settings that must be equal on all replicas. */
export interface Digests {
  readonly flows: string | null
  readonly secretKey: string | null
  readonly inputs?: string | null
  /** Absent: neither `--handover-on-change` nor `--env-file` is set. */
  readonly content?: ContentView
}

/** The files of `--handover-on-change` and the variables of `--env-file`, as one launcher sees them. */
export interface ContentView {
  /** Of the last valid content, keyed by the secret key. */
  readonly digest: string | null
  readonly since: number // ms of CLOCK_MONOTONIC at which this launcher first saw it
  /** The content from which the live LangFlow was started, and when. */
  readonly running: string | null
  readonly startedAt: number
  /** The contents that this launcher has seen replaced, the latest first. */
  readonly earlier: readonly string[]
  readonly problem: string | null // why the files are not used as they are now, in one sentence
  readonly unfit: boolean // LangFlow could not start from them at all
}

export const UNKNOWN_DIGESTS: Digests = { flows: null, secretKey: null }

export const Hello = z.object({
  type: z.literal('hello'),
  version: z.number(),
  /** From an earlier `welcome`. Absent on a launcher's first connection. */
  token: z.exactOptional(z.string()),
  pid: z.number(),
  /** The launcher is PID 1, alone in its namespace: when it dies, the kernel kills the other processes. */
  alone: z.boolean(),
  /** The launcher's CLOCK_MONOTONIC in ms, to check that both ends share one clock. */
  mono: z.number(),
  /** For the difference between the two boot clocks. Absent: they are the same clock. */
  clocks: z.exactOptional(BootReading),
  /** The version of the LangFlow that it would start, by its package. Absent: unknown. */
  langflow: z.exactOptional(z.string().check(z.refine(isVersion))),
  view: z.custom<WorkloadView>((view) => typeof view?.state === 'string'),
})
export type Hello = z.infer<typeof Hello>

export type ToAgent =
  | Hello
  | { type: 'workload'; view: WorkloadView; cause: WorkloadCause }
  | { type: 'pong'; id: number; clocks?: BootReading }
  /** The CPU time that the workload has used so far. Only differences count. `null`: unknown. */
  | { type: 'measured'; cpuMs: number | null }
  | { type: 'digests'; digests: Digests }
  /** Sent after a welcome: the launcher has the lock that proves its death. */
  | { type: 'locked' }
  | { type: 'terminating' } // SIGTERM to the launcher itself: stop the workload, then hand over

export type ToLauncher =
  /** `tree` marks the workload's processes. The timeout is that of the standby's preparation. */
  | {
      type: 'welcome'
      token: string
      tree: string
      port: number
      standby: StandbyMode
      startTimeoutMs: number
    }
  | { type: 'refused'; reason: string }
  | { type: 'ping'; id: number }
  | { type: 'measure' }
  /** The instants are on the launcher's clocks. */
  | { type: 'grant'; grant: Grant }
  /** Start the workload under the grant in force, which must be of this epoch. */
  | { type: 'start'; epoch: number }
  | { type: 'healthy' } // the workload has become so
  | { type: 'prepare' } // the leader serves, so the standby no longer waits for that start
  /** SIGTERM, SIGKILL after `graceMs`, confirmation, all under the grant in force. A repeated stop is only earlier. */
  | { type: 'stop'; graceMs: number }
  | { type: 'kill' } // SIGKILL to every process now, and the end of the grant

/** Writes one line. A peer that does not read its messages is disconnected. */
export function writeLine(socket: Socket, message: ToAgent | ToLauncher): void {
  if (!socket.writable) return
  if (socket.writableLength > MAX_LINE_BYTES) socket.destroy()
  else socket.write(`${JSON.stringify(message)}\n`)
}
