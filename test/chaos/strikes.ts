import { setTimeout as sleep } from 'node:timers/promises'
import { mono } from '../support/stage.ts'
import { type Fault, type Heal, Missed, type Part } from './faults/fault.ts'
import { kindOf } from './faults/kinds.ts'
import type { Ground } from './ground.ts'
import type { Seat } from './seat.ts'

/** The product's default lease duration. */
const LEASE_MS = 15_000

/** A fault that struck. */
export interface Struck {
  readonly kind: string
  /** Monotonic ms. */
  readonly at: number
  /** Infinite while it is active. */
  healedAt: number
  /** The pod that it hit; '' where it hit all. */
  readonly replica: string
  /** What that pod was then. */
  readonly role: 'leader' | 'follower' | ''
}

export interface StrikesOptions {
  readonly ground: Ground
  readonly leader: () => string | undefined
  readonly say: (sentence: string) => void
  /** A fault could not be healed: the run makes no sense any more. */
  readonly broken: (error: unknown) => void
}

/** Brings planned faults about, one beside the other, and heals them. */
export class Strikes {
  readonly list: Struck[] = []
  /** Pairs of kinds that met: one struck while the other was active, or showed its effect at most a lease later. */
  readonly pairs = new Set<string>()
  missed = 0
  readonly #options: StrikesOptions
  readonly #busy = new Set<string>()
  readonly #healing = new Set<Promise<void>>()

  constructor(options: StrikesOptions) {
    this.#options = options
  }

  #met(struck: Struck): readonly Struck[] {
    return this.list.filter((other) => other !== struck && other.healedAt >= struck.at - LEASE_MS)
  }

  async strike(fault: Fault, signal: AbortSignal): Promise<void> {
    const { ground, leader, say } = this.#options
    const { hits, strike } = kindOf(fault.kind)
    const leading = leader()
    const seat = this.#seat(fault, hits, leading)
    if (seat === undefined) return this.#miss(fault, 'what it would hit is struck already')
    const { identity } = seat
    const shared = hits === 'api' || hits === 'lease'
    const where = shared ? '' : identity
    const role = shared ? '' : identity === leading ? 'leader' : 'follower'
    const locks = locksOf(hits, seat)
    for (const lock of locks) this.#busy.add(lock)
    const struck: Struck = {
      kind: fault.kind,
      at: mono(),
      healedAt: Number.POSITIVE_INFINITY,
      replica: where,
      role,
    }
    this.list.push(struck)
    let heal: Heal | undefined
    try {
      heal = await strike(ground, seat, fault)
    } catch (error) {
      // What a person does may meet an API server that is still coming up.
      if (!(error instanceof Missed) && !shared) throw error
      this.list.splice(this.list.indexOf(struck), 1)
      for (const lock of locks) this.#busy.delete(lock)
      return this.#miss(fault, (error as Error).message.split('\n', 1)[0] as string)
    }
    for (const other of this.#met(struck)) this.pairs.add([other.kind, struck.kind].sort().join(' + '))
    say(
      `${fault.kind}${fault.ms > 0 ? ` for ${(fault.ms / 1000).toFixed(1)} s` : ''}${where && `: ${where} (${role})`}`,
    )
    const healed = this.#heal(struck, fault, heal, signal).catch(this.#options.broken)
    this.#healing.add(healed)
    void healed.then(() => {
      for (const lock of locks) this.#busy.delete(lock)
      this.#healing.delete(healed)
    })
  }

  /** Resolves once no fault is active. */
  async allHealed(): Promise<void> {
    while (this.#healing.size > 0) await Promise.all(this.#healing)
  }

  async #heal(struck: Struck, { ms }: Fault, heal: Heal | undefined, signal: AbortSignal): Promise<void> {
    if (ms > 0) await sleep(ms, undefined, { signal }).catch(() => {})
    if (!signal.aborted) await heal?.()
    struck.healedAt = mono()
  }

  /** The leader's or the planned one; where that is struck already, the next one that is not. */
  #seat({ leader, seat }: Fault, hits: Part, leading: string | undefined): Seat | undefined {
    const { seats } = this.#options.ground
    const aim = leader ? seats.findIndex(({ identity }) => identity === leading) : -1
    const first = aim >= 0 ? aim : seat
    return seats
      .map((_, n) => seats[(first + n) % seats.length] as Seat)
      .find((one) => locksOf(hits, one).every((lock) => !this.#busy.has(lock)))
  }

  #miss({ kind }: Fault, why: string): void {
    this.missed += 1
    this.#options.say(`${kind}: missed, ${why}`)
  }
}

/** Nobody edits a Lease while there is no API server. */
function locksOf(hits: Part, { index }: Seat): readonly string[] {
  if (hits === 'api' || hits === 'lease') return ['api']
  if (hits === 'pod') return [`agent ${index}`, `container ${index}`]
  return [`${hits} ${index}`]
}
