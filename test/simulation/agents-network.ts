import type { SendConsent } from '../../agent/peers/peer-requests.ts'
import type { Process } from './process.ts'
import type { Random } from './random.ts'
import type { Replica } from './replica.ts'
import type { World } from './world.ts'

const CHANCE_OF_FAULTS = 0.6
const LONGEST_CUT_MS = 40_000
/** A repeated request may arrive this long after the first one, in another term. */
const LATEST_REPEAT_MS = 30_000

/** The network between the agents, which carries requests for consent. It loses, delays, repeats and reorders them. */
export class AgentsNetwork {
  private readonly world: World
  private readonly random: Random
  private readonly cuts: { readonly pair: readonly [Replica, Replica]; from: number; to: number }[] = []
  private readonly unreliable: boolean

  constructor(world: World, random: Random, firstAt: number, spanMs: number) {
    this.world = world
    this.random = random
    this.unreliable = random.chance(CHANCE_OF_FAULTS)
    if (!random.chance(CHANCE_OF_FAULTS)) return
    for (const one of world.replicas)
      for (const other of world.replicas) {
        if (one.name >= other.name || !random.chance(0.4)) continue
        const from = firstAt + random.between(0, spanMs)
        this.cuts.push({ pair: [one, other], from, to: from + random.between(1_000, LONGEST_CUT_MS) })
      }
  }

  /** When the last cut is over. */
  get healedAt(): number {
    return Math.max(0, ...this.cuts.map(({ to }) => to))
  }

  sender(from: Replica, process: Process): SendConsent {
    const { timeline, judge } = this.world
    return (at, sealed, deadlineMs) => {
      const { promise, resolve, reject } = Promise.withResolvers<string>()
      const sentAt = timeline.now
      const target = this.world.replicas.find((replica) => addressOf(replica) === at)
      const late = process.after(deadlineMs, () => reject(new Error('no answer')))
      const back = (answer: string) =>
        process.deliver(() => {
          late.cancel()
          if (target !== undefined) judge.consented(from, target, payload(sealed), payload(answer), sentAt)
          resolve(answer)
        })
      const arrive = (agent: Replica['agent'], repeated: boolean) => {
        if (agent === null || agent !== target?.agent) return
        agent.process.deliver(() => {
          const answer = agent.consent(sealed)
          if (answer === null || repeated) return
          agent.process.act(() => this.carry(from, target, () => back(answer)))
        })
      }
      process.act(() => {
        if (target === undefined) return
        const { agent } = target
        this.carry(from, target, () => arrive(agent, false))
        if (this.unreliable && this.random.chance(0.2))
          timeline.in(this.random.between(0, LATEST_REPEAT_MS), () => arrive(target.agent, true))
      })
      return promise
    }
  }

  private carry(one: Replica, other: Replica, go: () => void): void {
    const { timeline } = this.world
    const isCut = this.cuts.some(
      ({ pair, from, to }) =>
        pair.includes(one) && pair.includes(other) && from <= timeline.now && timeline.now < to,
    )
    if (isCut || (this.unreliable && this.random.chance(0.05))) return
    const slow = this.unreliable && this.random.chance(0.1) ? this.random.between(0, 5_000) : 0
    timeline.in(this.random.between(0.3, 8) + slow, go)
  }
}

export function addressOf({ name }: Replica): string {
  return `${name}:8090`
}

export interface Payload {
  readonly kind?: string
  readonly epoch: number
  readonly agreed?: boolean
  readonly from?: string
}

/** The judge reads the content, and checks no signature. */
function payload(sealed: string): Payload {
  return JSON.parse(Buffer.from(sealed.split('.')[0] ?? '', 'base64url').toString()) as Payload
}
