import { holderOf, type Lease, successorOf } from '../../agent/lease/lease.ts'
import { FAILOVER_TO, SWITCHOVER_TO } from '../../agent/lease/operator-annotations.ts'
import type { Commit } from './api-server.ts'
import { isAcquisition } from './knowledge.ts'
import type { Replica, ReplicaConfig } from './replica.ts'
import { Violation } from './violation.ts'

/** The shortest duration that clocks may measure as one. They are up to 0.02 % too fast, and this leaves some room. */
const SLOWEST_RATE = 0.9995

interface Note {
  readonly proven: readonly string[]
  readonly failed: readonly { readonly revision: string }[]
}

/** The Lease's note about revisions. The judge has its own parser, so that it can find errors in the product's. */
function noted(lease: Lease | null): Note {
  const text = lease?.metadata.annotations?.['langflow-leader/revisions']
  return text === undefined ? { proven: [], failed: [] } : (JSON.parse(text) as Note)
}

function hasFailed({ proven, failed }: Note, revision: string): boolean {
  return failed.some((one) => one.revision === revision) && proven.length > 0 && !proven.includes(revision)
}

/** Judges that no revision is noted as proven before it has served, and that a failed revision leaves the Lease to others. */
export class Revisions {
  private readonly now: () => number
  private readonly served = new Set<string>()
  private lease: Lease | null = null
  private writtenAt = Number.NEGATIVE_INFINITY
  private edited = true

  constructor(now: () => number) {
    this.now = now
  }

  look(replicas: readonly Replica[]): void {
    for (const { workload, config } of replicas) if (workload?.healthy) this.served.add(config.revision)
  }

  /** @param by the replica that wrote; `undefined` if a person wrote, or an instance that no longer exists */
  committed({ before, after, writer }: Commit, by: Replica | undefined): void {
    const note = noted(after)
    const unserved = note.proven.find((revision) => !this.served.has(revision))
    if (unserved !== undefined)
      throw new Violation('revisions', `revision ${unserved} is noted as proven, but it has never served`)
    if (by !== undefined && after !== null && before !== null && !this.edited) {
      const failed = hasFailed(noted(before), by.config.revision)
      const own = [holderOf(before), successorOf(before)].includes(by.identity)
      const freeMs = this.now() - this.writtenAt
      if (isAcquisition(after) && failed && !own && freeMs < SLOWEST_RATE * by.config.leaseDurationMs)
        throw new Violation(
          'revisions',
          `${by.instance} took the Lease after only ${Math.round(freeMs)} ms although its revision has failed`,
        )
      const notes = before.metadata.annotations ?? {}
      const asked = [SWITCHOVER_TO, FAILOVER_TO].some((key) => notes[key] !== undefined)
      if (
        holderOf(after) === '' &&
        hasFailed(note, by.config.revision) &&
        successorOf(after) !== null &&
        !asked
      )
        throw new Violation('revisions', `${by.instance} names a successor although its revision has failed`)
    }
    this.lease = after
    this.edited = writer === null
    this.writtenAt = this.now()
  }

  yields({ revision }: ReplicaConfig): boolean {
    return hasFailed(noted(this.lease), revision)
  }
}
