import { setTimeout as sleep } from 'node:timers/promises'
import { askStatus } from '../harness/replica.ts'
import { mono } from '../harness/wait.ts'
import { BACK_OFF } from './kubelet.ts'
import type { Slot } from './slot.ts'

const LOOK_MS = 100
/** One that serves must go on for this long to count. */
const STEADY_MS = 4_000

/** What may pass after the last fault has healed until one serves, in milliseconds, by its name. */
export const ALLOWED = {
  'lease duration': 15_000,
  'retry period': 2_000,
  'back-off of the imitated kubelet': BACK_OFF.longestMs,
  'stop of a workload that ignores SIGTERM': 5_000,
  'start of agent, launcher and workload': 4_000,
} as const

const ALLOWED_MS = Object.values(ALLOWED).reduce((sum, ms) => sum + ms, 0)

export interface Recovery {
  /** From the last heal until one served who went on serving. */
  readonly ms: number
  readonly allowedMs: number
  /** Absent: it came in time. */
  readonly failed?: string
}

/** Whether exactly one serves in time after everything has healed, by who is ready at each look. */
export class RecoveryWatch {
  readonly #healedAt: number
  readonly #allowedMs: number
  #one = ''
  #since: number

  constructor(healedAt: number, allowedMs: number) {
    this.#healedAt = healedAt
    this.#allowedMs = allowedMs
    this.#since = healedAt
  }

  /** `undefined`: it cannot be told yet. */
  look(now: number, ready: readonly string[]): Recovery | undefined {
    const one = ready.length === 1 ? (ready[0] as string) : ''
    if (one !== this.#one) this.#since = now
    this.#one = one
    const [ms, allowedMs] = [this.#since - this.#healedAt, this.#allowedMs]
    if (one !== '' && ms <= allowedMs) return now - this.#since >= STEADY_MS ? { ms, allowedMs } : undefined
    const passedMs = now - this.#healedAt
    if (passedMs <= allowedMs) return undefined
    const who = ready.length === 0 ? 'nobody served' : `${ready.join(' and ')} served, and no one in time`
    const failed = `${who}, ${(passedMs / 1000).toFixed(1)} s after the last fault had healed; ${(allowedMs / 1000).toFixed(1)} s are allowed`
    return { ms: passedMs, allowedMs, failed }
  }
}

/** After everything has healed: waits until exactly one serves and goes on, or the time allowed is over. */
export async function recover(
  slots: readonly Slot[],
  ready: () => readonly string[],
  signal: AbortSignal,
): Promise<Recovery> {
  const healedAt = mono()
  // A workload that failed makes its replica wait: where all do, the first one to go on is allowed its time.
  const coolDownMs = Math.min(...(await Promise.all(slots.map(coolDown))))
  const watch = new RecoveryWatch(healedAt, ALLOWED_MS + coolDownMs)
  for (;;) {
    const recovery = watch.look(mono(), ready())
    if (recovery !== undefined) return recovery
    await sleep(LOOK_MS, undefined, { signal })
  }
}

/** Milliseconds until it campaigns again; one that cannot be asked is starting, and has no cool-down. */
async function coolDown({ pod }: Slot): Promise<number> {
  const status = await askStatus(pod.httpPort, 1_000).catch(() => undefined)
  return status?.leadership.coolDownMs ?? 0
}
