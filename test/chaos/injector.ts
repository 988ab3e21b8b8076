import { setTimeout as sleep } from 'node:timers/promises'
import { type Heal, Missed } from '../harness/faults/catalogue.ts'
import { mono } from '../harness/wait.ts'
import { type Fault, kindOf, type Part } from './faults.ts'
import type { ChaosScene, Slot } from './scene.ts'

/** A fault that was injected. */
export interface Injected {
  readonly kind: string
  /** Monotonic ms. */
  readonly at: number
  /** Monotonic ms. Infinite while the fault is active. */
  healedAt: number
  /** The pod that it hit. '': it hit all pods. */
  readonly replica: string
}

interface FaultInjectorOptions {
  readonly scene: ChaosScene
  readonly leader: () => string | undefined
  readonly say: (sentence: string) => void
  /** Called if a fault could not be healed. The run must then end. */
  readonly broken: (error: unknown) => void
}

/** Injects planned faults, several at the same time, and heals them. */
export class FaultInjector {
  readonly list: Injected[] = []
  missed = 0
  readonly #options: FaultInjectorOptions
  readonly #busy = new Set<string>()
  readonly #healing = new Set<Promise<void>>()

  constructor(options: FaultInjectorOptions) {
    this.#options = options
  }

  async inject(fault: Fault, signal: AbortSignal): Promise<void> {
    const { scene, leader, say } = this.#options
    const { hits, inject } = kindOf(fault.kind)
    const leading = leader()
    const slot = this.#slot(fault, hits, leading)
    if (slot === undefined) return this.#miss(fault, 'another fault has each possible target')
    const { identity } = slot
    const shared = hits === 'api' || hits === 'lease'
    const target = shared ? '' : `${identity} (${identity === leading ? 'leader' : 'follower'})`
    const locks = locksOf(hits, slot)
    for (const lock of locks) this.#busy.add(lock)
    const injected: Injected = {
      kind: fault.kind,
      at: mono(),
      healedAt: Number.POSITIVE_INFINITY,
      replica: shared ? '' : identity,
    }
    this.list.push(injected)
    let heal: Heal
    try {
      const raw = await inject(scene, slot, fault)
      // The API server may still be starting.
      heal = shared ? () => scene.untilDone(async () => raw()) : raw
    } catch (error) {
      // A person's edit fails if the API server is still starting.
      if (!(error instanceof Missed) && !shared) throw error
      this.list.splice(this.list.indexOf(injected), 1)
      for (const lock of locks) this.#busy.delete(lock)
      return this.#miss(fault, (error as Error).message.split('\n', 1)[0] as string)
    }
    const lasts = fault.ms > 0 ? ` for ${(fault.ms / 1000).toFixed(1)} s` : ''
    say(`${fault.kind}${lasts}${target && `: ${target}`}`)
    const healed = this.#heal(injected, fault, heal, signal).catch(this.#options.broken)
    this.#healing.add(healed)
    void healed.then(() => {
      for (const lock of locks) this.#busy.delete(lock)
      this.#healing.delete(healed)
    })
  }

  /** Resolves when no fault is active. */
  async allHealed(): Promise<void> {
    while (this.#healing.size > 0) await Promise.all(this.#healing)
  }

  async #heal(injected: Injected, { ms }: Fault, heal: Heal, signal: AbortSignal): Promise<void> {
    if (ms > 0) await sleep(ms, undefined, { signal }).catch(() => {})
    if (!signal.aborted) await heal()
    injected.healedAt = mono()
  }

  /** The leader's slot or the planned one. If another fault has that target, the next slot that is free. */
  #slot({ leader, slot }: Fault, hits: Part, leading: string | undefined): Slot | undefined {
    const { slots } = this.#options.scene
    const aim = leader ? slots.findIndex(({ identity }) => identity === leading) : -1
    const first = aim >= 0 ? aim : slot
    return slots
      .map((_, n) => slots[(first + n) % slots.length] as Slot)
      .find((one) => locksOf(hits, one).every((lock) => !this.#busy.has(lock)))
  }

  #miss({ kind }: Fault, why: string): void {
    this.missed += 1
    this.#options.say(`${kind}: missed, ${why}`)
  }
}

/** The locks of a target. Edits of the Lease share one with the API server, because they fail while it is down. */
function locksOf(hits: Part, { index }: Slot): readonly string[] {
  if (hits === 'api' || hits === 'lease') return ['api']
  if (hits === 'pod') return [`agent ${index}`, `container ${index}`]
  return [`${hits} ${index}`]
}
