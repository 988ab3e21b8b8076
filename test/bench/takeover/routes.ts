import { type Call, Client, tally } from '../../harness/client.ts'
import type { Pod } from '../../harness/pod.ts'
import { mono } from '../../harness/wait.ts'

/**
 * The target of requests, as a Service has it: a replica whose `/readyz` answers with 200. Each agent is probed every 50 ms.
 * While `isHeld`, the target stays, because a frozen API server reports no failed probe to the Service.
 */
export class Routes {
  isHeld = false
  readonly #probes: readonly { readonly pod: Pod; readonly client: Client<boolean> }[]
  #route: Pod | undefined

  constructor(pods: readonly Pod[]) {
    this.#probes = pods.map((pod) => {
      const target = { to: pod.options.identity, url: `http://127.0.0.1:${pod.httpPort}/readyz` }
      const client = new Client({ everyMs: 50, withinMs: 1_000, target: () => target, read: () => true })
      return { pod, client }
    })
  }

  /** The replica to send to. `undefined`: no replica is ready. */
  get route(): Pod | undefined {
    if (this.isHeld) return this.#route
    const ready = this.#probes.filter(({ client }) => client.calls.at(-1)?.failure === null)
    this.#route = (ready.find(({ pod }) => pod === this.#route) ?? ready[0])?.pod
    return this.#route
  }

  /** The longest time after `since` in which no agent reported to be ready. */
  closedMs(since: number): number {
    const calls = this.#probes.flatMap(({ client }): Call[] => client.calls)
    return tally(calls, since, mono()).longestSilenceMs
  }

  async close(): Promise<void> {
    await Promise.all(this.#probes.map(({ client }) => client.stop()))
  }
}
