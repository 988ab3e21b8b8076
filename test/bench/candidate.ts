import type { LoggedProcess } from '../support/logged-process.ts'

/** One process that competes for a Lease: the product's, or the peer's. */
export interface Candidate {
  readonly identity: string
  readonly process: LoggedProcess
  /** Resolves once it leads, its workload serving, or stands by. */
  ready(): Promise<void>
  /** Resolves once it leads, its workload serving. */
  leads(): Promise<void>
  /** When it gave the Lease up, in ms of the wall clock, by its own log. */
  released(): Promise<number>
  /** When it got the Lease, likewise. */
  acquired(): Promise<number>
  /** SIGKILL to each of its processes. */
  kill(): void
}

/** One contestant of the comparison. */
export interface Side {
  readonly name: string
  readonly lease: string
  /** Prepares a namespace, and returns what starts candidates there. */
  enter(namespace: string): Promise<(identity: string) => Promise<Candidate>>
}
