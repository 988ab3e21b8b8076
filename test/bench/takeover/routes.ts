import { type Call, Client, tally } from '../../harness/client.ts'
import type { Pod } from '../../harness/pod.ts'
import { mono } from '../../harness/wait.ts'

/**
 * Where requests go, as a Service knows it: to whom `/readyz` says 200. It asks each agent each 50 ms. While it is held
 * nothing changes: an API server that is frozen tells nobody of a probe that failed.
 */
export class Routes {
  isHeld = false
  readonly #asked: readonly { readonly pod: Pod; readonly client: Client<boolean> }[]
  #route: Pod | undefined

  constructor(pods: readonly Pod[]) {
    this.#asked = pods.map((pod) => {
      const target = { to: pod.options.identity, url: `http://127.0.0.1:${pod.httpPort}/readyz` }
      const client = new Client({ everyMs: 50, withinMs: 1_000, target: () => target, read: () => true })
      return { pod, client }
    })
  }

  /** Whom to send to; `undefined`: nobody is ready. */
  get route(): Pod | undefined {
    if (this.isHeld) return this.#route
    const ready = this.#asked.filter(({ client }) => client.calls.at(-1)?.failure === null)
    this.#route = (ready.find(({ pod }) => pod === this.#route) ?? ready[0])?.pod
    return this.#route
  }

  /** The longest time after `since` in which nobody said to be ready. */
  closedMs(since: number): number {
    const calls = this.#asked.flatMap(({ client }): Call[] => client.calls)
    return tally(calls, since, mono()).longestSilenceMs
  }

  async close(): Promise<void> {
    await Promise.all(this.#asked.map(({ client }) => client.stop()))
  }
}
