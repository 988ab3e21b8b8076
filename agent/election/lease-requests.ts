import type { Instant } from '../clock.ts'
import { ApiError } from '../kube/kube-errors.ts'
import {
  annotated,
  epochAfter,
  epochOf,
  holderOf,
  isNewer,
  isReleased,
  LARGEST_TRANSITIONS,
  type Lease,
  langflowOf,
  microTime,
  type Notes,
} from '../lease/lease.ts'
import { pauseIsOver } from '../lease/operator-annotations.ts'
import { isOlder } from '../python-version.ts'
import { detectedAfter, historyNote } from './history-note.ts'
import { failedStart, revisionsNoted } from './revision-trial.ts'
import {
  type CandidateConfig,
  type CandidateState,
  doubtAt,
  type ElectionState,
  emit,
  type Input,
  killAt,
  type Write,
  type WriteKind,
  writerWall,
} from './state.ts'

/** Writes that can still surface as committed are few: one request is in flight at a time. */
const REMEMBERED_WRITES = 32

/**
 * Sends a write. Its body keeps everything of the Lease that this program does not own, and its `resourceVersion`: every write
 * is a compare-and-swap (rule 4), except for a creation, which the API server refuses when the Lease exists.
 *
 * @param because of an `acquire`: why the Lease is free; of a `release`: why it is given back by a replica that doesn't lead
 */
export function sendWrite<S extends CandidateState>(
  input: Input,
  state: S,
  kind: WriteKind,
  because: Write['because'] = null,
): S {
  const { config, now } = input
  const { seen, term, highestEpoch, nextWriteId: id, written, created } = state
  const base = seen?.lease ?? null
  const renewTime = microTime(now.wall, (config.salt + id) % 1000)
  const led = term?.epoch ?? (base === null ? 0 : epochOf(base))
  const epoch = kind === 'acquire' ? epochAfter(highestEpoch) : led
  const held = { holderIdentity: config.identity, leaseDurationSeconds: config.leaseDurationMs / 1000 }
  // client-go's form of a release: no holder, one second.
  const holder = kind === 'release' ? { holderIdentity: '', leaseDurationSeconds: 1 } : held
  const begins = kind === 'acquire' || kind === 'release'
  const acquireTime = begins ? { acquireTime: renewTime } : term && { acquireTime: term.acquireTime }
  const unchangedMs = seen === null ? 0 : now.mono - seen.changedAt
  const detectMs = detectedAfter(input, state)
  const leaseTransitions = Math.min(epoch, LARGEST_TRANSITIONS)
  const write: Write = {
    id,
    kind,
    base,
    renewTime,
    sentAt: now,
    because,
    unchangedMs,
    detectMs,
    lease: {
      ...(base ?? { apiVersion: 'coordination.k8s.io/v1', kind: 'Lease' }),
      metadata: annotated(
        base?.metadata ?? (kind === 'recreate' ? { annotations: state.lastNotes } : {}),
        notesFor(input, state, { kind, because, detectMs, epoch }),
      ),
      spec: { ...base?.spec, ...holder, renewTime, ...acquireTime, leaseTransitions },
    },
  }
  const sent = {
    ...state,
    inFlight: true,
    pending: write,
    attemptedAt: now,
    nextWriteId: id + 1,
    nextAttemptAt: now.mono + config.retryPeriodMs,
    written: [...written.slice(-REMEMBERED_WRITES), renewTime],
    created: base === null ? [...created.slice(-REMEMBERED_WRITES), renewTime] : created,
  }
  return emit(sent, { type: 'write', write, deadlineMs: requestDeadline(config, state, now) })
}

export function sendRead<S extends CandidateState>({ config, now }: Input, state: S): S {
  const nextPollAt = now.mono + config.retryPeriodMs
  const sent = { ...state, inFlight: true, readSentAt: now, readAfter: state.seen, nextPollAt }
  return emit(sent, { type: 'read', deadlineMs: requestDeadline(config, state, now) })
}

/**
 * Monotonic ms until which the API server asked to be left alone (Retry-After). No renewal is skipped for that, no grant is
 * lost that is to be taken back, and no Lease stays free for longer than by rule 11.
 */
export function askedToWait({ config, now }: Input, { retryAfterMs = 0 }: ApiError): number {
  return now.mono + Math.min(retryAfterMs, config.retryPeriodMs)
}

/**
 * Half the renew deadline, as the Kubernetes components do it, so that two attempts fit; less once that would
 * carry the request past the doubt, where a new connection is worth more than an old answer.
 */
function requestDeadline(config: CandidateConfig, { term }: ElectionState, now: Instant): number {
  const half = config.renewDeadlineMs / 2
  if (term === null) return half
  const untilDoubt = doubtAt(config, term.renewedAt).mono - now.mono
  const untilKill = killAt(config, term.renewedAt).mono - now.mono
  return Math.min(half, Math.max(config.retryPeriodMs, untilDoubt), Math.max(1, untilKill))
}

/** A successor is for the one Lease that was released to it, and so is the word of who released it. */
function notesFor(
  input: Input,
  state: ElectionState,
  write: Pick<Write, 'kind' | 'because' | 'detectMs'> & { readonly epoch: number },
): Notes {
  const { owner, identity, allowOlder, front } = input.config
  const { workload, seen, term, refusal, paused } = state
  const { kind, epoch } = write
  // Which LangFlow led in a term that ended with its pod is noted already, and is not this replica's to say.
  const langflow = kind === 'release' && write.because !== null ? null : workload.langflow
  // The newest version that has led: written with what takes the Lease, and so before its LangFlow can act.
  const noted = seen?.lease ? langflowOf(seen.lease) : null
  const older = langflow !== null && noted !== null && !allowOlder && isOlder(langflow, noted)
  const history = historyNote(input, state, write)
  const revisions = revisionsNoted(input.config, state)
  // A pause that came after the step-down began would keep every replica from following it.
  const tooLate = paused && term?.stepDown?.paused === false
  const both = {
    epoch,
    ...(langflow !== null && { langflow: older ? noted : langflow }),
    ...(history !== undefined && { history }),
    ...(revisions !== state.revisions && { revisions: JSON.stringify(revisions) }),
    ...((tooLate || pauseIsOver(seen?.lease ?? null, writerWall(state, input.now))) && {
      resumed: true as const,
    }),
    // Once the key's term is about to be over, nobody needs it.
    ...(front !== null && {
      front:
        kind === 'release'
          ? null
          : term?.stepDown && term.stepDown.toldBy !== null
            ? ('closing' as const)
            : front,
    }),
  }
  // A request is for the leader that it was made to.
  const answered = { answered: true } as const
  if (kind === 'renew') return refusal?.open ? { ...both, ...answered } : both
  const own = owner === null ? both : { ...both, owner }
  if (kind === 'release') {
    // The one that is prepared best may be of the very revision that failed.
    const failed = term?.stepDown?.blames || failedStart(input.config, state) !== null
    const successor = term?.stepDown?.to ?? (failed ? null : state.successor)
    return { ...own, ...answered, successor, released: { identity, epoch } }
  }
  return { ...own, ...(kind === 'acquire' && answered), successor: null, released: null }
}

/**
 * A success is no proof: what stands between this replica and etcd (a mutating webhook, a proxy) may drop a write and answer
 * 200, and nobody else would see the Lease renewed. Says what the answer lacks of the write; `null`: nothing. The renew time
 * may come back in another form (some truncate it), but not as it was before.
 *
 * @param written renew times of all of this replica's writes
 */
export function notKept(
  { lease, base }: Pick<Write, 'lease' | 'base'>,
  answer: Lease,
  written: readonly string[],
): ApiError | null {
  const lacks = (lack: string) => {
    const message = `the API server did not keep what was written: ${lack}; look for a webhook or a proxy that changes Leases`
    return new ApiError('not_kept', message, { mayHaveCommitted: true })
  }
  const [holder, epoch] = [holderOf(lease), epochOf(lease)]
  if (holderOf(answer) !== holder) return lacks(`its holder is "${holderOf(answer)}" and not "${holder}"`)
  if (epochOf(answer) !== epoch) return lacks(`its epoch is ${epochOf(answer)} and not ${epoch}`)
  if (base !== null && !isNewer(answer.metadata.resourceVersion, base.metadata.resourceVersion))
    return lacks('it is no newer version')
  if (holder === '')
    return isReleased(lease, null) && !isReleased(answer, null) ? lacks('it is no release') : null
  const { renewTime, leaseDurationSeconds } = answer.spec ?? {}
  if (!renewTime || renewTime === base?.spec?.renewTime) return lacks('its renewTime is as before')
  // A newer version than this write was based on, and no newer one than an earlier write of which no answer came.
  if (renewTime !== lease.spec?.renewTime && written.includes(renewTime))
    return lacks('its renewTime is that of an earlier write')
  const duration = lease.spec?.leaseDurationSeconds ?? 0
  if ((leaseDurationSeconds ?? 0) >= duration) return null
  return lacks(`its leaseDurationSeconds is ${leaseDurationSeconds} and not ${duration}`)
}
