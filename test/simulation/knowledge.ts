import { durationOf, epochOf, holderOf, isNewer, type Lease, sameRecord } from '../../agent/lease/lease.ts'
import { membersOf } from '../../agent/lease/lease-members.ts'

/** Two clocks differ by less after the longest failsafe of a run. */
const DRIFT_MS = 100

interface Sent {
  readonly lease: Lease
  /** Real time. */
  readonly at: number
  readonly highestEpoch: number
  readonly heldVersion: number
  readonly firstReadAt: number
}

/** All that a replica has written to the Lease and read from it. All times are real time. */
export class Knowledge {
  private readonly now: () => number
  /** The writes of this instance, by their renew time. */
  private readonly sent = new Map<string, Sent>()
  /** The same for earlier instances. */
  private readonly earlier = new Map<string, Sent>()
  private readonly written = new Set<string>()
  private newest: string | undefined
  /** Send time of the last write that this replica has read back from the Lease. */
  acknowledgedAt = Number.NEGATIVE_INFINITY
  /**
   * When it read that write back. Infinite if it can't recognise the write, since an earlier agent sent it or a person has
   * edited it.
   */
  confirmedAt = Number.NEGATIVE_INFINITY
  /** Since when each Lease that this replica has read names another holder. `null`: the last one does not. */
  otherSeenAt: number | null = null
  private otherReceivedAt = Number.NEGATIVE_INFINITY
  /** Its writes that it has read back. True for a creation that it sent before it read another holder. */
  private readonly overtaken = new Map<string, boolean>()
  /** Send time of the last request to which each member agreed. */
  private readonly agreedAt = new Map<string, number>()
  private members: readonly string[] = []
  /** Send time since which all members of its last write have agreed. */
  consentedAt = Number.NEGATIVE_INFINITY
  private statedAt = Number.NEGATIVE_INFINITY
  private longestMs = 0
  heldVersion = 0
  highestEpoch = 0
  firstReadAt = Number.POSITIVE_INFINITY
  /** When the current agent last received an answer or an event from the API server. */
  answeredAt = Number.NEGATIVE_INFINITY
  /** The holder that it read last. '': the Lease had none. */
  holder = ''
  /** The longest duration in ms that the current agent has read with each renew time. */
  private readonly durations = new Map<string, number>()
  /** Renew times that other processes wrote in this replica's name, and that the current agent has read. */
  readonly strangers = new Set<string>()

  constructor(now: () => number) {
    this.now = now
  }

  newInstance(): void {
    for (const [renewTime, sent] of this.sent) this.earlier.set(renewTime, sent)
    this.sent.clear()
    this.acknowledgedAt = this.consentedAt = Number.NEGATIVE_INFINITY
  }

  /** The origin of its grant. */
  get provenAt(): number {
    return Math.max(this.acknowledgedAt, this.consentedAt)
  }

  consented(member: string, sentAt: number): void {
    this.agreedAt.set(member, Math.max(sentAt, this.agreedAt.get(member) ?? 0))
    const at = Math.min(...this.members.map((one) => this.agreedAt.get(one) ?? Number.NEGATIVE_INFINITY))
    // F7: too long after the write, consent does not count.
    if (this.members.length > 0 && at <= this.statedAt + this.longestMs)
      this.consentedAt = Math.max(this.consentedAt, at)
  }

  /** The Lease has its write. */
  stated(lease: Lease): void {
    const note = membersOf(lease)
    this.members = note?.members?.map(({ identity }) => identity) ?? []
    this.longestMs = (note?.maxMs ?? 0) - durationOf(lease, 0) + DRIFT_MS
    this.statedAt = this.sentAs(lease)?.at ?? this.now()
  }

  newAgent(): void {
    this.firstReadAt = Number.POSITIVE_INFINITY
    this.written.clear()
    this.strangers.clear()
    this.durations.clear()
    this.heldVersion = 0
    this.highestEpoch = 0
    this.answeredAt = Number.NEGATIVE_INFINITY
  }

  durationReadWith(renewTime: string): number {
    return this.durations.get(renewTime) ?? 0
  }

  answered(): void {
    this.answeredAt = this.now()
  }

  sends(lease: Lease): void {
    this.written.add(renewTimeOf(lease))
    const { highestEpoch, heldVersion, firstReadAt } = this
    this.sent.set(renewTimeOf(lease), { lease, at: this.now(), highestEpoch, heldVersion, firstReadAt })
  }

  /** The write of this or an earlier instance. It may arrive long after its sender has ended. */
  sentAs(lease: Lease): Sent | undefined {
    return this.sent.get(renewTimeOf(lease)) ?? this.earlier.get(renewTimeOf(lease))
  }

  /** Whether the epoch began with a creation, and this replica read another holder after it had sent that. */
  isOutdated(epoch: number): boolean {
    const begun = this.acquisitions(epoch).filter(({ lease }) => this.overtaken.has(renewTimeOf(lease)))
    return begun.length > 0 && begun.every(({ lease }) => this.overtaken.get(renewTimeOf(lease)))
  }

  /** The highest epoch that it had read when it sent the write that began `epoch`. */
  readBefore(epoch: number): number {
    return Math.max(...this.acquisitions(epoch).map(({ highestEpoch }) => highestEpoch), 0)
  }

  private acquisitions(epoch: number): Sent[] {
    return [...this.sent.values()].filter(({ lease }) => isAcquisition(lease) && epochOf(lease) === epoch)
  }

  answeredRead(): void {
    this.firstReadAt = Math.min(this.firstReadAt, this.now())
  }

  /** The replica has read `lease`. `byTwin`: another instance with the same identity wrote it. */
  received(lease: Lease, identity: string, byTwin: boolean): void {
    const renewTime = renewTimeOf(lease)
    this.durations.set(renewTime, Math.max(durationOf(lease, 0), this.durationReadWith(renewTime)))
    const sent = this.sent.get(renewTime)
    const holder = holderOf(lease)
    if (sent !== undefined && !this.overtaken.has(renewTime)) {
      const created = sent.lease.metadata.resourceVersion === undefined
      this.overtaken.set(renewTime, created && sent.at < this.otherReceivedAt)
    }
    if (sent !== undefined && holder === identity && sent.at > this.acknowledgedAt) {
      this.acknowledgedAt = sent.at
      const recognised = this.written.has(renewTimeOf(lease)) && sameRecord(sent.lease, lease)
      this.confirmedAt = recognised ? this.now() : Number.POSITIVE_INFINITY
    }
    if (!isVacant(lease)) this.heldVersion = Math.max(this.heldVersion, versionOf(lease))
    if (!isNewer(lease.metadata.resourceVersion, this.newest)) return
    this.newest = lease.metadata.resourceVersion
    this.highestEpoch = Math.max(this.highestEpoch, epochOf(lease))
    this.holder = holder
    const own = holder === identity && !byTwin
    if (holder === identity && byTwin) this.strangers.add(renewTimeOf(lease))
    if (holder === '' || own) this.otherSeenAt = null
    else {
      this.otherReceivedAt = this.now()
      this.otherSeenAt ??= this.now()
    }
  }
}

/** Whether the Lease looks like the one in `deploy/langflow.yaml`. */
export function neverHeld(lease: Lease): boolean {
  return holderOf(lease) === '' && !lease.spec?.renewTime
}

/** Whether the Lease may be taken immediately. The judge decides this itself, so that it can find errors in the product. */
export function isVacant(lease: Lease): boolean {
  const { holderIdentity, leaseDurationSeconds, leaseTransitions } = lease.spec ?? {}
  const { 'langflow-leader/released': release = '' } = lease.metadata.annotations ?? {}
  const released = !holderIdentity && (leaseDurationSeconds ?? 0) <= 1
  return neverHeld(lease) || (released && release.endsWith(` ${leaseTransitions}`))
}

export function versionOf(lease: Lease): number {
  return Number(lease.metadata.resourceVersion)
}

/** Whether this write begins a term. Later writes of the term keep its acquire time. */
export function isAcquisition(lease: Lease): boolean {
  return holderOf(lease) !== '' && lease.spec?.acquireTime === lease.spec?.renewTime
}

export function renewTimeOf(lease: Lease): string {
  return lease.spec?.renewTime ?? ''
}
