import type { ApiErrorCode } from '../../agent/kube/kube-errors.ts'
import type { Random } from './random.ts'

/** The effects of a network fault between one machine and the API server. */
export interface Disturbance {
  /** Packets are lost. Messages from this time may still arrive when the network is back. */
  readonly cut?: boolean
  /** Connections are refused, so that requests fail immediately, and certainly had no effect. */
  readonly refused?: boolean
  readonly newRefused?: boolean
  /** The chance that a new connection is dead: it leads to an API server without power, while other API servers answer. */
  readonly newDead?: number
  readonly lost?: 'reads' | 'writes'
  readonly answersLost?: boolean
  /** The most by which each message is delayed, in ms. */
  readonly slow?: number
  /** The most by which a write is delayed, in ms. It may arrive after its sender's deadline. */
  readonly lateWrites?: number
  readonly watchSilent?: boolean
  readonly watchCut?: boolean
  readonly watchLag?: number
  readonly error?: ApiErrorCode
  /** The chance of that error. The default is 1. */
  readonly errorChance?: number
  /** Writes are applied, but answered with a conflict, as if a proxy had sent them twice. */
  readonly lyingConflict?: boolean
  /** Updates succeed, but aren't applied, or renewals are applied without their renew time. */
  readonly dropped?: 'updates' | 'renew times'
}

export interface Connection {
  use: 'requests' | 'watch'
  /** A server has answered over it. */
  proven: boolean
  /** It carries no more messages, but isn't closed, so that neither end notices. */
  dead: boolean
}

/** The network between one machine and the API server, with its current faults. */
export class Network {
  private readonly random: Random
  private readonly faults = new Set<Disturbance>()
  private readonly changes = new Set<() => void>()
  private readonly connections = new Set<Connection>()

  constructor(random: Random) {
    this.random = random
  }

  add(fault: Disturbance): void {
    this.faults.add(fault)
    this.changed()
  }

  remove(fault: Disturbance): void {
    this.faults.delete(fault)
    this.changed()
  }

  connect(): Connection {
    const dead = this.random.chance(this.worst(({ newDead }) => newDead))
    const connection = { use: 'requests' as const, proven: false, dead }
    this.connections.add(connection)
    return connection
  }

  disconnect(connection: Connection): void {
    this.connections.delete(connection)
  }

  /** Makes all connections of these uses dead. Messages in flight are lost. New connections work. */
  blackHole(uses: readonly Connection['use'][]): void {
    for (const connection of this.connections) if (uses.includes(connection.use)) connection.dead = true
    this.changed()
  }

  get blackHoled(): boolean {
    return [...this.connections].some(({ dead }) => dead)
  }

  private changed(): void {
    for (const changed of [...this.changes]) changed()
  }

  private worst(of: (fault: Disturbance) => number | undefined): number {
    return Math.max(0, ...[...this.faults].map((fault) => of(fault) ?? 0))
  }

  onChange(changed: () => void): () => void {
    this.changes.add(changed)
    return () => this.changes.delete(changed)
  }

  has(test: (fault: Disturbance) => unknown): boolean {
    return [...this.faults].some(test)
  }

  get error(): ApiErrorCode | undefined {
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
    return this.worst(({ lateWrites }) => lateWrites && this.random.between(0, lateWrites))
  }

  lag(): number {
    return this.worst(({ watchLag }) => watchLag)
  }
}
