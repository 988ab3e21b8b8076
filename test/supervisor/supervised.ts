import { NEVER, type Workload } from '../../agent/election/state.ts'
import {
  NOTHING,
  type StandbyMode,
  type ToLauncher,
  type WorkloadCause,
  type WorkloadView,
} from '../../agent/link/link-messages.ts'
import {
  type Connections,
  initialRecord,
  statusOf,
  type WorkloadEffect,
  type WorkloadEvent,
  type WorkloadRecord,
  workloadOf,
} from '../../agent/supervisor/workload-record.ts'
import { step } from '../../agent/supervisor/workload-step.ts'

type View = Partial<WorkloadView>
/** An event, or a delay in milliseconds. */
export type Input = WorkloadEvent | number

export const IDLE: View = { state: 'idle', epoch: 3 }
export const RUNS: View = { state: 'running', epoch: 3, identity: 'me', pid: 42, killAt: 9 }
export const FROZEN: View = { ...RUNS, state: 'frozen' }
export const STOPPING: View = { ...RUNS, state: 'stopping' }

export const START: WorkloadEvent = { type: 'start', epoch: 3 }
export const KILL: WorkloadEvent = { type: 'kill' }
/** The gate closes immediately. */
export const stop = (graceMs: number, open: Connections = 0): WorkloadEvent[] => [
  { type: 'stop', graceMs },
  { type: 'gate_closed', open },
]

/** `returning`: the same launcher reconnects. A new one has not searched for remains yet. */
export function connect(
  view: View = {},
  returning = false,
  more: { alone?: boolean; langflow?: string } = {},
): WorkloadEvent {
  const its = { version: 1, pid: 1, alone: false, mono: 0, view: { ...NOTHING, ...view }, ...more } as const
  return { type: 'connected', hello: { type: 'hello', ...its }, returning, ended: null }
}
export function reports(cause: WorkloadCause, view: View = {}): WorkloadEvent {
  return { type: 'received', message: { type: 'workload', view: { ...NOTHING, ...view }, cause } }
}

export const MET = reports({ kind: 'met' })
export const STARTED = reports({ kind: 'started' }, RUNS)
export const KILLED = reports({ kind: 'killed', durationMs: 5 }, IDLE)
export const EXITED = reports({ kind: 'exited', code: null, signal: 'SIGKILL' }, STOPPING)
export const FREEZES = reports({ kind: 'frozen' }, FROZEN)
export const THAWS = reports({ kind: 'thawed' }, RUNS)
export const PONG: WorkloadEvent = { type: 'received', message: { type: 'pong', id: 0 } }
export const GONE: WorkloadEvent = { type: 'gone', byPeer: true }
export const HEALTHY: WorkloadEvent = { type: 'healthy' }
export const UNHEALTHY: WorkloadEvent = {
  type: 'unhealthy',
  reason: '/health: 500',
  hangs: false,
  answeredAt: 0,
}
export const HANGS: WorkloadEvent = { ...UNHEALTHY, hangs: true }
export const SILENT: WorkloadEvent = { type: 'silence', lasts: true }
export const ANSWERS: WorkloadEvent = { type: 'silence', lasts: false }
/** The launcher's reading of LangFlow's CPU time. */
export const used = (cpuMs: number | null): WorkloadEvent => ({
  type: 'received',
  message: { type: 'measured', cpuMs },
})
export const beats = (count: number): WorkloadEvent[] => Array(count).fill({ type: 'heartbeat' })
export const loses = (role: 'worker' | 'master'): WorkloadEvent => {
  const loss = { role, pids: [7] }
  return reports({ kind: 'serving_lost', loss }, { ...RUNS, loss })
}

/** A launcher that is idle; one with an order to start; one that runs LangFlow; a LangFlow that has served for 20 s. */
export const MEETS = [connect(), MET]
export const STARTS = [...MEETS, START]
export const RUNNING = [...STARTS, STARTED]
export const SERVING = [...RUNNING, 500, HEALTHY, 20_000]

/** The pure step and its deadlines. No effect is carried out. */
export class Supervised {
  record: WorkloadRecord
  now = 1_000_000
  effects: WorkloadEffect[] = []

  constructor(inputs: readonly Input[] = [], canReclaim = false, standby: StandbyMode = 'warm') {
    const timeouts = { startTimeoutMs: 60_000, stopTimeoutMs: 30_000, busyTimeoutMs: 30_000 }
    const config = { ...timeouts, killMarginMs: 1_000 }
    this.record = initialRecord({ ...config, standby, canReclaim }, this.now)
    this.after(...inputs)
  }

  after(...inputs: readonly Input[]): this {
    for (const one of inputs) typeof one === 'number' ? this.pass(one) : this.take(one)
    return this
  }

  private take(event: WorkloadEvent): void {
    this.record = step(this.record, event, this.now)
    this.effects.push(...this.record.effects)
  }

  private pass(ms: number): void {
    const until = this.now + ms
    for (;;) {
      const next = Math.min(...Object.values(this.record.deadlines))
      if (next === NEVER || next > until) break
      this.now = Math.max(this.now, next)
      this.take({ type: 'deadline' })
    }
    this.now = until
  }

  get workload(): Workload {
    return workloadOf(this.record)
  }

  of<Type extends WorkloadEffect['type']>(type: Type): Extract<WorkloadEffect, { type: Type }>[] {
    return this.effects.filter(
      (effect): effect is Extract<WorkloadEffect, { type: Type }> => effect.type === type,
    )
  }

  /** The messages to the launcher since the last call, except for pings. */
  orders(): ToLauncher[] {
    const sent = this.of('send').map(({ message }) => message)
    this.effects = this.effects.filter(({ type }) => type !== 'send')
    return sent.filter(({ type }) => type !== 'ping')
  }

  get status() {
    return statusOf(this.record)
  }
}
