import { durationOf, epochOf, holderOf, type Lease, sameRecord } from '../../agent/lease/lease.ts'
import { pauseOf } from '../../agent/lease/operator-annotations.ts'
import type { Commit } from './api-server.ts'
import type { Judge } from './judge.ts'
import { isAcquisition, isVacant, neverHeld, renewTimeOf, versionOf } from './knowledge.ts'
import type { Limit } from './limits.ts'
import type { ReplicaConfig } from './replica.ts'
import { Violation } from './violation.ts'

/** Who may count on the Lease, and for how long. */
interface Claim {
  /** The instance; `null`: a person wrote a name that is nobody's. */
  readonly owner: string | null
  /** Real time of its first write. */
  readonly begunAt: number
  /** Real time of the last change. */
  readonly since: number
  /** What its record has said since its owner's last write, and from when on: who saw only that again saw no change. */
  readonly said: readonly { readonly lease: Lease; readonly since: number }[]
  /** How long it must be left alone from then on; `null`: for the lease duration of whoever takes it. */
  readonly ms: number | null
  /** How long its owner counts on it. */
  readonly promisedMs: number
  /** The version it began with: who was shown it, or a later one, knows of it. */
  readonly version: number
  /** A person made the Lease look as if its holder had released it. */
  readonly faked: boolean
}

/** A request is answered, and told, within so long after its deadline. */
const ANSWERED_MS = 250

/** The longest time between two looks at an absent Lease that count as an unbroken series. */
function looksMs({ retryPeriodMs, renewDeadlineMs }: ReplicaConfig): number {
  // Two retry periods from one answer to the next, and the first was on its way for a request deadline.
  return 2 * retryPeriodMs + renewDeadlineMs / 2 + ANSWERED_MS
}

/** What the record says; `null`: nothing. */
function recorded(lease: Lease): number | null {
  return durationOf(lease, 0) || null
}

/** How far two clocks within the assumed drift come apart, and a millisecond for rounding. */
function drift(ms: number): number {
  return 1 + 2 * 200e-6 * ms
}

/** Rules 4, 6 and 7, and that epochs grow: judges each write by who held the Lease, or may still count on it. */
export class LeaseRules {
  private readonly judge: Judge
  private claim: Claim | null = null
  /** Owners whose name a person replaced, and until when, in real time, they counted on the Lease. */
  private displaced: { readonly owner: string | null; readonly until: number }[] = []
  /** Real time at which takeovers were paused last. */
  private pausedAt = 0

  constructor(judge: Judge) {
    this.judge = judge
  }

  private get now(): number {
    return this.judge.world.timeline.now
  }

  /** The Lease is given from one instance to another from here on. Returns whether it was. */
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
    // Nobody who waits sees a renewal in it, so that its writer may not count on it either.
    if (before !== null && sameRecord(before, after)) return
    if (holderOf(after) === '') {
      if (before !== null && holderOf(before) !== '' && this.claim?.owner !== writer)
        throw new Violation('rule 4', `${writer} released what ${holderOf(before)} holds`)
      if (pauseOf(after, 0) !== null) this.releasedPaused(writer)
      this.claim = null
      return
    }
    if (isAcquisition(after)) {
      const pause = pauseOf(before, 0)
      // One with an end is over by a clock that anybody may set.
      const stays = before !== null && holderOf(before) === holderOf(after)
      if (pause !== null && pause.until === null && !stays)
        throw new Violation('pause', `${writer} took the Lease over while it was paused`)
      this.checkEpoch(after, writer)
      this.overtakeDisplaced(writer)
    }
    if (this.claim?.owner !== writer) this.taken(before, after, writer)
    const goesOn = this.claim?.owner === writer && before !== null
    this.claim = this.begun(writer, after, durationOf(after, 0), goesOn ? this.claim : null)
  }

  /** No replica may take what is paused, so that a step-down that began before ends the pause. */
  private releasedPaused(writer: string): void {
    const { agent, kernel } = this.judge.replicaOf(writer) ?? {}
    const stepDown = agent?.elector.state.term?.stepDown
    if (!kernel || !stepDown || stepDown.paused || kernel.realTimeOf(stepDown.closedAt) >= this.pausedAt)
      return
    throw new Violation('pause', `${writer} released the Lease with a pause that is newer than its step-down`)
  }

  private begun(owner: string | null, lease: Lease, ms: number | null, earlier: Claim | null): Claim {
    const { now } = this
    return {
      owner,
      begunAt: earlier?.begunAt ?? now,
      since: now,
      said: [{ lease, since: now }],
      ms,
      promisedMs: ms ?? 0,
      version: earlier?.version ?? versionOf(lease),
      faked: false,
    }
  }

  /** A person raised the epoch of a term that goes on, or is being released: nobody ever acted under it. */
  private reasserts(after: Lease, writer: string): boolean {
    const [first] = this.claim?.said ?? []
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
    const known = this.judge.replicaOf(writer)?.knowledge.sentAs(after)?.highestEpoch ?? 0
    if (known >= highestStarted)
      throw new Violation('epochs grow', `${writer} took the Lease in epoch ${epoch} after ${known}`)
    this.judge.forgot(writer, epoch)
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
    const waitedFor = (wanted: number) => waited >= wanted - drift(wanted)
    if (waitedFor(claim.promisedMs) && waitedFor(ms)) return
    // Who was shown the longer one keeps to it: only its holder may shorten it, and writes another renew time with that.
    const last = claim.said.at(-1)
    const said = last && replica?.knowledge.durationSaidWith(renewTimeOf(last.lease))
    const shortened = waitedFor(ms) && (said ?? 0) < claim.promisedMs
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

  /** Why one could not know that the Lease is claimed. */
  private limit(before: Lease | null, after: Lease, writer: string): Limit | null {
    const claim = this.claim as Claim
    if (claim.faked) return 'release faked'
    const replica = this.judge.replicaOf(writer)
    if (replica === undefined || (before !== null && !neverHeld(before))) return null
    const { knowledge, config, kernel } = replica
    if (kernel.unseenSince(claim.begunAt) > 0) return 'no clock shows a pause'
    const sent = knowledge.sentAs(after)
    if (before === null && sent !== undefined && sent.at < claim.since) return 'creation under way'
    const { heldVersion, lookedSince } = sent ?? knowledge
    if (heldVersion >= claim.version) return null
    // One that has looked before notices where it could not look for longer than this.
    const between = claim.since - claim.begunAt <= looksMs(config)
    return between || lookedSince > claim.begunAt ? 'holder unseen' : null
  }

  /** A person changed or deleted it. */
  private edited(before: Lease | null, after: Lease | null): void {
    const { claim, now } = this
    if (before === null && claim?.owner === null && claim.promisedMs === 0) {
      // Nobody counted on what was deleted, and one that looks at it only now cannot know that it was.
      this.claim = null
    } else if (after === null && claim !== null && (before === null || neverHeld(before))) {
      // Made anew and deleted again, while its owner has not written: the wait goes on.
    } else if (after === null) {
      this.claim = {
        ...(claim ?? { owner: null, begunAt: now, promisedMs: 0, version: 0, faked: false }),
        said: [],
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
        // What the record said is gone with it: its owner's promise counts, and a whole lease duration.
        const ms = neverHeld(after) ? null : claim.ms
        this.claim = { ...claim, since: now, ms, faked }
      } else if (!sameRecord(before, after)) {
        const since = claim.said.find(({ lease }) => sameRecord(lease, after))?.since ?? now
        const said = [...claim.said, { lease: after, since }]
        this.claim = { ...claim, since, said, ms: recorded(after), faked }
      }
    }
  }
}
