import type { Kube } from './kube.ts'

/** What a stand-in says of itself. */
export interface Answer {
  readonly replica: string
  readonly epoch: number
  readonly pid: number
  /** CLOCK_MONOTONIC in ms, when it answered. */
  readonly mono: number
}

interface Lease {
  readonly spec?: { readonly holderIdentity?: string; readonly leaseTransitions?: number }
}

/** Every term that the API server told of, from a watch of the Lease. */
export class LeaseHistory {
  /** The holder of each epoch. */
  readonly terms = new Map<number, string>()
  /** Two holders in one epoch: what must never be. */
  readonly contradictions: string[] = []
  holder = ''
  epoch = 0

  follow(kube: Kube, namespace: string, signal: AbortSignal): this {
    const path = `/apis/coordination.k8s.io/v1/namespaces/${namespace}/leases`
    const one = 'watch=true&fieldSelector=metadata.name%3Dlangflow-leader-lock'
    void kube.watch<Lease>(`${path}?${one}`, signal, (lease) => this.hear(lease))
    return this
  }

  hear({ spec }: Lease): void {
    this.holder = spec?.holderIdentity ?? ''
    this.epoch = spec?.leaseTransitions ?? 0
    if (this.holder === '') return
    const known = this.terms.get(this.epoch)
    if (known !== undefined && known !== this.holder)
      this.contradictions.push(`epoch ${this.epoch} is of ${known} and of ${this.holder}`)
    this.terms.set(this.epoch, this.holder)
  }
}

/**
 * What answers must not be, in the order in which they were given: from somebody who did not hold the Lease in the epoch
 * that it names, or from an epoch before one that has answered. An epoch that the history does not know is not judged.
 */
export function wrongAnswers(answers: readonly Answer[], terms: ReadonlyMap<number, string>): string[] {
  let newest = 0
  return answers.flatMap(({ replica, epoch, mono }) => {
    const late = epoch < newest
    newest = Math.max(newest, epoch)
    const holder = terms.get(epoch)
    if (late)
      return [`${replica} answered for epoch ${epoch} at ${mono.toFixed(0)}, after epoch ${newest} had`]
    if (holder !== undefined && holder !== replica)
      return [`${replica} answered for epoch ${epoch}, which was of ${holder}`]
    return []
  })
}
