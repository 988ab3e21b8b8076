import { type Clock, pause, type Timer } from '../clock.ts'
import type { Peer } from '../config/values.ts'
import { podOf } from '../lease/operator-annotations.ts'
import { type AgentStatus, type PeersView, type ReplicaRow, statusOf } from '../observe/agent-status.ts'
import type { LogThrottle } from '../observe/log.ts'
import { type Found, find, type Resolve, StatusRequests } from './peer-requests.ts'

/** A replica's answer about itself and its pod. */
export interface Member {
  readonly identity: string
  /** Whether it would take over now. */
  readonly ready: boolean
  /** Whether its standby is as warm as was asked for. */
  readonly prepared: boolean
  /** Whether it stands by with more than nothing. */
  readonly warm: boolean
  /** Of its pod's template; `null`: unknown. */
  readonly revision: string | null
  /**
   * Whether no replica of that revision has served, so that it isn't Ready for Kubernetes; an earlier version does not report it.
   */
  readonly unproven: boolean
  /** How long ago its pod started, in milliseconds by its own clock; `null`: unknown. */
  readonly podAgeMs: number | null
  /** Its Lease: namespace and name, as `team/lock`. */
  readonly lease: string
  readonly leads: boolean
}

export interface PeersOptions {
  /**
   * Names with the addresses of all replicas, such as that of a headless Service, each with the port that their agents listen
   * on.
   */
  readonly at: readonly Peer[]
  /** This replica, which is among them. */
  readonly identity: string
  /** Their Lease, as in `Member`. Replicas at the same address with another Lease are no members. */
  readonly lease: string
  readonly clock: Clock
  readonly repeats: Pick<LogThrottle, 'happened' | 'over'>
  readonly resolve?: Resolve
  /** Called when all of them have been asked once more. */
  readonly asked?: () => void
}

const POLL_MS = 5_000
/** One answer may be missed, and the one after it take its second. */
const ANSWER_COUNTS_MS = 2 * POLL_MS + 1_000

/** Another pod may have an address later. */
const NAMED_FOR_MS = 60_000
/** The page shows the earlier addresses while names take longer. */
const RESOLVED_WITHIN_MS = 1_000

/** What an address answered last. */
interface LastAnswer {
  readonly status: AgentStatus
  /** Monotonic ms: when it was asked. */
  readonly askedAt: number
  /** No agent was there the last time: the answer only names the row of that address. */
  readonly gone: boolean
}

/** An address that was asked, such as `http://10.0.0.7:8090`; `null`: it answered with its status. */
interface Asked {
  readonly origin: string
  readonly problem: string | null
}

/**
 * The other replicas. The leader asks them whether one of them would take over now, and every replica asks them for the page. No rule
 * rests on an answer; a wrong one costs a handover, or a restart in place.
 */
export class Peers {
  private readonly options: PeersOptions
  private readonly requests: StatusRequests
  /** By the address that answered; this replica's own is among them. */
  private readonly answers = new Map<string, LastAnswer>()
  private found: Found = { origins: [], problems: [] }
  private finding: Promise<void> | null = null
  private asking = false
  private timer: Timer | null = null
  private nextAt = 0
  private polling = false

  constructor(options: PeersOptions) {
    this.options = options
    this.requests = new StatusRequests(options.clock)
  }

  /** Starts or stops polling: only a leader needs a successor. */
  ask(yes: boolean): void {
    if (yes === this.asking) return
    this.asking = yes
    this.timer?.cancel()
    if (yes) this.schedule()
  }

  /** Asks once more, out of turn: a replica that was ready a moment ago may be gone. */
  askAgain(): void {
    if (!this.asking) return
    this.timer?.cancel()
    this.nextAt = this.options.clock.mono()
    this.schedule()
  }

  close(): void {
    this.ask(false)
    this.requests.close()
  }

  /** How many others answered lately, and how many of them would take over now; `null`: the peers are not polled. */
  get view(): PeersView | null {
    if (!this.asking) return null
    const { members } = this
    return { ready: members.filter(({ ready }) => ready).length, seen: members.length }
  }

  get members(): readonly Member[] {
    return this.recentMembers.filter(({ lease }) => lease === this.options.lease)
  }

  /** Asks every peer once, whether or not this replica leads: which competes for which Lease, now or a moment ago. */
  async survey(): Promise<readonly Member[]> {
    await this.find()
    await this.askAll()
    return this.recentMembers
  }

  /** Asks every peer once, for the page and `/replicas`. A peer that does not answer is a row with its problem. By their names. */
  async rows(): Promise<ReplicaRow[]> {
    const { clock, identity } = this.options
    await pause(clock, RESOLVED_WITHIN_MS, this.find())
    const rows = new Map<string, ReplicaRow>()
    for (const { origin, problem } of await this.askAll()) {
      const who = this.answers.get(origin)?.status.identity ?? origin
      if (who !== identity && !rows.get(who)?.status) rows.set(who, this.rowOf(origin, problem))
    }
    for (const { host, problem } of this.found.problems)
      rows.set(host, { pod: host, node: null, status: null, problem })
    return [...rows.values()].sort((a, b) => (a.pod < b.pod ? -1 : 1))
  }

  private rowOf(origin: string, problem: string | null): ReplicaRow {
    const status = this.answers.get(origin)?.status
    const pod = status === undefined ? new URL(origin).host : podOf(status.identity)
    if (problem !== null || status === undefined) return { pod, node: null, status: null, problem }
    const its = leaseOf(status)
    if (its === this.options.lease) return { pod, node: null, status, problem: null }
    return { pod, node: null, status: null, problem: `competes for another Lease, "${its}"` }
  }

  private get recentMembers(): readonly Member[] {
    const { clock, identity } = this.options
    const now = clock.mono()
    const recent = [...this.answers.values()]
      .filter(({ askedAt, gone }) => !gone && askedAt >= now - ANSWER_COUNTS_MS)
      .filter(({ status }) => status.identity !== identity)
      .sort((a, b) => a.askedAt - b.askedAt)
    // A replica may have two addresses: its last answer counts.
    return [...new Map(recent.map((one) => [one.status.identity, memberOf(one, now)])).values()]
  }

  private schedule(): void {
    if (this.polling) return
    const { clock } = this.options
    this.timer = clock.after(Math.max(0, this.nextAt - clock.mono()), () => void this.poll())
  }

  /** One at a time: a name that is resolved slowly must not be asked for again and again. */
  private async poll(): Promise<void> {
    const { clock, repeats } = this.options
    this.polling = true
    this.nextAt = clock.mono() + POLL_MS
    await this.find()
    const { origins, problems: unresolved } = this.found
    // Asked as of now, since the names may have taken a while.
    if (origins.length > 0) this.nextAt = clock.mono() + POLL_MS
    const asked = await this.askAll()
    this.polling = false
    // Requests that were cancelled by `ask(false)` are no failures.
    if (!this.asking) return
    const problems = [...unresolved, ...asked].flatMap(({ problem }) => problem ?? [])
    for (const problem of problems) repeats.happened('peers', problem)
    if (problems.length === 0) repeats.over('peers', 'every peer answers')
    this.options.asked?.()
    this.schedule()
  }

  /** Resolves the names, once at a time. Never rejects. */
  private find(): Promise<void> {
    const { at, resolve } = this.options
    this.finding ??= find(at, resolve).then((found) => {
      this.found = found
      this.finding = null
    })
    return this.finding
  }

  /** Asks every address but this replica's own. */
  private askAll(): Promise<Asked[]> {
    const { clock, identity } = this.options
    const { origins, problems } = this.found
    const now = clock.mono()
    const resolved = problems.length === 0
    for (const [origin, { askedAt }] of this.answers)
      if (askedAt < now - NAMED_FOR_MS || (resolved && !origins.includes(origin))) this.answers.delete(origin)
    const isOwn = (origin: string) => {
      const answer = this.answers.get(origin)
      return answer?.status.identity === identity && answer.askedAt >= now - ANSWER_COUNTS_MS
    }
    // While a name cannot be resolved, the replicas that answered before still count.
    const known = resolved ? [] : [...this.answers.keys()]
    const others = [...new Set([...origins, ...known])].filter((origin) => !isOwn(origin))
    return Promise.all(others.map((origin) => this.askOne(origin)))
  }

  private async askOne(origin: string): Promise<Asked> {
    const askedAt = this.options.clock.mono()
    const answer = await this.requests.ask(origin)
    if (answer.problem !== null) {
      const before = this.answers.get(origin)
      if (answer.gone && before !== undefined) this.answers.set(origin, { ...before, gone: true })
      return { origin, problem: answer.problem }
    }
    const status = statusOf(answer.said)
    if (status === null)
      return { origin, problem: `peer ${origin} answered with something else than a status` }
    this.answers.set(origin, { status, askedAt, gone: false })
    return { origin, problem: null }
  }
}

function memberOf({ status, askedAt }: LastAnswer, now: number): Member {
  const { identity, couldTakeOver, standby, revision, onTrial, podAgeMs, role } = status
  return {
    identity,
    ready: couldTakeOver,
    prepared: standby.mode === standby.wanted,
    warm: standby.mode !== 'cold',
    revision,
    unproven: onTrial !== null,
    podAgeMs: podAgeMs === null ? null : podAgeMs + now - askedAt,
    lease: leaseOf(status),
    leads: role === 'leader',
  }
}

function leaseOf({ lease }: AgentStatus): string {
  return `${lease.namespace}/${lease.name}`
}

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
