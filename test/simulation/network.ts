import type { ApiErrorCode } from '../../agent/kube/kube-errors.ts'
import type { Random } from './random.ts'

/** What a network fault does to the way between one machine and the API server. */
export interface Disturbance {
  /** Packets vanish; what was sent may still come through when the way is open again. */
  readonly cut?: boolean
  /** Nobody answers at the address: certain, and at once. */
  readonly refused?: boolean
  /** The same for connections that are made now; those that exist go on. */
  readonly newRefused?: boolean
  /** How likely a connection that is made now leads nowhere: to a server that lost its power, while others answer. */
  readonly newDead?: number
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
  readonly error?: ApiErrorCode
  /** How likely it does; 1 where nothing is said. */
  readonly errorChance?: number
  /** Writes are applied, and answered with a conflict: the answer to a retry underway. */
  readonly lyingConflict?: boolean
  /** Updates are answered with success, and dropped; or renewals are, and applied without their renew time. */
  readonly dropped?: 'updates' | 'renew times'
}

/** One connection to an API server. A dead one carries nothing, and nobody is told. */
export interface Connection {
  use: 'requests' | 'watch'
  /** A server answered over it. */
  proven: boolean
  dead: boolean
}

/** The way between one machine and the API server, with the faults it has at the moment. */
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

  /** What goes over these from now on, and what is on its way, is lost; new ones are as good as ever. */
  blackHole(uses: readonly Connection['use'][]): void {
    for (const connection of this.connections) if (uses.includes(connection.use)) connection.dead = true
    this.changed()
  }

  /** Whether it has one that is dead, and does not know. */
  get blackHoled(): boolean {
    return [...this.connections].some(({ dead }) => dead)
  }

  private changed(): void {
    for (const changed of [...this.changes]) changed()
  }

  private worst(of: (fault: Disturbance) => number | undefined): number {
    return Math.max(0, ...[...this.faults].map((fault) => of(fault) ?? 0))
  }

  /** Calls back at each change until the returned function is called. */
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
