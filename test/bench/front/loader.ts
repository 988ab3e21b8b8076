import { type ChildProcess, fork } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'

const LOAD = fileURLToPath(new URL('./load.ts', import.meta.url))
/** Beyond the time that a job takes by itself: every request has its own timeout. */
const WITHIN_MS = 30_000

/** All are POST requests; `forMs`: none is sent later. Beside uploads each has a body of 1 KiB. */
export type Job = { readonly port: number; readonly forMs: number } & (
  | { readonly kind: 'paced'; readonly rate: number }
  | { readonly kind: 'closed'; readonly connections: number }
  | { readonly kind: 'upload'; readonly bytes: number; readonly count: number }
)

export interface Outcome {
  /** From sending to the end of the answer, of each that was answered with 200. */
  readonly ms: readonly number[]
  /** How many failed, by why. */
  readonly failed: Readonly<Record<string, number>>
  /** Due, but too many were on their way. */
  readonly unsent: number
  readonly tookMs: number
}

/** The client's process. */
export class Loader {
  readonly #child: ChildProcess = fork(LOAD, { serialization: 'advanced' })
  readonly #gone = once(this.#child, 'exit').then(([code, signal]) => {
    throw new Error(`the load generator ended with ${signal ?? code}`)
  })

  constructor() {
    // Told to whoever waits for a job.
    this.#gone.catch(() => {})
  }

  /** One at a time. */
  async run(job: Job): Promise<Outcome> {
    const signal = AbortSignal.timeout(job.forMs + WITHIN_MS)
    const done = once(this.#child, 'message', { signal })
    this.#child.send(job)
    const [outcome] = (await Promise.race([done, this.#gone])) as [Outcome]
    return outcome
  }

  /** As `run`, where every request has to be answered. */
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
