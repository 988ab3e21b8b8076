import { type ApiRequest, matches, type RequestMatch } from './request.ts'
import type { WatchSet } from './watch.ts'

export type FaultStatus = 401 | 403 | 409 | 429 | 500 | 503 | 504

/** What goes wrong with a request. */
export type Fault =
  /** Commits `ms` late, and does so even when the client has gone: a write that arrives after its deadline. */
  | { kind: 'delay-before'; ms: number }
  /** Commits at once, answers `ms` late. */
  | { kind: 'delay-after'; ms: number }
  /** Commits, then destroys the connection. */
  | { kind: 'drop-reply' }
  /**
   * No answer, and no commit, until the fault is removed; then the request goes on if its client still waits.
   * Without `times` the open watches it matches fall silent as well, and get what they missed afterwards.
   */
  | { kind: 'hang' }
  /** Destroys the connection at once, open watches as well. */
  | { kind: 'refuse' }
  | { kind: 'status'; code: FaultStatus; retryAfterSeconds?: number }
  /** Commits, and answers as if it had not. */
  | { kind: 'status-after-commit'; code: FaultStatus; retryAfterSeconds?: number }

export interface ActiveFault {
  readonly fault: Fault
  /** How many requests it has hit. */
  readonly hits: number
  /** Resolves at the first hit, or at once after one. */
  readonly hit: Promise<void>
  remove(): void
}

class Entry implements ActiveFault {
  readonly match: RequestMatch
  readonly fault: Fault
  readonly limited: boolean
  readonly hit: Promise<void>
  readonly removed: Promise<void>
  hits = 0
  left: number
  readonly remove: () => void
  readonly #hit: () => void

  constructor(match: RequestMatch, fault: Fault, times: number | undefined, dropped: (entry: Entry) => void) {
    this.match = match
    this.fault = fault
    this.limited = times !== undefined
    this.left = times ?? Number.POSITIVE_INFINITY
    const hit = Promise.withResolvers<void>()
    const removed = Promise.withResolvers<void>()
    this.hit = hit.promise
    this.removed = removed.promise
    this.#hit = hit.resolve
    this.remove = () => {
      dropped(this)
      removed.resolve()
    }
  }

  take(): void {
    this.hits += 1
    this.left -= 1
    this.#hit()
  }
}

/** One fault that hit one request. `removed` settles what hangs. */
export interface Hit {
  readonly fault: Fault
  readonly removed: Promise<void>
}

/** Breaks the API on purpose. Faults hit requests in the order in which they were added; several may hit one. */
export class Faults {
  #entries: Entry[] = []
  readonly #watches: WatchSet
  readonly #compact: () => void

  constructor(watches: WatchSet, compact: () => void) {
    this.#watches = watches
    this.#compact = compact
  }

  /** Applies `fault` to what `match` means: to the next `times` requests, or until it is removed. */
  add(match: RequestMatch, fault: Fault, options: { times?: number } = {}): ActiveFault {
    const entry = new Entry(match, fault, options.times, (gone) => {
      this.#entries = this.#entries.filter((other) => other !== gone)
      this.#watches.resume()
    })
    this.#entries.push(entry)
    if (fault.kind === 'refuse') this.#watches.cut(match)
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

  /** Destroys the connections of open watches. Like the calls below it returns how many it hit. */
  cutWatches(match: RequestMatch = {}): number {
    return this.#watches.cut(match)
  }

  /** Ends open watches in the middle of an event. */
  truncateWatches(match: RequestMatch = {}): number {
    return this.#watches.truncate(match)
  }

  /** Sends one line that is no JSON, and goes on. */
  garbleWatches(match: RequestMatch = {}): number {
    return this.#watches.garble(match)
  }

  /** Tells open watches that their version is too old (410), and ends them. */
  expireWatches(match: RequestMatch = {}): number {
    return this.#watches.expire(match)
  }

  /** Ends open watches in order, as at their timeout. */
  endWatches(match: RequestMatch = {}): number {
    return this.#watches.end(match)
  }

  /** Sends a bookmark to the watches that asked for them. */
  bookmark(match: RequestMatch = {}): number {
    return this.#watches.bookmark(match)
  }

  /** Forgets the history: a watch that starts from before now gets 410. */
  compact(): void {
    this.#compact()
  }

  /** The faults that hit this request; each counts as used. */
  take(request: ApiRequest): Hit[] {
    const hits = this.#entries.filter((entry) => entry.left > 0 && matches(entry.match, request))
    for (const entry of hits) entry.take()
    return hits
  }

  /** Whether an open watch may not be sent anything now. */
  silences(request: ApiRequest): boolean {
    return this.#entries.some(
      (entry) => entry.fault.kind === 'hang' && !entry.limited && matches(entry.match, request),
    )
  }
}
