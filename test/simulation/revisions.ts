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
  readonly failed: readonly { revision: string; because: string; attempts: number }[]
}

/** Only LangFlow's own failures, and a launcher that ends at another attempt as well, count against a revision. */
const OWN_FAILURES = ['workload_exited', 'workload_unhealthy', 'workload_lost', 'start_timeout']

/** The Lease's note about revisions. The judge has its own parser, so that it can find errors in the product's. */
function noted(lease: Lease | null): Note {
  const text = lease?.metadata.annotations?.['langflow-leader/revisions']
  return text === undefined ? { proven: [], failed: [] } : (JSON.parse(text) as Note)
}

function hasFailed({ proven, failed }: Note, revision: string): boolean {
  const counts = failed.some(
    ({ revision: of, because, attempts }) =>
      of === revision && (OWN_FAILURES.includes(because) || (because === 'launcher_gone' && attempts > 1)),
  )
  return counts && proven.length > 0 && !proven.includes(revision)
}

function endedBecause(lease: Lease): string | null {
  const terms = JSON.parse(lease.metadata.annotations?.['langflow-leader/history'] ?? '[]')
  return terms[0]?.endedBecause ?? null
}

/**
 * Judges that no revision is noted as proven before it has served, that a failed revision leaves the Lease to others, and
 * that none fails for another reason than LangFlow's own failure.
 */
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
      const ends = holderOf(before) === by.identity && holderOf(after) === ''
      if (ends && endedBecause(after) === 'revision_failed' && !hasFailed(note, by.config.revision))
        throw new Violation('revisions', `${by.instance} blames its revision for ${note.failed[0]?.because}`)
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
