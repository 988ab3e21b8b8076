import type { ServerResponse } from 'node:http'
import { systemClock } from '../../../agent/clock.ts'
import {
  type ApiRequest,
  kubeconfigFor,
  LeaseServer,
  type Verb,
  type Watch,
} from '../../../agent/demo/api-server.ts'
import type { Lease } from '../../../agent/lease/lease.ts'
import { mono, Series } from '../wait.ts'

/** Which requests are meant; a field left out means any. */
interface RequestMatch {
  readonly verb?: Verb | readonly Verb[]
  /** NAME of a base path `/clients/NAME`. */
  readonly client?: string
}

/** A request that was answered. */
interface Answered {
  readonly request: ApiRequest
  /** CLOCK_MONOTONIC in ms, when it had arrived. */
  readonly at: number
}

/** Something hangs until it is healed. */
interface Hang {
  readonly match: RequestMatch
  readonly healed: PromiseWithResolvers<void>
}

function matches({ verb, client }: RequestMatch, { verb: asked, path }: ApiRequest): boolean {
  if (verb !== undefined && ![verb].flat().includes(asked)) return false
  return client === undefined || path.startsWith(`/clients/${client}/`)
}

/**
 * The demo's API server, with a log of its requests, and hangs on demand. Clients are told apart by a base path: `/clients/NAME/apis/…`
 * is the same API.
 */
export class EmbeddedLeaseApi extends LeaseServer {
  readonly #answered = new Series<Answered>()
  readonly #hangs = new Set<Hang>()
  readonly #backlog = new Map<Watch, (string | null)[]>()

  private constructor(leases: readonly Lease[]) {
    super(systemClock)
    for (const lease of leases) this.put(lease)
  }

  /** On a free port of 127.0.0.1. `leases` exist from the start; without a namespace they are in `default`. */
  static async start(leases: readonly Lease[] = []): Promise<EmbeddedLeaseApi> {
    const api = new EmbeddedLeaseApi(leases)
    await api.listen()
    return api
  }

  kubeconfig(client: string): string {
    return kubeconfigFor(`${this.url}/clients/${client}`)
  }

  /** What was answered so far, in that order. A watch counts when it has ended. */
  answered(match: RequestMatch): Answered[] {
    return this.#answered.list.filter(({ request }) => matches(match, request))
  }

  /** Resolves once so many of them have been answered since the start. */
  async answers(match: RequestMatch, count: number): Promise<void> {
    await this.#answered.next(`answer ${count}`, () => this.answered(match).length >= count)
  }

  /**
   * From now on nothing is answered or carried out, and open watches fall silent. Until what is returned is called: then
   * requests go on whose clients still wait, and watches get what they missed.
   */
  hang(match: RequestMatch = {}): () => void {
    const hang = { match, healed: Promise.withResolvers<void>() }
    this.#hangs.add(hang)
    return () => this.#heal(hang)
  }

  heal(): void {
    for (const hang of this.#hangs) this.#heal(hang)
  }

  #heal(hang: Hang): void {
    this.#hangs.delete(hang)
    hang.healed.resolve()
    for (const [watch, kept] of this.#backlog) {
      if (this.#hangsOf(watch.request).length > 0) continue
      this.#backlog.delete(watch)
      for (const said of kept) super.say(watch, said)
    }
  }

  #hangsOf(request: ApiRequest): Hang[] {
    return [...this.#hangs].filter(({ match }) => matches(match, request))
  }

  protected override async handle(request: ApiRequest, response: ServerResponse): Promise<void> {
    const at = mono()
    response.on('finish', () => this.#answered.add({ request, at }))
    await Promise.all(this.#hangsOf(request).map(({ healed }) => healed.promise))
    if (!response.destroyed) await super.handle(request, response)
  }

  /** While a watch is silenced it keeps what it would send, as a broken link does. */
  protected override say(watch: Watch, said: string | null): void {
    if (this.#hangsOf(watch.request).length === 0) super.say(watch, said)
    else this.#backlog.set(watch, [...(this.#backlog.get(watch) ?? []), said])
  }
}
