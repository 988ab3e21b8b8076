import { type Clock, pause } from '../clock.ts'
import { podOf } from '../lease/operator-annotations.ts'
import type { ReplicaRow } from '../status/agent-status.ts'
import { find, type StatusRequests } from './peer-requests.ts'
import type { PeersOptions } from './peers.ts'

export interface PeerRowsOptions extends Pick<PeersOptions, 'at' | 'identity' | 'lease' | 'resolve'> {
  readonly requests: Pick<StatusRequests, 'ask'>
  readonly clock: Pick<Clock, 'mono' | 'after'>
}

const NAMED_WITHIN_MS = 1_000
const ROUND_COUNTS_MS = 1_000

/** All replicas, for the page and `/replicas`. The election uses nothing of this. */
export class PeerRows {
  private readonly options: PeerRowsOptions
  private round: Promise<readonly ReplicaRow[]> | null = null
  private isAsking = false
  /** Monotonic ms. */
  private countsUntil = Number.NEGATIVE_INFINITY

  constructor(options: PeerRowsOptions) {
    this.options = options
  }

  /**
   * This replica, then each peer, sorted by name. The peers are asked on demand, at most once a second, for any number of
   * clients. If a peer does not answer within 2 s, its row contains the problem.
   *
   * @param own called after the others have answered
   */
  rows(own: () => ReplicaRow): Promise<readonly ReplicaRow[]> {
    const now = this.options.clock.mono()
    if (this.round !== null && (this.isAsking || now < this.countsUntil)) return this.round
    this.isAsking = true
    this.countsUntil = now + ROUND_COUNTS_MS
    this.round = this.ask().then((others) => {
      this.isAsking = false
      return [own(), ...others]
    })
    return this.round
  }

  private async ask(): Promise<ReplicaRow[]> {
    const { at, resolve, clock, identity } = this.options
    let found: Awaited<ReturnType<typeof find>> | null = null
    const finding = find(at, resolve).then((its) => {
      found = its
    })
    await pause(clock, NAMED_WITHIN_MS, finding)
    const { origins, problems } = found ?? {
      origins: [],
      problems: at.map(({ host }) => ({ host, problem: `the name ${host} is not resolved within 1 s` })),
    }
    const rows = new Map<string, ReplicaRow>()
    for (const { who, row } of await Promise.all(origins.map((origin) => this.askOne(origin))))
      if (who !== identity && !rows.get(who)?.status) rows.set(who, row)
    for (const { host, problem } of problems) rows.set(host, { ...UNKNOWN, pod: host, problem })
    return [...rows.values()].sort((a, b) => (a.pod < b.pod ? -1 : 1))
  }

  private async askOne(origin: string): Promise<{ who: string; row: ReplicaRow }> {
    const { requests, lease } = this.options
    const { status, problem } = await requests.ask(origin)
    if (status === null) return { who: origin, row: { ...UNKNOWN, pod: new URL(origin).host, problem } }
    const who = status.identity
    const its = `${status.lease.namespace}/${status.lease.name}`
    const row = { ...UNKNOWN, pod: podOf(who) }
    if (its === lease) return { who, row: { ...row, status } }
    return { who, row: { ...row, problem: `competes for another Lease, "${its}"` } }
  }
}

const UNKNOWN: Omit<ReplicaRow, 'pod'> = { node: null, status: null, problem: null }
