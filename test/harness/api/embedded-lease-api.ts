import type { ServerResponse } from 'node:http'
import { type Clock, pause, systemClock } from '../../../agent/clock.ts'
import {
  type Answer,
  type ApiRequest,
  eventLine,
  kubeconfigFor,
  LeaseServer,
  notFound,
  send,
  type Watch,
} from '../../../agent/demo/api-server.ts'
import type { Lease } from '../../../agent/lease/lease.ts'
import { expired, Faults, type Hit, sendFault } from './faults.ts'
import { RequestLog } from './request-log.ts'

export interface EmbeddedOptions {
  /** Leases that exist from the start; without a namespace they are in `default`. */
  leases?: readonly Lease[]
  clock?: Clock
}

/**
 * The demo's API server, which also deletes, keeps a log of its requests, and fails on purpose.
 *
 * A client may be told apart by a base path: `/clients/NAME/apis/…` is the same API, and faults can mean NAME.
 */
export class EmbeddedLeaseApi extends LeaseServer {
  readonly requests = new RequestLog()
  readonly faults = new Faults({
    watches: this.watches,
    say: (watch, said) => this.say(watch, said),
    resume: () => this.#resume(),
    compact: () => {
      this.#oldest = this.version
    },
  })
  readonly #backlog = new Map<Watch, (string | null)[]>()
  /** A watch from before this version is not served any more. */
  #oldest = 0

  constructor({ leases = [], clock = systemClock }: EmbeddedOptions = {}) {
    super(clock)
    for (const lease of leases) this.put(lease)
  }

  get port(): number {
    return Number(new URL(this.url).port)
  }

  /** The base URL, or the one by which `client` is known. */
  urlFor(client?: string): string {
    return client === undefined ? this.url : `${this.url}/clients/${encodeURIComponent(client)}`
  }

  kubeconfig(client?: string): string {
    return kubeconfigFor(this.urlFor(client))
  }

  /** Throws where there is none. */
  delete(name: string, namespace = 'default'): Lease {
    const stored = this.lease(name, namespace)
    if (stored === undefined) throw notFound(name)
    return this.commit('DELETED', stored)
  }

  protected override async handle(request: ApiRequest, response: ServerResponse): Promise<void> {
    const entry = this.requests.add(request, this.clock.mono())
    response.on('finish', () => this.requests.answered(entry, response.statusCode))
    const hits = this.faults.take(request)
    for (const hit of hits) if (!(await this.#goesOn(hit, request, response))) return
    if (request.verb === 'watch') {
      this.watch(request, response)
      this.requests.answered(entry, response.statusCode)
      return
    }
    const answer = this.answer(request)
    for (const { fault } of hits) {
      if (fault.kind === 'drop-reply') return void response.socket?.destroy()
      if (fault.kind === 'status-after-commit') return sendFault(response, request, fault.code)
    }
    send(response, answer)
  }

  /** Before anything is committed. False: the request ends here. */
  async #goesOn({ fault, removed }: Hit, request: ApiRequest, response: ServerResponse): Promise<boolean> {
    if (fault.kind === 'delay-before') await pause(this.clock, fault.ms)
    if (fault.kind === 'hang') await removed
    if (fault.kind === 'refuse') response.socket?.destroy()
    if (fault.kind === 'status') sendFault(response, request, fault.code)
    return fault.kind === 'hang' ? !response.destroyed : fault.kind !== 'refuse' && fault.kind !== 'status'
  }

  protected override answer(request: ApiRequest): Answer {
    const { verb, namespace, name } = request
    if (verb !== 'delete' || name === undefined) return super.answer(request)
    return this.lease(name, namespace) ? { code: 200, body: this.delete(name, namespace) } : notFound(name)
  }

  protected override watch(request: ApiRequest, response: ServerResponse): void {
    const from = Number(request.query.get('resourceVersion') ?? 0)
    if (from > 0 && from < this.#oldest) {
      response.writeHead(200, { 'content-type': 'application/json' })
      response.end(eventLine('ERROR', expired(from, this.#oldest).body))
    } else {
      super.watch(request, response)
    }
  }

  /** While a watch is silenced it keeps what it would send, as a broken link does. */
  protected override say(watch: Watch, said: string | null): void {
    if (!this.faults.silences(watch.request)) super.say(watch, said)
    else this.#backlog.set(watch, [...(this.#backlog.get(watch) ?? []), said])
  }

  #resume(): void {
    for (const [watch, kept] of this.#backlog) {
      if (this.faults.silences(watch.request)) continue
      this.#backlog.delete(watch)
      for (const said of kept) super.say(watch, said)
    }
  }
}

/** Starts the API on a free port of 127.0.0.1. */
export async function startEmbeddedLeaseApi(options: EmbeddedOptions = {}): Promise<EmbeddedLeaseApi> {
  const api = new EmbeddedLeaseApi(options)
  await api.listen()
  return api
}
