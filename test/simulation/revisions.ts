import { holderOf, type Lease, successorOf } from '../../agent/lease/lease.ts'
import type { Commit } from './api-server.ts'
import { isAcquisition } from './knowledge.ts'
import type { Replica, ReplicaConfig } from './replica.ts'
import { Violation } from './violation.ts'

/** Clocks go up to 0.02 % too fast. */
const SLOWEST_RATE = 0.9995

interface Note {
  readonly proven: readonly string[]
  readonly failed: readonly { readonly revision: string }[]
}

/** What the Lease says. Judged by these lines, not by those of the product. */
function noted(lease: Lease | null): Note {
  const text = lease?.metadata.annotations?.['langflow-leader/revisions']
  return text === undefined ? { proven: [], failed: [] } : (JSON.parse(text) as Note)
}

function hasFailed({ proven, failed }: Note, revision: string): boolean {
  return failed.some((one) => one.revision === revision) && proven.length > 0 && !proven.includes(revision)
}

/** No revision counts as proven that has not served; one whose first start failed leaves the Lease to others. */
export class Revisions {
  private readonly now: () => number
  private readonly served = new Set<string>()
  private lease: Lease | null = null
  private writtenAt = Number.NEGATIVE_INFINITY
  private edited = true

  constructor(now: () => number) {
    this.now = now
  }

  /** After each step. */
  look(replicas: readonly Replica[]): void {
    for (const { workload, config } of replicas) if (workload?.healthy) this.served.add(config.revision)
  }

  /** @param by the replica that wrote; absent where a person did, or one that is no more */
  committed({ before, after, writer }: Commit, by: Replica | undefined): void {
    const note = noted(after)
    const unserved = note.proven.find((revision) => !this.served.has(revision))
    if (unserved !== undefined)
      throw new Violation('revisions', `${unserved} counts as proven, and has not served`)
    if (by !== undefined && after !== null && before !== null && !this.edited) {
      const failed = hasFailed(noted(before), by.config.revision)
      const own = [holderOf(before), successorOf(before)].includes(by.identity)
      const freeMs = this.now() - this.writtenAt
      if (isAcquisition(after) && failed && !own && freeMs < SLOWEST_RATE * by.config.leaseDurationMs)
        throw new Violation(
          'revisions',
          `${by.instance} took the Lease after ${Math.round(freeMs)} ms, and its revision has failed`,
        )
      const asked = before.metadata.annotations?.['langflow-leader/switchover-to'] !== undefined
      if (
        holderOf(after) === '' &&
        hasFailed(note, by.config.revision) &&
        successorOf(after) !== null &&
        !asked
      )
        throw new Violation('revisions', `${by.instance} failed, and names who follows it`)
    }
    this.lease = after
    this.edited = writer === null
    this.writtenAt = this.now()
  }

  /** It waits a lease duration for others. */
  yields({ revision }: ReplicaConfig): boolean {
    return hasFailed(noted(this.lease), revision)
  }
}
