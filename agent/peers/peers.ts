import { Agent } from 'undici'
import type { Clock, Timer } from '../clock.ts'
import type { Peer } from '../config/values.ts'
import type { CandidateState, Fact } from '../election/state.ts'
import { podOf } from '../lease/operator-annotations.ts'
import type { LogThrottle } from '../observe/log.ts'
import type { AgentStatus, PeersView, ReplicaRow } from '../status/agent-status.ts'
import { find, LONGEST_ANSWER, type Reply, type Resolve, statusAt } from './peer-requests.ts'

export interface PeersOptions {
  /** Names with the addresses of all replicas, such as that of a headless Service. */
  readonly at: readonly Peer[]
  readonly identity: string
  /** Their Lease, as in `Member`. Replicas at the same address with another Lease are not members. */
  readonly lease: string
  readonly clock: Clock
  readonly repeats: Pick<LogThrottle, 'happened' | 'over'>
  readonly resolve?: Resolve
  readonly asked?: () => void
}

export interface HandoverOptions {
  readonly state: () => CandidateState
  readonly dispatch: (fact: Fact) => void
}

const POLL_MS = 5_000
const ROWS_COUNT_MS = 1_000
/** An answer counts for two polls and a second: one poll may be missed, and the next one may take a second. */
export const ANSWER_COUNTS_MS = 2 * POLL_MS + 1_000
/** While a switchover waits, its target is asked every second. It may miss one of these requests, which take up to a second. */
export const ASK_AGAIN_MS = 1_000
const PRESENT_MS = 2 * ASK_AGAIN_MS + 500

export function memberOf(status: AgentStatus) {
  const { identity, role, couldTakeOver, lease, standby, revision, onTrial, podAgeMs, content } = status
  return {
    identity,
    ready: couldTakeOver,
    prepared: standby.mode === standby.wanted,
    warm: standby.mode !== 'cold',
    revision,
    /** Whether no replica of its revision has served, so that it is not Ready for Kubernetes. */
    unproven: onTrial !== null,
    podAgeMs,
    /** The files that its LangFlow starts from. `null`: none are watched, or its version does not report them. */
    content: content && { digest: content.digest },
    lease: `${lease.namespace}/${lease.name}`,
    leads: role === 'leader',
  }
}

export type Member = Readonly<ReturnType<typeof memberOf>>

interface RecentAnswer extends Member {
  /** The address that answered, such as `http://10.0.0.7:8090`, and the time of the request. */
  readonly at: string
  readonly askedAt: number
}

/** No rule rests on an answer of another replica: a wrong one costs a handover, or a restart in place. */
export class Peers {
  private readonly options: PeersOptions
  private readonly dispatcher = new Agent({ maxResponseSize: LONGEST_ANSWER })
  private readonly answers = new Map<string, RecentAnswer>()
  private asking = false
  private timer: Timer | null = null
  private polling = false
  private nextAt = 0
  private lastRows: { readonly until: number; readonly rows: Promise<readonly ReplicaRow[]> } | null = null

  constructor(options: PeersOptions) {
    this.options = options
  }

  ask(yes: boolean): void {
    if (yes === this.asking) return
    this.asking = yes
    this.timer?.cancel()
    this.askAgain()
  }

  /** A replica that was ready a moment ago may be gone. */
  askAgain(afterMs = 0): void {
    if (!this.asking) return
    this.nextAt = Math.min(this.nextAt, this.options.clock.mono() + afterMs)
    this.schedule()
  }

  close(): void {
    this.ask(false)
    void this.dispatcher.destroy()
  }

  /** `null`: the peers are not polled. */
  get view(): PeersView | null {
    if (!this.asking) return null
    const { members } = this
    return { ready: members.filter(({ ready }) => ready).length, seen: members.length }
  }

  get members(): readonly Member[] {
    return this.recentMembers.filter(({ lease }) => lease === this.options.lease)
  }

  /** The members that answered just now. The others may be on a node that was lost since their last answer. */
  get present(): readonly Member[] {
    const since = this.options.clock.mono() - PRESENT_MS
    return this.members.filter(({ identity }) => (this.answers.get(identity)?.askedAt ?? 0) >= since)
  }

  /** All replicas, this one first. The peers are asked on demand, at most once a second for any number of clients. */
  rows(own: () => ReplicaRow): Promise<readonly ReplicaRow[]> {
    const now = this.options.clock.mono()
    if (this.lastRows === null || now >= this.lastRows.until) {
      const rows = this.round().then((replies) => [own(), ...this.rowsOf(replies)])
      this.lastRows = { until: now + ROWS_COUNT_MS, rows }
    }
    return this.lastRows.rows
  }

  private rowsOf(replies: readonly Reply[]): ReplicaRow[] {
    const { identity, lease } = this.options
    const rows = new Map<string, ReplicaRow>()
    for (const { from, status, problem } of replies) {
      if (status === null) rows.set(from, { pod: from, node: null, status, problem })
      else if (status.identity !== identity) {
        const member = memberOf(status)
        const isOther = member.lease !== lease
        rows.set(member.identity, {
          pod: podOf(member.identity),
          node: null,
          status: isOther ? null : status,
          problem: isOther ? `competes for another Lease, "${member.lease}"` : null,
        })
      }
    }
    return [...rows.values()].sort((a, b) => (a.pod < b.pod ? -1 : 1))
  }

  /** Asks every peer once, even if this replica does not lead. Includes those with another Lease. */
  async survey(): Promise<readonly Member[]> {
    await this.round()
    return this.recentMembers
  }

  /** The last answer of each replica with this Lease, as far as it is known. */
  get answered(): readonly Pick<RecentAnswer, 'identity' | 'at' | 'askedAt'>[] {
    return [...this.answers.values()].filter(({ lease }) => lease === this.options.lease)
  }

  private get recentMembers(): readonly Member[] {
    const now = this.options.clock.mono()
    return [...this.answers.values()]
      .filter(({ askedAt }) => askedAt >= now - ANSWER_COUNTS_MS)
      .map(({ at: _, askedAt, podAgeMs, ...member }) => ({
        ...member,
        podAgeMs: podAgeMs === null ? null : podAgeMs + now - askedAt,
      }))
  }

  private schedule(): void {
    if (this.polling) return
    const { clock } = this.options
    this.timer?.cancel()
    this.timer = clock.after(Math.max(0, this.nextAt - clock.mono()), () => void this.poll())
  }

  /** Only one poll runs at a time, so that a slow name server does not receive lookups of the same name repeatedly. */
  private async poll(): Promise<void> {
    const { clock, repeats } = this.options
    this.polling = true
    this.nextAt = clock.mono() + POLL_MS
    const problems = (await this.round()).flatMap(({ problem }) => problem ?? [])
    this.polling = false
    // Requests that were cancelled by `ask(false)` are not failures.
    if (!this.asking) return
    for (const problem of problems) repeats.happened('peers', problem)
    if (problems.length === 0) repeats.over('peers', 'every peer answers')
    this.options.asked?.()
    this.schedule()
  }

  private async round(): Promise<Reply[]> {
    const { at, resolve } = this.options
    const { origins, unresolved } = await find(at, resolve)
    if (unresolved.length === 0) this.forget(({ at }) => !origins.includes(at))
    // While a name cannot be resolved, the replicas that answered before still count.
    const earlier = unresolved.length > 0 ? [...this.answers.values()].map(({ at }) => at) : []
    const all = [...new Set([...origins, ...earlier])]
    return [...unresolved, ...(await Promise.all(all.map((origin) => this.askOne(origin))))]
  }

  private async askOne(origin: string): Promise<Reply> {
    const { clock, identity } = this.options
    const askedAt = clock.mono()
    const reply = await statusAt(origin, clock, this.dispatcher)
    const { status, gone } = reply
    if (gone) this.forget(({ at }) => at === origin)
    if (status !== null && status.identity !== identity) {
      // Pods are replaced by pods with new names.
      this.forget((one) => one.askedAt < askedAt - ANSWER_COUNTS_MS)
      this.answers.set(status.identity, { ...memberOf(status), at: origin, askedAt })
    }
    return reply
  }

  private forget(which: (answer: RecentAnswer) => boolean): void {
    for (const [identity, answer] of this.answers) if (which(answer)) this.answers.delete(identity)
  }
}
