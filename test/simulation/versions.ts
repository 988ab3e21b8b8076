import type { Lease } from '../../agent/lease/lease.ts'
import type { Commit } from './api-server.ts'
import type { Limit } from './limits.ts'
import type { Replica, ReplicaConfig } from './replica.ts'
import { Violation } from './violation.ts'

/** What the Lease says; '': nothing. Judged by these lines, not by those of the product. */
function noted(lease: Lease | null): string {
  return lease?.metadata.annotations?.['langflow-leader/langflow-version'] ?? ''
}

/** Of the versions that the model has, and '', which is older than any. */
function isOlder(a: string, b: string): boolean {
  const [first, second] = [a, b].map((version) => version.split('.').map(Number)) as [number[], number[]]
  const at = first.findIndex((number, i) => number !== second[i])
  return at >= 0 && (first[at] as number) < (second[at] ?? 0)
}

/** No LangFlow is started once a newer one was, unless its replica may be older. */
export class Versions {
  private newestStarted = ''
  private lease: Lease | null = null
  /** What the Lease said, until a person took that away; '': nothing was. */
  private forgotten = ''

  committed({ writer, before, after }: Commit): void {
    this.lease = after
    const said = noted(before)
    if (writer === null && isOlder(noted(after), said) && isOlder(this.forgotten, said)) this.forgotten = said
    if (!isOlder(noted(after), this.forgotten)) this.forgotten = ''
  }

  /** Returns why it may be older; `null`: it is not, or is allowed to be. */
  started({ config: { langflow, allowOlder }, instance }: Replica): Limit | null {
    if (langflow === null) return null
    const { newestStarted, forgotten } = this
    this.newestStarted = langflow
    if (allowOlder || !isOlder(langflow, newestStarted)) return null
    if (!isOlder(forgotten, newestStarted)) return 'version forgotten'
    throw new Violation('versions', `${instance} started LangFlow ${langflow} after ${newestStarted}`)
  }

  /** By what the Lease says now it would not compete. */
  keepsAway({ langflow, allowOlder }: ReplicaConfig): boolean {
    return langflow !== null && !allowOlder && isOlder(langflow, noted(this.lease))
  }
}
