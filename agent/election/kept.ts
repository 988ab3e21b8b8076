import { ApiError } from '../kube/errors.ts'
import { epochOf, holderOf, isNewer, type Lease } from '../lease/lease.ts'
import type { Write } from './state.ts'
import { isReleased } from './vacancy.ts'

/**
 * A success is no proof: what stands between this replica and etcd (a mutating webhook, a proxy) may drop a write and answer
 * 200, and nobody else would see the Lease renewed. Says what the answer lacks of the write; `null`: nothing. The renew time
 * may come back in another form (some truncate it), but not as it was before.
 *
 * @param written renew times of all of this replica's writes
 */
export function notKept(
  write: Pick<Write, 'lease' | 'base'>,
  answer: Lease,
  written: readonly string[],
): ApiError | null {
  const lack = lackOf(write, answer, written)
  if (lack === null) return null
  const message = `the API server did not keep what was written: ${lack}; look for a webhook or a proxy that changes Leases`
  return new ApiError('not_kept', message, { mayHaveCommitted: true })
}

function lackOf(
  { lease, base }: Pick<Write, 'lease' | 'base'>,
  answer: Lease,
  written: readonly string[],
): string | null {
  const holder = holderOf(lease)
  if (holderOf(answer) !== holder) return `its holder is "${holderOf(answer)}" and not "${holder}"`
  if (epochOf(answer) !== epochOf(lease)) return `its epoch is ${epochOf(answer)} and not ${epochOf(lease)}`
  if (base !== null && !isNewer(answer.metadata.resourceVersion, base.metadata.resourceVersion))
    return 'it is no newer version'
  if (holder === '') {
    const releaser = isReleased(lease, null) && !isReleased(answer, null)
    return releaser ? 'it is no release' : null
  }
  const { renewTime, leaseDurationSeconds } = answer.spec ?? {}
  if (!renewTime || renewTime === base?.spec?.renewTime) return 'its renewTime is as before'
  // A newer version than this write was based on, and no newer one than an earlier write of which no answer came.
  if (renewTime !== lease.spec?.renewTime && written.includes(renewTime))
    return 'its renewTime is that of an earlier write'
  const duration = lease.spec?.leaseDurationSeconds ?? 0
  return (leaseDurationSeconds ?? 0) < duration
    ? `its leaseDurationSeconds is ${leaseDurationSeconds} and not ${duration}`
    : null
}
