import type { Lease } from '../../agent/lease/lease.ts'
import type { Commit } from './api-server.ts'
import type { Limit } from './limits.ts'
import type { Replica, ReplicaConfig } from './replica.ts'
import { Violation } from './violation.ts'

/** The newest LangFlow version that the Lease names, or ''. The judge has its own parser, so that it can find errors in the product's. */
function noted(lease: Lease | null): string {
  return lease?.metadata.annotations?.['langflow-leader/langflow-version'] ?? ''
}

/** Compares only the versions that the model uses. The empty version is older than all others. */
function isOlder(a: string, b: string): boolean {
  const [first, second] = [a, b].map((version) => version.split('.').map(Number)) as [number[], number[]]
  const at = first.findIndex((number, i) => number !== second[i])
  return at >= 0 && (first[at] as number) < (second[at] ?? 0)
}

/** Judges that no LangFlow starts after a newer one. */
export class Versions {
  private newestStarted = ''
  private lease: Lease | null = null
  /** The version that the Lease named before a person removed it. '': no person has. */
  private lost = ''

  committed({ writer, before, after }: Commit): void {
    this.lease = after
    const version = noted(before)
    if (writer === null && isOlder(noted(after), version) && isOlder(this.lost, version)) this.lost = version
    if (!isOlder(noted(after), this.lost)) this.lost = ''
  }

  /** Returns the limit that excuses an older version. */
  started({ config: { langflow }, instance }: Replica): Limit | null {
    if (langflow === null) return null
    const { newestStarted, lost } = this
    this.newestStarted = langflow
    if (!isOlder(langflow, newestStarted)) return null
    if (!isOlder(lost, newestStarted)) return 'version lost'
    throw new Violation('versions', `${instance} started LangFlow ${langflow} after ${newestStarted}`)
  }

  /** Whether the version in the Lease prevents this replica from campaigning. */
  keepsAway({ langflow }: ReplicaConfig): boolean {
    return langflow !== null && isOlder(langflow, noted(this.lease))
  }
}
