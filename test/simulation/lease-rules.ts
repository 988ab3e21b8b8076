import { durationOf, epochOf, holderOf, type Lease, sameRecord } from '../../agent/lease/lease.ts'
import { pauseOf } from '../../agent/lease/operator-annotations.ts'
import type { Commit } from './api-server.ts'
import type { Judge } from './judge.ts'
import { isAcquisition, isVacant, neverHeld, renewTimeOf, versionOf } from './knowledge.ts'
import type { Limit } from './limits.ts'
import type { ReplicaConfig } from './replica.ts'
import { Violation } from './violation.ts'

/** An owner's right to the Lease: other replicas must not take it before its end. */
interface Claim {
  /** The instance. `null`: a person wrote a name that no replica has. */
  readonly owner: string | null
  readonly begunAt: number
  readonly since: number
  /**
   * The records since the owner's last write, each with its first time. If an edit restores one of them, a candidate that
   * missed the edits in between has seen no change.
   */
  readonly records: readonly { readonly lease: Lease; readonly since: number }[]
  /** How long candidates must wait after `since`. `null`: for the lease duration of the candidate that takes the Lease. */
  readonly ms: number | null
  /** Milliseconds after `since` for which the owner counts on the Lease. */
  readonly promisedMs: number
  /** The first version of the claim. A replica that has read this version or a later one must respect it. */
  readonly version: number
  /** A person made the Lease look as if its holder had released it. */
  readonly faked: boolean
}

/** Longest time from a request's deadline until the agent acts on its outcome. */
const ANSWERED_MS = 250

/** The longest time between two reads of an absent Lease for which the absence counts as continuous. */
function longestGapMs({ retryPeriodMs, renewDeadlineMs }: ReplicaConfig): number {
  // Two retry periods between two answers, and the first answer may have taken a whole request deadline.
  return 2 * retryPeriodMs + renewDeadlineMs / 2 + ANSWERED_MS
}

/** The recorded lease duration in ms. `null`: the record has none. */
function recorded(lease: Lease): number | null {
  return durationOf(lease, 0) || null
}

/** The most by which two clocks differ after `ms` within the assumed drift, plus 1 ms for rounding. */
function drift(ms: number): number {
  return 1 + 2 * 200e-6 * ms
}

/** Judges rules 4, 6 and 7, and that epochs grow: compares each write of the Lease with the current claim. */
export class LeaseRules {
  private readonly judge: Judge
  private claim: Claim | null = null
  /** Owners whose name a person replaced, with the real time at which their claims end. */
  private displaced: { readonly owner: string | null; readonly until: number }[] = []
  private pausedAt = 0

  constructor(judge: Judge) {
    this.judge = judge
  }

  private get now(): number {
    return this.judge.world.timeline.now
  }

  /** Judges a write. Returns whether the Lease changed from one instance to another. */
  committed(commit: Commit): boolean {
    const before = this.claim?.owner
    if (pauseOf(commit.before, 0) === null && pauseOf(commit.after, 0) !== null) this.pausedAt = this.now
    if (commit.writer === null) this.edited(commit.before, commit.after)
    else if (commit.after !== null) this.written(commit.before, commit.after, commit.writer)
    return commit.writer !== null && this.claim !== null && this.claim.owner !== before
  }

  private written(before: Lease | null, after: Lease, writer: string): void {
    const epoch = epochOf(after)
    if (before !== null && epoch < epochOf(before) && !this.reasserts(after, writer)) {
      throw new Violation('epochs grow', `${writer} wrote epoch ${epoch} over ${epochOf(before)}`)
    }
    // A write that changes nothing is no renewal to the candidates, so that it doesn't extend the writer's claim.
    if (before !== null && sameRecord(before, after)) return
    if (holderOf(after) === '') {
      if (before !== null && holderOf(before) !== '' && this.claim?.owner !== writer)
        throw new Violation('rule 4', `${writer} released the Lease of ${holderOf(before)}`)
      if (pauseOf(after, 0) !== null) this.releasedPaused(writer)
      this.claim = null
      return
    }
    if (isAcquisition(after)) {
      const pause = pauseOf(before, 0)
      // A pause with an end depends on the wall clock, which a fault may set. It isn't judged.
      const stays = before !== null && holderOf(before) === holderOf(after)
      if (pause !== null && pause.until === null && !stays)
        throw new Violation('pause', `${writer} took the Lease over while takeovers were paused`)
      this.checkEpoch(after, writer)
      this.overtakeDisplaced(writer)
    }
    if (this.claim?.owner !== writer) this.taken(before, after, writer)
    const continues = this.claim?.owner === writer && before !== null
    this.claim = this.begun(writer, after, durationOf(after, 0), continues ? this.claim : null)
  }

  /** A paused Lease can't be taken over, so that a release must remove a pause that came after the step-down began. */
  private releasedPaused(writer: string): void {
    const { agent, kernel } = this.judge.replicaOf(writer) ?? {}
    const stepDown = agent?.elector.state.term?.stepDown
    if (!kernel || !stepDown || stepDown.paused || kernel.realTimeOf(stepDown.closedAt) >= this.pausedAt)
      return
    throw new Violation('pause', `${writer} kept a pause in its release that is newer than its step-down`)
  }

  private begun(owner: string | null, lease: Lease, ms: number | null, earlier: Claim | null): Claim {
    const { now } = this
    return {
      owner,
      begunAt: earlier?.begunAt ?? now,
      since: now,
      records: [{ lease, since: now }],
      ms,
      promisedMs: ms ?? 0,
      version: earlier?.version ?? versionOf(lease),
      faked: false,
    }
  }

  /**
   * Whether the owner writes its own epoch again, in a renewal or a release, after a person raised it. No workload has acted
   * in the raised epoch.
   */
  private reasserts(after: Lease, writer: string): boolean {
    const [first] = this.claim?.records ?? []
    return (
      this.claim?.owner === writer &&
      first !== undefined &&
      epochOf(first.lease) === epochOf(after) &&
      (holderOf(after) === '' || first.lease.spec?.acquireTime === after.spec?.acquireTime)
    )
  }

  private checkEpoch(after: Lease, writer: string): void {
    const { highestStarted } = this.judge
    const epoch = epochOf(after)
    if (epoch > highestStarted) return
    const highestRead = this.judge.replicaOf(writer)?.knowledge.sentAs(after)?.highestEpoch ?? 0
    if (highestRead >= highestStarted)
      throw new Violation(
        'epochs grow',
        `${writer} took the Lease in epoch ${epoch} although it had read epoch ${highestRead}`,
      )
    this.judge.lostEpoch(writer, epoch)
  }

  private overtakeDisplaced(writer: string): void {
    this.displaced = this.displaced.filter(({ until }) => until > this.now)
    const limit = this.claim?.faked ? 'release faked' : 'duration shortened'
    for (const { owner } of this.displaced) if (owner !== writer) this.judge.tookEarly(limit, owner)
  }

  private taken(before: Lease | null, after: Lease, writer: string): void {
    const { claim } = this
    if (claim === null) return
    const replica = this.judge.replicaOf(writer)
    const ms = claim.ms ?? replica?.config.leaseDurationMs ?? 0
    const waited = this.now - claim.since
    const waitedFor = (dueMs: number) => waited >= dueMs - drift(dueMs)
    if (waitedFor(claim.promisedMs) && waitedFor(ms)) return
    // Only the holder may shorten the duration, and it then writes a new renew time. A candidate that has read the longer
    // duration with this renew time must wait for it.
    const last = claim.records.at(-1)
    const durationMs = last && replica?.knowledge.durationReadWith(renewTimeOf(last.lease))
    const shortened = waitedFor(ms) && (durationMs ?? 0) < claim.promisedMs
    const limit = shortened ? 'duration shortened' : this.limit(before, after, writer)
    if (limit !== null) {
      this.judge.tookEarly(limit, claim.owner)
      return
    }
    const holder = before === null ? '' : holderOf(before)
    const what =
      before === null ? 'a deleted Lease' : holder === '' ? 'a cleared Lease' : `the Lease of ${holder}`
    throw new Violation(
      holder !== '' && waited < ms / 2 ? 'rule 4' : 'rules 6, 7',
      `${writer} took ${what} after ${Math.round(waited)} of ${ms} ms`,
    )
  }

  /** The limit that excuses a writer that took a claimed Lease. `null`: none does. */
  private limit(before: Lease | null, after: Lease, writer: string): Limit | null {
    const claim = this.claim as Claim
    if (claim.faked) return 'release faked'
    const replica = this.judge.replicaOf(writer)
    if (replica === undefined || (before !== null && !neverHeld(before))) return null
    const { knowledge, config, kernel } = replica
    if (kernel.unseenSince(claim.begunAt) > 0) return 'no clock shows a pause'
    const sent = knowledge.sentAs(after)
    if (before === null && sent !== undefined && sent.at < claim.since) return 'creation in flight'
    const { heldVersion, firstReadAt } = sent ?? knowledge
    if (heldVersion >= claim.version) return null
    // A candidate that has read the Lease before the claim notices a time without reads that is longer than this.
    const between = claim.since - claim.begunAt <= longestGapMs(config)
    return between || firstReadAt > claim.begunAt ? 'holder unseen' : null
  }

  private edited(before: Lease | null, after: Lease | null): void {
    const { claim, now } = this
    if (before === null && claim?.owner === null && claim.promisedMs === 0) {
      // The deleted Lease had no owner, and a candidate that reads the new one can't know of the deletion.
      this.claim = null
    } else if (after === null && claim !== null && (before === null || neverHeld(before))) {
      // The Lease was recreated and deleted again before its owner wrote, so that the wait continues.
    } else if (after === null) {
      this.claim = {
        ...(claim ?? { owner: null, begunAt: now, promisedMs: 0, version: 0, faked: false }),
        records: [],
        since: now,
        ms: null,
      }
    } else if (before !== null && holderOf(after) !== '' && holderOf(after) !== holderOf(before)) {
      const holder = holderOf(after)
      const owner = this.judge.world.replicas.find(({ identity }) => identity === holder)?.instance ?? null
      if (claim !== null) this.displaced.push({ owner: claim.owner, until: claim.since + claim.promisedMs })
      this.claim = this.begun(owner, after, recorded(after), null)
    } else if (before !== null && claim !== null) {
      const faked = isVacant(after) && !neverHeld(after)
      if (isVacant(after) && isVacant(before)) this.claim = { ...claim, faked }
      else if (isVacant(after)) {
        // The recorded duration is gone. The claim lasts for the duration that the owner counts on, and at least for a whole
        // lease duration of the candidate.
        const ms = neverHeld(after) ? null : claim.ms
        this.claim = { ...claim, since: now, ms, faked }
      } else if (!sameRecord(before, after)) {
        const since = claim.records.find(({ lease }) => sameRecord(lease, after))?.since ?? now
        const records = [...claim.records, { lease: after, since }]
        this.claim = { ...claim, since, records, ms: recorded(after), faked }
      }
    }
  }
}
