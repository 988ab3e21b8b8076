import { createHmac, randomBytes, timingSafeEqual } from 'node:crypto'
import * as z from 'zod/mini'
import type { Clock } from '../clock.ts'
import type { ConsentAnswer, ConsentRequest } from '../election/consent.ts'
import type { Question } from '../election/elector.ts'
import type { CandidateState } from '../election/state.ts'
import { type LeaseMember, MEMBERS, MOST_MEMBERS, membersOf } from '../lease/lease-members.ts'
import type { SendConsent } from './peer-requests.ts'
import { ANSWER_COUNTS_MS, type HandoverOptions, type Peers } from './peers.ts'

const ENROL_WITHIN_MS = 1_000
/** A member that has seen a newer holder answers an older one under the key of that term. */
const REMEMBERED_KEYS = 4
/** A client that repeats older requests could delay a takeover by members. These are of more than an hour. */
const REMEMBERED_NONCES = 1_000

const text = z.string().check(z.maxLength(600))
const Asked = z.object({
  kind: z.enum(['enrol', 'consent']),
  ...{ uid: text, holder: text, epoch: z.int(), to: text, nonce: text },
})
const Answered = z.object({
  ...{ nonce: text, from: text, agreed: z.boolean(), reason: text, holder: text, epoch: z.int() },
})

export interface MembersOptions extends HandoverOptions {
  /** Of this process, for its own terms. */
  readonly key: string
  readonly identity: string
  readonly leaseDurationMs: number
  readonly peers: Pick<Peers, 'answered'>
  readonly clock: Clock
  readonly send: SendConsent
  readonly consentTo: (request: ConsentRequest) => ConsentAnswer | null
}

/** Failsafe between the agents: enrols members (F2), asks them for consent (F5), and answers another holder (F4). */
export class Members {
  private readonly options: MembersOptions
  private keys: readonly string[] = []
  /** Of the requests that were answered, newest first. */
  private nonces: readonly string[] = []
  private note: string | undefined
  private epoch: number | null = null
  /** The peers that agreed to be members in this term, and the time of their last answer. */
  private readonly enrolled = new Map<string, LeaseMember & { readonly answeredAt: number }>()

  constructor(options: MembersOptions) {
    this.options = options
  }

  /** After each change of the election. */
  electionChanged({ seen, term }: CandidateState): void {
    if (this.epoch !== (term?.epoch ?? null)) this.enrolled.clear()
    this.epoch = term?.epoch ?? null
    const lease = seen?.lease ?? null
    const note = lease?.metadata.annotations?.[MEMBERS]
    if (lease === null || note === this.note) return
    this.note = note
    const key = membersOf(lease)?.key
    if (key) this.keys = [key, ...this.keys.filter((other) => other !== key)].slice(0, REMEMBERED_KEYS)
  }

  /** After each poll of the peers, which only a leader makes. */
  asked(): void {
    const { peers, clock, leaseDurationMs, state } = this.options
    for (const { identity, at, askedAt } of peers.answered) {
      const { hostname, port } = new URL(at)
      const member = { identity, at: `${hostname}:${port || 80}` }
      const known = this.enrolled.get(identity)
      if (known === undefined) void this.enrol(member)
      else this.enrolled.set(identity, { ...member, answeredAt: Math.max(known.answeredAt, askedAt) })
    }
    const since = clock.mono() - Math.max(leaseDurationMs, ANSWER_COUNTS_MS)
    for (const [identity, { answeredAt }] of [...this.enrolled])
      if (answeredAt < since) this.enrolled.delete(identity)
    if (state().term !== null) this.propose()
  }

  /** A round. It dispatches a fact for each member, also for one that does not answer. */
  ask({ round, request, asked, deadlineMs }: Question): void {
    for (const member of asked)
      void this.request(member, request, deadlineMs).then((answer) => {
        // The rounds of each term are counted from 1.
        if (this.epoch !== request.epoch) return
        this.options.dispatch({ type: 'consent', round, identity: member.identity, answer })
      })
  }

  /** The sealed answer to a sealed request. `null`: the request is not for this replica, or no known key signs it. */
  answer(sealed: string): string | null {
    const { identity, consentTo } = this.options
    for (const key of this.keys) {
      const asked = opened(key, 'request', sealed, Asked)
      if (asked === null) continue
      const { kind, uid, holder, epoch, to, nonce } = asked
      if (this.nonces.includes(nonce)) return null
      const answer = to === identity ? consentTo({ kind, uid, holder, epoch }) : null
      if (answer === null) return null
      this.nonces = [nonce, ...this.nonces].slice(0, REMEMBERED_NONCES)
      return seal(key, 'answer', { reason: '', holder: '', epoch: 0, ...answer, nonce, from: identity })
    }
    return null
  }

  private async enrol(member: LeaseMember): Promise<void> {
    const { identity: holder, state, clock } = this.options
    const { term, seen } = state()
    const uid = seen?.lease?.metadata.uid
    if (term === null || uid === undefined) return
    const { epoch } = term
    const answeredAt = clock.mono()
    const answer = await this.request(member, { kind: 'enrol', uid, holder, epoch }, ENROL_WITHIN_MS)
    if (!answer?.agreed || this.epoch !== epoch) return
    this.enrolled.set(member.identity, { ...member, answeredAt })
    this.propose()
  }

  private propose(): void {
    const { state, dispatch } = this.options
    const members = [...this.enrolled.values()]
      // There may be more for a moment, while a rollout replaces many of them.
      .sort((a, b) => b.answeredAt - a.answeredAt)
      .slice(0, MOST_MEMBERS)
      .map(({ identity, at }) => ({ identity, at }))
      .sort((a, b) => (a.identity < b.identity ? -1 : 1))
    if (JSON.stringify(members) !== JSON.stringify(state().term?.consent.members))
      dispatch({ type: 'enrolled', members })
  }

  private async request(
    { identity: to, at }: LeaseMember,
    request: ConsentRequest,
    deadlineMs: number,
  ): Promise<ConsentAnswer | null> {
    const { key, send } = this.options
    const nonce = randomBytes(16).toString('base64url')
    try {
      const sealed = await send(at, seal(key, 'request', { ...request, to, nonce }), deadlineMs)
      const answer = opened(key, 'answer', sealed, Answered)
      return answer?.nonce === nonce && answer.from === to ? answer : null
    } catch {
      return null
    }
  }
}

type Direction = 'request' | 'answer'

function seal(key: string, direction: Direction, value: object): string {
  const body = Buffer.from(JSON.stringify(value)).toString('base64url')
  return `${body}.${mac(key, direction, body).toString('base64url')}`
}

function opened<T>(key: string, direction: Direction, sealed: string, schema: z.ZodMiniType<T>): T | null {
  const [body = '', signature = ''] = sealed.trim().split('.')
  const [given, own] = [Buffer.from(signature, 'base64url'), mac(key, direction, body)]
  if (given.length !== own.length || !timingSafeEqual(given, own)) return null
  try {
    return schema.parse(JSON.parse(Buffer.from(body, 'base64url').toString()))
  } catch {
    return null
  }
}

function mac(key: string, direction: Direction, body: string): Buffer {
  return createHmac('sha256', key).update(`${direction}.${body}`).digest()
}
