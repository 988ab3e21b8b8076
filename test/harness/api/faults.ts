import type { ServerResponse } from 'node:http'
import {
  type ApiRequest,
  alreadyExists,
  conflict,
  eventLine,
  Failure,
  send,
  type Watch,
} from '../../../agent/demo/api-server.ts'
import { clientOf, matches, type RequestMatch } from './request-log.ts'

export type FaultStatus = 401 | 403 | 409 | 429 | 500 | 503 | 504

/** What goes wrong with a request. */
export type Fault =
  /** Commits `ms` late, and does so even when the client has gone: a write that arrives after its deadline. */
  | { kind: 'delay-before'; ms: number }
  /** Commits, then destroys the connection. */
  | { kind: 'drop-reply' }
  /**
   * No answer, and no commit, until the fault is removed; then the request goes on if its client still waits.
   * Without `times` the open watches it matches fall silent as well, and get what they missed afterwards.
   */
  | { kind: 'hang' }
  /** Destroys the connection at once, open watches as well. */
  | { kind: 'refuse' }
  | { kind: 'status'; code: FaultStatus }
  /** Commits, and answers as if it had not. */
  | { kind: 'status-after-commit'; code: FaultStatus }

export interface ActiveFault {
  /** How many requests it has hit. */
  readonly hits: number
  /** Resolves at the first hit, or at once after one. */
  readonly hit: Promise<void>
  remove(): void
}

/** One fault that hit one request. `removed` settles what hangs. */
export interface Hit {
  readonly fault: Fault
  readonly removed: Promise<void>
}

interface Entry extends Hit, ActiveFault {
  readonly match: RequestMatch
  /** How many requests it hits at most. */
  readonly times: number
  hits: number
  /** Settles `hit`. */
  readonly struck: () => void
}

/** What of the API can be broken. */
export interface Breakable {
  readonly watches: Iterable<Watch>
  say(watch: Watch, said: string | null): void
  /** Sends the watches what they missed, where nothing silences them any more. */
  resume(): void
  /** Forgets the history: a watch that starts from before now gets 410. */
  compact(): void
}

/** Breaks the API on purpose. Faults hit requests in the order in which they were added; several may hit one. */
export class Faults {
  #entries: Entry[] = []
  readonly #api: Breakable

  constructor(api: Breakable) {
    this.#api = api
  }

  /** Applies `fault` to what `match` means: to the next `times` requests, or until it is removed. */
  add(match: RequestMatch, fault: Fault, options: { times?: number } = {}): ActiveFault {
    const { times = Number.POSITIVE_INFINITY } = options
    const hit = Promise.withResolvers<void>()
    const removed = Promise.withResolvers<void>()
    const remove = () => {
      this.#entries = this.#entries.filter((other) => other !== entry)
      this.#api.resume()
      removed.resolve()
    }
    const entry = {
      match,
      fault,
      times,
      hits: 0,
      hit: hit.promise,
      removed: removed.promise,
      struck: hit.resolve,
      remove,
    }
    this.#entries.push(entry)
    if (fault.kind === 'refuse') this.cutWatches(match)
    return entry
  }

  /**
   * Cuts one client off, as a broken link does: `hang` is a black hole, `refuse` resets what it sends. Heal it by
   * `remove()`.
   */
  partition(client: string, kind: 'hang' | 'refuse' = 'hang'): ActiveFault {
    return this.add({ client }, { kind })
  }

  /** Removes every fault. */
  clear(): void {
    for (const entry of [...this.#entries]) entry.remove()
  }

  compact(): void {
    this.#api.compact()
  }

  /** Destroys the connections of open watches. Like the calls below it returns how many it hit. */
  cutWatches(match: RequestMatch = {}): number {
    return this.#each(match, ({ response }) => response.socket?.destroy())
  }

  /** Ends open watches in the middle of an event. */
  truncateWatches(match: RequestMatch = {}): number {
    return this.#say(match, '{"type":"MODIFIED","object":{"kind":"Lease","apiVersion":"coord', null)
  }

  /** Sends one line that is no JSON, and goes on. */
  garbleWatches(match: RequestMatch = {}): number {
    return this.#say(match, '{"type":"MODIFIED"}}\n')
  }

  /** Tells open watches that their version is too old (410), and ends them. */
  expireWatches(match: RequestMatch = {}): number {
    return this.#say(match, eventLine('ERROR', expired(0, 0).body), null)
  }

  /** Ends open watches in order, as at their timeout. */
  endWatches(match: RequestMatch = {}): number {
    return this.#say(match, null)
  }

  /** The faults that hit this request; each counts as used. */
  take(request: ApiRequest): Hit[] {
    const hits = this.#entries.filter(({ hits, times, match }) => hits < times && matches(match, request))
    for (const entry of hits) {
      entry.hits++
      entry.struck()
    }
    return hits
  }

  /** Whether an open watch may not be sent anything now. */
  silences(request: ApiRequest): boolean {
    return this.#entries.some(
      ({ fault, times, match }) =>
        fault.kind === 'hang' && times === Number.POSITIVE_INFINITY && matches(match, request),
    )
  }

  #say(match: RequestMatch, ...said: (string | null)[]): number {
    return this.#each(match, (watch) => {
      for (const piece of said) this.#api.say(watch, piece)
    })
  }

  #each(match: RequestMatch, act: (watch: Watch) => void): number {
    const hit = [...this.#api.watches].filter(({ request }) => matches(match, request))
    for (const watch of hit) act(watch)
    return hit.length
  }
}

export const expired = (asked: number, oldest: number) =>
  new Failure(410, 'Expired', `too old resource version: ${asked} (${oldest})`)

/**
 * Answers with an error as kube-apiserver words it. Two of its answers are no proper `Status`: too many requests
 * is plain text, and a timeout of its own is sent as text and without a kind.
 */
export function sendFault(response: ServerResponse, request: ApiRequest, code: FaultStatus): void {
  const sendText = (text: string) => response.writeHead(code, { 'content-type': 'text/plain' }).end(text)
  if (code === 429) {
    response.setHeader('retry-after', 1)
    sendText('Too many requests, please try again later.\n')
  } else if (code === 504) {
    sendText('{"metadata":{},"status":"Failure","message":"Timeout","reason":"Timeout","code":504}')
  } else {
    send(response, failureOf(request, code))
  }
}

function failureOf(request: ApiRequest, code: Exclude<FaultStatus, 429 | 504>): Failure {
  const { verb, namespace, name = '' } = request
  const user = `User "${clientOf(request) ?? 'system:anonymous'}"`
  const what = `${user} cannot ${verb} resource "leases" in API group "coordination.k8s.io" in the namespace "${namespace}"`
  switch (code) {
    case 401:
      return new Failure(401, 'Unauthorized', 'Unauthorized')
    case 403:
      return new Failure(403, 'Forbidden', `leases.coordination.k8s.io "${name}" is forbidden: ${what}`)
    case 409:
      return verb === 'create' ? alreadyExists(name) : conflict(name)
    case 500:
      return new Failure(500, 'InternalError', 'Internal error occurred: etcdserver: leader changed')
    case 503:
      return new Failure(503, 'ServiceUnavailable', 'the server is currently unable to handle the request')
  }
}
