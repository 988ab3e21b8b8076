import { durationOf, epochOf, holderOf, isNewer, type Lease, sameRecord } from '../../agent/lease/lease.ts'

interface Sent {
  readonly lease: Lease
  /** Real time. */
  readonly at: number
  /** The highest epoch that its agent had been shown by then. */
  readonly highestEpoch: number
  /** The last version with a holder that it had been shown. */
  readonly heldVersion: number
  readonly lookedSince: number
}

/** What a replica can know of the Lease: what it wrote, and what it was shown. All times are real ones. */
export class Knowledge {
  private readonly now: () => number
  /** The writes of this instance, by their renew time. */
  private readonly sent = new Map<string, Sent>()
  private readonly earlier = new Map<string, Sent>()
  /** Renew times that the present agent wrote. */
  private readonly written = new Set<string>()
  private newest: string | undefined
  /** When the last write was sent that this replica knows to be in the Lease. */
  acknowledgedAt = Number.NEGATIVE_INFINITY
  /** When this replica learnt of it; infinite where it cannot know: an earlier agent wrote it, or a person edited it since. */
  learntAt = Number.NEGATIVE_INFINITY
  /** Since when this replica has known that somebody else holds the Lease. */
  otherSeenAt: number | null = null
  /** When it was last shown that somebody else holds the Lease. */
  private otherShownAt = Number.NEGATIVE_INFINITY
  /** Its writes that it was shown, and whether they were creations of before it saw another holder. */
  private readonly overtaken = new Map<string, boolean>()
  /** The last version with a holder that the present agent was shown, and the highest epoch. */
  heldVersion = 0
  highestEpoch = 0
  /** Real time of the first answer that the present agent had. */
  lookedSince = Number.POSITIVE_INFINITY
  /** Real time at which the API server answered its present agent last. */
  heardAt = Number.NEGATIVE_INFINITY
  /** Whom it was shown last as the holder; '': nobody. */
  holder = ''
  /** The longest duration that the present agent was shown with a renew time, in milliseconds. */
  private readonly durations = new Map<string, number>()
  /** Renew times of others in this replica's name, which the present agent was shown. */
  readonly strangers = new Set<string>()

  constructor(now: () => number) {
    this.now = now
  }

  newInstance(): void {
    for (const [renewTime, sent] of this.sent) this.earlier.set(renewTime, sent)
    this.sent.clear()
    this.acknowledgedAt = Number.NEGATIVE_INFINITY
  }

  newAgent(): void {
    this.lookedSince = Number.POSITIVE_INFINITY
    this.written.clear()
    this.strangers.clear()
    this.durations.clear()
    this.heldVersion = 0
    this.highestEpoch = 0
    this.heardAt = Number.NEGATIVE_INFINITY
  }

  durationSaidWith(renewTime: string): number {
    return this.durations.get(renewTime) ?? 0
  }

  heard(): void {
    this.heardAt = this.now()
  }

  sends(lease: Lease): void {
    this.written.add(renewTimeOf(lease))
    const { highestEpoch, heldVersion, lookedSince } = this
    this.sent.set(renewTimeOf(lease), { lease, at: this.now(), highestEpoch, heldVersion, lookedSince })
  }

  /** One of this instance's writes, or of an earlier one's: it may come long after its sender is gone. */
  sentAs(lease: Lease): Sent | undefined {
    return this.sent.get(renewTimeOf(lease)) ?? this.earlier.get(renewTimeOf(lease))
  }

  /** Whether another one was seen to hold the Lease between the sending and the sight of what began an epoch: a creation. */
  isOutdated(epoch: number): boolean {
    const begun = this.acquisitions(epoch).filter(({ lease }) => this.overtaken.has(renewTimeOf(lease)))
    return begun.length > 0 && begun.every(({ lease }) => this.overtaken.get(renewTimeOf(lease)))
  }

  /** The highest epoch that it had been shown when it sent what began an epoch. */
  knownBefore(epoch: number): number {
    return Math.max(...this.acquisitions(epoch).map(({ highestEpoch }) => highestEpoch), 0)
  }

  private acquisitions(epoch: number): Sent[] {
    return [...this.sent.values()].filter(({ lease }) => isAcquisition(lease) && epochOf(lease) === epoch)
  }

  looked(): void {
    this.lookedSince = Math.min(this.lookedSince, this.now())
  }

  /** `byTwin`: another instance of the same identity wrote it. */
  shown(lease: Lease, identity: string, byTwin: boolean): void {
    const renewTime = renewTimeOf(lease)
    this.durations.set(renewTime, Math.max(durationOf(lease, 0), this.durationSaidWith(renewTime)))
    const sent = this.sent.get(renewTime)
    const holder = holderOf(lease)
    if (sent !== undefined && !this.overtaken.has(renewTime)) {
      const created = sent.lease.metadata.resourceVersion === undefined
      this.overtaken.set(renewTime, created && sent.at < this.otherShownAt)
    }
    if (sent !== undefined && holder === identity && sent.at > this.acknowledgedAt) {
      this.acknowledgedAt = sent.at
      const recognised = this.written.has(renewTimeOf(lease)) && sameRecord(sent.lease, lease)
      this.learntAt = recognised ? this.now() : Number.POSITIVE_INFINITY
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
      this.otherShownAt = this.now()
      this.otherSeenAt ??= this.now()
    }
  }
}

/** It looks as `deploy/base` makes it. */
export function neverHeld(lease: Lease): boolean {
  return holderOf(lease) === '' && !lease.spec?.renewTime
}

/** Free to be taken at once. Judged by these lines, not by those of the product. */
export function isVacant(lease: Lease): boolean {
  const { holderIdentity, leaseDurationSeconds, leaseTransitions } = lease.spec ?? {}
  const { 'langflow-leader/released': said = '', 'langflow-leader/epoch': epoch = leaseTransitions } =
    lease.metadata.annotations ?? {}
  const released = !holderIdentity && (leaseDurationSeconds ?? 0) <= 1
  return neverHeld(lease) || (released && said.endsWith(` ${epoch}`))
}

export function versionOf(lease: Lease): number {
  return Number(lease.metadata.resourceVersion)
}

/** Whether this write begins a term; later ones keep its acquire time. */
export function isAcquisition(lease: Lease): boolean {
  return holderOf(lease) !== '' && lease.spec?.acquireTime === lease.spec?.renewTime
}

export function renewTimeOf(lease: Lease): string {
  return lease.spec?.renewTime ?? ''
}
