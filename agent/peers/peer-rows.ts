import { type Clock, pause } from '../clock.ts'
import { podOf } from '../lease/operator-annotations.ts'
import type { ReplicaRow } from '../status/agent-status.ts'
import { type Found, find, type StatusRequests } from './peer-requests.ts'
import type { PeersOptions } from './peers.ts'

export interface PeerRowsOptions
  extends Pick<PeersOptions, 'at' | 'identity' | 'lease' | 'clock' | 'resolve'> {
  readonly requests: Pick<StatusRequests, 'ask'>
}

const NAMED_WITHIN_MS = 1_000
/** After this time, another pod may have the address. */
const KNOWN_FOR_MS = 60_000

/** The other replicas, for the page and `/replicas`. The election uses nothing of this. */
export class PeerRows {
  private readonly options: PeerRowsOptions
  /** Identities by the address from which they answered, so that a silent replica keeps its name. */
  private known = new Map<string, { readonly identity: string; readonly at: number }>()
  private found: Found = { origins: [], problems: [] }
  private finding: Promise<void> | null = null

  constructor(options: PeerRowsOptions) {
    this.options = options
  }

  /** Asks every peer once, within 2 s. If a peer does not answer, its row contains the problem. Sorted by name. */
  async ask(): Promise<ReplicaRow[]> {
    const { identity } = this.options
    await this.find()
    const { origins, problems } = this.found
    this.known = new Map([...this.known].filter(([origin]) => origins.includes(origin)))
    const rows = new Map<string, ReplicaRow>()
    const answers = await Promise.all(origins.map((origin) => this.askOne(origin)))
    for (const { who, row } of answers) if (who !== identity && !rows.get(who)?.status) rows.set(who, row)
    for (const { host, problem } of problems) rows.set(host, { ...UNKNOWN, pod: host, problem })
    return [...rows.values()].sort((a, b) => (a.pod < b.pod ? -1 : 1))
  }

  /** Resolves the names again. While a lookup is slow, the earlier addresses count, and no second lookup starts. */
  private async find(): Promise<void> {
    const { at, resolve, clock } = this.options
    this.finding ??= find(at, resolve).then((found) => {
      this.found = found
      this.finding = null
    })
    await pause(clock, NAMED_WITHIN_MS, this.finding)
  }

  private async askOne(origin: string): Promise<{ who: string; row: ReplicaRow }> {
    const { requests, lease, clock } = this.options
    const { status, problem } = await requests.ask(origin)
    const now = clock.mono()
    if (status !== null) this.known.set(origin, { identity: status.identity, at: now })
    const known = this.known.get(origin)
    const identity = known !== undefined && known.at >= now - KNOWN_FOR_MS ? known.identity : null
    const row = { ...UNKNOWN, pod: identity === null ? new URL(origin).host : podOf(identity) }
    const who = identity ?? origin
    if (status === null) return { who, row: { ...row, problem } }
    const its = `${status.lease.namespace}/${status.lease.name}`
    if (its !== lease) return { who, row: { ...row, problem: `competes for another Lease, "${its}"` } }
    return { who, row: { ...row, status } }
  }
}

const UNKNOWN: Omit<ReplicaRow, 'pod'> = { node: null, status: null, problem: null }

const ROUND_COUNTS_MS = 1_000

/** The rows of all replicas, for any number of clients: the peers are asked on demand, at most once a second. */
export class PeerRowsCache {
  private readonly clock: Pick<Clock, 'mono'>
  private readonly ask: () => Promise<readonly ReplicaRow[]>
  private last: Promise<readonly ReplicaRow[]> | null = null
  private asking = false
  /** Monotonic ms. */
  private countsUntil = Number.NEGATIVE_INFINITY

  constructor(clock: Pick<Clock, 'mono'>, ask: () => Promise<readonly ReplicaRow[]>) {
    this.clock = clock
    this.ask = ask
  }

  rows(): Promise<readonly ReplicaRow[]> {
    const now = this.clock.mono()
    if (this.last !== null && (this.asking || now < this.countsUntil)) return this.last
    this.asking = true
    this.countsUntil = now + ROUND_COUNTS_MS
    this.last = this.ask().finally(() => {
      this.asking = false
    })
    return this.last
  }
}
