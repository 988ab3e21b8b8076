import { LANGFLOW, langflowOf } from '../lease/lease.ts'
import { isOlder } from '../package-version.ts'
import type { ElectionState } from './state.ts'
import type { Turn } from './turn.ts'

/**
 * An older LangFlow that is started on the database of a newer one destroys a part of it. The Lease says who has led, and is
 * looked at in each turn that could take it.
 */
export function judgeVersion(turn: Turn): void {
  const found = turn.config.allowOlder ? null : outdated(turn.state)
  if (found !== turn.state.outdated) turn.set({ outdated: found })
}

function outdated({ seen, term, workload: { langflow } }: ElectionState): string | null {
  const noted = seen === null || seen.lease === null ? null : langflowOf(seen.lease)
  if (langflow === null || noted === null || !isOlder(langflow, noted)) return null
  return term === null
    ? `LangFlow ${langflow} of this replica is older than ${noted}, which has led, and would damage the database that ${noted} has ` +
        `migrated: use ${noted} or newer here, or, where a backup from before is restored, --allow-older (LEADER_ALLOW_OLDER=true)`
    : `LangFlow ${langflow} leads here although the Lease says that ${noted} has led: it goes on, and no replica of its version ` +
        `would follow it; where no ${noted} has run, set the Lease's annotation ${LANGFLOW} to ${langflow}`
}

/** Why this replica is not to compete for the Lease; `null`: it is. */
export function barrier({ barred, outdated }: ElectionState): string | null {
  return barred ?? outdated
}
