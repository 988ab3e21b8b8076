import type { LeaseErrorCode } from '../../agent/lease/lease-api.ts'
import type { Random } from './random.ts'

/** What a network fault does to the way between one machine and the API server. */
export interface Disturbance {
  /** Packets vanish; what was sent may still come through when the way is open again. */
  readonly cut?: boolean
  /** Nobody answers at the address: certain, and at once. */
  readonly refused?: boolean
  /** Only these requests are lost on their way in. */
  readonly lost?: 'reads' | 'writes'
  /** Writes are applied, and their answers vanish. */
  readonly answersLost?: boolean
  /** Up to this many more milliseconds, each way. */
  readonly slow?: number
  /** Writes arrive this many milliseconds later at most: possibly after their sender gave up. */
  readonly lateWrites?: number
  /** Open watches bring nothing. */
  readonly watchSilent?: boolean
  /** Open watches end, and new ones as well. */
  readonly watchCut?: boolean
  /** Events come this many milliseconds later. */
  readonly watchLag?: number
  /** The server answers this instead of doing what it was asked. */
  readonly error?: LeaseErrorCode
  /** How likely it does; 1 where nothing is said. */
  readonly errorChance?: number
  /** Writes are applied, and answered with a conflict: the answer to a retry underway. */
  readonly lyingConflict?: boolean
}

/** The way between one machine and the API server, with the faults it has at the moment. */
export class Network {
  private readonly random: Random
  private readonly faults = new Set<Disturbance>()
  private readonly changes = new Set<() => void>()

  constructor(random: Random) {
    this.random = random
  }

  add(fault: Disturbance): void {
    this.faults.add(fault)
    for (const changed of [...this.changes]) changed()
  }

  remove(fault: Disturbance): void {
    this.faults.delete(fault)
    for (const changed of [...this.changes]) changed()
  }

  /** Calls back at each change until the returned function is called. */
  onChange(changed: () => void): () => void {
    this.changes.add(changed)
    return () => this.changes.delete(changed)
  }

  has(test: (fault: Disturbance) => unknown): boolean {
    for (const fault of this.faults) if (test(fault)) return true
    return false
  }

  get error(): LeaseErrorCode | undefined {
    for (const { error, errorChance = 1 } of this.faults) {
      if (error !== undefined && (errorChance === 1 || this.random.chance(errorChance))) return error
    }
    return undefined
  }

  latency(): number {
    let ms = this.random.between(0.3, 8)
    for (const { slow } of this.faults) if (slow !== undefined) ms += this.random.between(0, slow)
    return ms
  }

  lateness(): number {
    let ms = 0
    for (const { lateWrites } of this.faults)
      if (lateWrites) ms = Math.max(ms, this.random.between(0, lateWrites))
    return ms
  }

  lag(): number {
    let ms = 0
    for (const { watchLag = 0 } of this.faults) ms = Math.max(ms, watchLag)
    return ms
  }
}
