import { Agent } from 'node:http'
import type { Clock } from '../clock.ts'
import { ask } from './ask.ts'
import { repeat } from './repeat.ts'

/** A replica as the front door sees it. */
export interface Place {
  readonly name: string
  /** Where its agent answers `/readyz`, on 127.0.0.1. */
  readonly agentPort: number
  /** Where its workload answers, on 127.0.0.1. */
  readonly port: number
}

const EVERY_MS = 50
/** Kubernetes' own default for a probe. */
const TIMEOUT_MS = 1_000

/** Follows each replica's readiness gate, as kubelet and a Service do in a cluster. */
export class Gates {
  readonly #places: readonly Place[]
  readonly #clock: Clock
  /** Names of the ready ones; who became ready last is last. */
  readonly #open = new Set<string>()
  #stops: (() => void)[] = []

  constructor(places: readonly Place[], clock: Clock) {
    this.#places = places
    this.#clock = clock
  }

  start(): void {
    this.#stops = this.#places.map((place) => this.#follow(place))
  }

  stop(): void {
    for (const stop of this.#stops) stop()
  }

  isOpen(name: string): boolean {
    return this.#open.has(name)
  }

  /** Whom requests go to; `null` while nobody is ready. */
  current(): Place | null {
    const name = [...this.#open].at(-1)
    return this.#places.find((place) => place.name === name) ?? null
  }

  #follow({ name, agentPort }: Place): () => void {
    const agent = new Agent({ keepAlive: true, maxSockets: 1 })
    const stop = repeat(this.#clock, EVERY_MS, async () => {
      const question = { host: '127.0.0.1', port: agentPort, path: '/readyz', timeoutMs: TIMEOUT_MS, agent }
      const ready = await ask({ ...question, clock: this.#clock }).then(
        ({ status }) => status === 200,
        () => false,
      )
      if (ready) this.#open.add(name)
      else this.#open.delete(name)
    })
    return () => {
      stop()
      agent.destroy()
    }
  }
}
