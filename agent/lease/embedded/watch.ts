import type { ServerResponse } from 'node:http'
import type { Clock, Timer } from '../../clock.ts'
import type { Lease } from '../lease.ts'
import { type ApiRequest, isTrue, matches, type RequestMatch } from './request.ts'
import { expired } from './status.ts'
import type { Change } from './store.ts'

/** How long a watch lives that names no timeout: between this and twice this, as kube-apiserver's default. */
const MIN_TIMEOUT_MS = 1_800_000
/** kube-apiserver sends a bookmark about every minute, and in the last two seconds of a watch. */
const BOOKMARK_MS = 60_000
const LAST_BOOKMARK_MS = 2_000

type Shape = (lease: Lease) => unknown

export interface WatchOptions {
  readonly request: ApiRequest
  readonly response: ServerResponse
  readonly selects: (lease: Lease) => boolean
  /** How a Lease is shown, e.g. as a table row. */
  readonly shape: Shape
  readonly timeoutMs: number | undefined
}

/** One open watch. While it is silenced it keeps what it would send, as a broken link does. */
class Watch {
  readonly request: ApiRequest
  readonly #options: WatchOptions
  readonly #set: WatchSet
  readonly #timers: Timer[] = []
  #backlog: (() => void)[] = []

  constructor(set: WatchSet, options: WatchOptions) {
    this.#set = set
    this.#options = options
    this.request = options.request
    const timeoutMs = options.timeoutMs ?? MIN_TIMEOUT_MS * (1 + Math.random())
    this.#after(timeoutMs, () => this.end())
    if (!this.wantsBookmarks) return
    this.#every(BOOKMARK_MS)
    if (timeoutMs > LAST_BOOKMARK_MS) this.#after(timeoutMs - LAST_BOOKMARK_MS, () => this.bookmark())
  }

  get wantsBookmarks(): boolean {
    return isTrue(this.request.query.get('allowWatchBookmarks'))
  }

  change(change: Change): void {
    if (this.#options.selects(change.lease)) this.#event(change.type, this.#options.shape(change.lease))
  }

  bookmark(initialEventsEnd = false): void {
    const annotations = { 'k8s.io/initial-events-end': 'true' }
    const metadata = {
      resourceVersion: `${this.#set.version()}`,
      ...(initialEventsEnd ? { annotations } : {}),
    }
    this.#event('BOOKMARK', { kind: 'Lease', apiVersion: 'coordination.k8s.io/v1', metadata, spec: {} })
  }

  expire(error = expired(0n, this.#set.version())): void {
    this.#event('ERROR', error.body())
    this.end()
  }

  /** Writes anything at all, once the watch may speak. */
  write(text: string): void {
    this.#speak(() => this.#options.response.write(text))
  }

  end(): void {
    this.#speak(() => this.#options.response.end())
  }

  cut(): void {
    this.#options.response.socket?.destroy()
    this.closed()
  }

  resume(): void {
    if (this.#set.silences(this.request)) return
    const backlog = this.#backlog
    this.#backlog = []
    for (const speak of backlog) speak()
  }

  closed(): void {
    for (const timer of this.#timers) timer.cancel()
    this.#set.forget(this)
  }

  #event(type: string, object: unknown): void {
    this.write(`${JSON.stringify({ type, object })}\n`)
  }

  #speak(speak: () => void): void {
    if (this.#set.silences(this.request)) this.#backlog.push(speak)
    else speak()
  }

  #every(ms: number): void {
    this.#after(ms, () => {
      this.bookmark()
      this.#every(ms)
    })
  }

  #after(ms: number, fire: () => void): void {
    this.#timers.push(this.#set.clock.after(ms, fire))
  }
}

/** The open watches. */
export class WatchSet {
  readonly clock: Clock
  readonly version: () => bigint
  /** Whether a fault forbids sending anything to this watch. */
  silences: (request: ApiRequest) => boolean = () => false
  readonly #watches = new Set<Watch>()

  constructor(clock: Clock, version: () => bigint) {
    this.clock = clock
    this.version = version
  }

  open(options: WatchOptions): Watch {
    const watch = new Watch(this, options)
    this.#watches.add(watch)
    options.response.on('close', () => watch.closed())
    return watch
  }

  forget(watch: Watch): void {
    this.#watches.delete(watch)
  }

  tell(change: Change): void {
    for (const watch of this.#watches) watch.change(change)
  }

  resume(): void {
    for (const watch of this.#watches) watch.resume()
  }

  cut = (match: RequestMatch) => this.#each(match, (watch) => watch.cut())
  end = (match: RequestMatch) => this.#each(match, (watch) => watch.end())
  expire = (match: RequestMatch) => this.#each(match, (watch) => watch.expire())
  garble = (match: RequestMatch) => this.#each(match, (watch) => watch.write('{"type":"MODIFIED"}}\n'))
  bookmark = (match: RequestMatch) =>
    this.#each(
      match,
      (watch) => watch.bookmark(),
      (watch) => watch.wantsBookmarks,
    )
  truncate = (match: RequestMatch) =>
    this.#each(match, (watch) => {
      watch.write('{"type":"MODIFIED","object":{"kind":"Lease","apiVersion":"coord')
      watch.end()
    })

  #each(match: RequestMatch, act: (watch: Watch) => void, also = (_: Watch) => true): number {
    const hit = [...this.#watches].filter((watch) => matches(match, watch.request) && also(watch))
    for (const watch of hit) act(watch)
    return hit.length
  }
}
