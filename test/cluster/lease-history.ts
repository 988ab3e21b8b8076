import type { Kube } from './kube.ts'

/** The answer of a stand-in, which describes itself. */
export interface Answer {
  readonly replica: string
  readonly epoch: number
  readonly pid: number
  /** The time of the answer: CLOCK_MONOTONIC in ms. */
  readonly mono: number
  /** The text of the flow that it was started with. */
  readonly shown?: string
}

interface Lease {
  readonly spec?: { readonly holderIdentity?: string; readonly leaseTransitions?: number }
}

/** Every term that a watch of the Lease has reported. */
export class LeaseHistory {
  /** The holder of each epoch. */
  readonly terms = new Map<number, string>()
  /** Epochs with two holders, which must never exist. */
  readonly contradictions: string[] = []
  holder = ''
  epoch = 0

  follow(kube: Kube, namespace: string, name: string, signal: AbortSignal): this {
    const path = `/apis/coordination.k8s.io/v1/namespaces/${namespace}/leases`
    const one = `watch=true&fieldSelector=metadata.name%3D${name}`
    void kube.watch<Lease>(`${path}?${one}`, signal, (lease) => this.record(lease))
    return this
  }

  record({ spec }: Lease): void {
    this.holder = spec?.holderIdentity ?? ''
    this.epoch = spec?.leaseTransitions ?? 0
    if (this.holder === '') return
    const known = this.terms.get(this.epoch)
    if (known !== undefined && known !== this.holder)
      this.contradictions.push(`epoch ${this.epoch} has two holders: ${known} and ${this.holder}`)
    this.terms.set(this.epoch, this.holder)
  }
}

/**
 * Lists wrong answers, which must be in the order of their times: a replica answered for an epoch that it did not hold, or
 * after a later epoch had answered. Only the second rule applies to epochs that are missing in the history.
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
      return [`${replica} answered for epoch ${epoch}, which ${holder} held`]
    return []
  })
}
