import type { Instant } from '../clock.ts'
import {
  annotated,
  epochAfter,
  epochOf,
  LARGEST_TRANSITIONS,
  type Lease,
  type LeaseSpec,
  langflowOf,
  type Notes,
} from '../lease/lease.ts'
import { isOlder } from '../package-version.ts'
import type { CandidateConfig, ElectionState, Term, Write, WriteKind } from './state.ts'

/** Writes that can still surface as committed are few: one request is in flight at a time. */
const REMEMBERED_WRITES = 32

/** Unix ms as the API's MicroTime; the microseconds are the writer's own mark. */
function microTime(wall: number, micros: number): string {
  const millis = new Date(wall).toISOString().slice(0, -1)
  return `${millis}${String(micros).padStart(3, '0')}Z`
}

/**
 * The next write of a kind, and the state that remembers it. The body keeps everything of the Lease that this program
 * does not own, and its `resourceVersion`: every write is a compare-and-swap (rule 4), except for a creation,
 * which the API server refuses when the Lease exists.
 */
export function prepareWrite(
  config: CandidateConfig,
  state: ElectionState,
  kind: WriteKind,
  because: string,
  now: Instant,
): { state: ElectionState; write: Write } {
  const id = state.nextWriteId
  const renewTime = microTime(now.wall, (config.salt + id) % 1000)
  const base = state.seen?.lease ?? null
  const epoch = epochFor(state, kind, base)
  const write: Write = {
    id,
    kind,
    base,
    renewTime,
    sentAt: now,
    because,
    unchangedMs: state.seen === null ? 0 : now.mono - state.seen.changedAt,
    lease: {
      ...(base ?? { apiVersion: 'coordination.k8s.io/v1', kind: 'Lease' }),
      metadata: annotated(base?.metadata ?? {}, notesFor(config, state, kind, epoch, base)),
      spec: {
        ...base?.spec,
        ...specFor(config, state, kind, renewTime),
        leaseTransitions: Math.min(epoch, LARGEST_TRANSITIONS),
      },
    },
  }
  return {
    write,
    state: {
      ...state,
      inFlight: true,
      pending: write,
      attemptedAt: now,
      nextWriteId: id + 1,
      nextAttemptAt: now.mono + config.retryPeriodMs,
      written: [...state.written.slice(-REMEMBERED_WRITES), renewTime],
      created: base === null ? [...state.created.slice(-REMEMBERED_WRITES), renewTime] : state.created,
    },
  }
}

function epochFor({ highestEpoch, term }: ElectionState, kind: WriteKind, base: Lease | null): number {
  if (kind === 'acquire') return epochAfter(highestEpoch)
  if (kind === 'resume') return base === null ? 0 : epochOf(base)
  return (term as Term).epoch
}

/** A successor is for the one Lease that was released to it, and so is the word of who released it. */
function notesFor(
  config: CandidateConfig,
  state: ElectionState,
  kind: WriteKind,
  epoch: number,
  base: Lease | null,
): Notes {
  const { owner, identity } = config
  const both = { epoch, ...langflowFor(config, state, base) }
  if (kind === 'renew') return both
  const own = owner === null ? both : { ...both, owner }
  if (kind === 'release') return { ...own, successor: state.successor, released: { identity, epoch } }
  return { ...own, successor: null, released: null }
}

/** The newest version that has led: written with what takes the Lease, and so before its LangFlow can act. */
function langflowFor(
  { allowOlder }: CandidateConfig,
  { workload: { langflow } }: ElectionState,
  base: Lease | null,
): Pick<Notes, 'langflow'> {
  if (langflow === null) return {}
  const noted = base === null ? null : langflowOf(base)
  return { langflow: noted !== null && !allowOlder && isOlder(langflow, noted) ? noted : langflow }
}

function specFor(
  config: CandidateConfig,
  state: ElectionState,
  kind: WriteKind,
  renewTime: string,
): LeaseSpec {
  const held = {
    holderIdentity: config.identity,
    leaseDurationSeconds: config.leaseDurationMs / 1000,
    renewTime,
  }
  switch (kind) {
    case 'acquire':
      return { ...held, acquireTime: renewTime }
    case 'resume':
      return held
    case 'renew':
    case 'recreate':
      return { ...held, acquireTime: (state.term as Term).acquireTime }
    case 'release':
      // client-go's form of a release: no holder, one second.
      return { holderIdentity: '', leaseDurationSeconds: 1, acquireTime: renewTime, renewTime }
  }
}
