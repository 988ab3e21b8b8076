import { type ChildProcess, fork } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'

const LOAD = fileURLToPath(new URL('./load.ts', import.meta.url))
/** Time beyond the planned duration of a job. Each request has its own timeout. */
const WITHIN_MS = 30_000

/** A series of POST requests. No request is sent after `forMs`. Each has a body of 1 KiB, except uploads. */
export type Job = { readonly port: number; readonly forMs: number } & (
  | { readonly kind: 'paced'; readonly rate: number }
  | { readonly kind: 'closed'; readonly connections: number }
  | { readonly kind: 'upload'; readonly bytes: number; readonly count: number }
)

export interface Outcome {
  /** The time from sending to the end of the answer, for each request that was answered with 200. */
  readonly ms: readonly number[]
  /** Number of failed requests for each reason. */
  readonly failed: Readonly<Record<string, number>>
  /** Requests that were due, but not sent, because too many were in flight. */
  readonly unsent: number
  readonly tookMs: number
}

/** Runs the client in a child process. */
export class Loader {
  readonly #child: ChildProcess = fork(LOAD, { serialization: 'advanced' })
  readonly #gone = once(this.#child, 'exit').then(([code, signal]) => {
    throw new Error(`the load generator ended with ${signal ?? code}`)
  })

  constructor() {
    // `run` reports the rejection. Without a job, it has no other handler.
    this.#gone.catch(() => {})
  }

  /** Runs one job. Callers must not run two at the same time. */
  async run(job: Job): Promise<Outcome> {
    const signal = AbortSignal.timeout(job.forMs + WITHIN_MS)
    const done = once(this.#child, 'message', { signal })
    this.#child.send(job)
    const [outcome] = (await Promise.race([done, this.#gone])) as [Outcome]
    return outcome
  }

  /** Like `run`, but rejects if a request is not answered. */
  async runAll(job: Job): Promise<Outcome> {
    const outcome = await this.run(job)
    const { ms, failed, unsent } = outcome
    const wrong = failures(outcome) + unsent
    if (wrong > 0) {
      const listed = Object.entries({ ...failed, 'not sent': unsent }).map(([why, n]) => `${why}: ${n}`)
      throw new Error(`${wrong} of ${wrong + ms.length} requests failed: ${listed.join('; ')}`)
    }
    return outcome
  }

  async stop(): Promise<void> {
    if (this.#child.connected) this.#child.disconnect()
    await this.#gone.catch(() => {})
  }
}

export function failures({ failed }: Outcome): number {
  return Object.values(failed).reduce((sum, one) => sum + one, 0)
}
