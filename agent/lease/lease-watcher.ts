import type { Clock, Timer } from '../clock.ts'
import type { Timings } from '../config/timings.ts'
import { ApiError } from '../kube/kube-errors.ts'
import { durationOf, holderOf, isNewer, type Lease } from './lease.ts'
import type { LeaseApi, OpenWatch, WatchEvent } from './lease-api.ts'

export interface WatcherHandlers {
  /** Never older than the one before. */
  observed(lease: Lease | null): void
  /** Polling is not needed any more. */
  up(): void
  /** Called once for each `up`, and for the first failed attempt. */
  down(error: ApiError | undefined): void
}

/** Retry periods without a change on the watch of a held Lease, after which it is checked. */
const SILENT_RETRIES = 2.5
/** For a read and for opening a watch. */
const REQUEST_DEADLINE_MS = 5_000
const FIRST_PAUSE_MS = 100

/** Events of an earlier watch have another `connection`. */
type Open = { readonly connection: object; readonly watch: OpenWatch; readonly since: number }

type WatcherPhase =
  | { readonly name: 'stopped' }
  /** Reads the present state, since no watch can continue from a known version. */
  | { readonly name: 'reading' }
  /** Requests a watch, whose events count already. */
  | { readonly name: 'opening'; readonly connection: object }
  | ({ readonly name: 'open' } & Open)
  /** The watch is open but silent. A read shows whether it works. */
  | ({ readonly name: 'checking' } & Open)
  | { readonly name: 'resting'; readonly pause: Timer }

export class LeaseWatcher {
  private readonly api: LeaseApi
  private readonly clock: Clock
  private readonly handlers: WatcherHandlers
  private readonly timings: Pick<Timings, 'retryPeriodMs' | 'leaseDurationMs'>
  private phase: WatcherPhase = { name: 'stopped' }
  private reported: 'nothing' | 'up' | 'down' = 'nothing'
  /** Number of watches in a row that did not live for a retry period. */
  private shortLived = 0

  private seen: Lease | null = null
  private mustRead = true
  /** Version of the last object or bookmark. Events up to here are old, and the next watch continues from here. */
  private position: string | undefined
  private expected: string | undefined

  private silence: Timer | null = null

  constructor(api: LeaseApi, clock: Clock, handlers: WatcherHandlers, timings: LeaseWatcher['timings']) {
    this.api = api
    this.clock = clock
    this.handlers = handlers
    this.timings = timings
  }

  start(): void {
    if (this.isStopped()) void this.open()
  }

  stop(): void {
    this.enter({ name: 'stopped' })
  }

  /** The watch must bring the version of another request soon, even if the Lease is not held. */
  expect(lease: Lease | null): void {
    const version = lease?.metadata.resourceVersion
    if (!('watch' in this.phase) || version === undefined || !isNewer(version, this.position)) return
    if (this.expected === undefined || isNewer(version, this.expected)) this.expected = version
    if (this.silence === null) this.awaitChange()
  }

  private isStopped(): boolean {
    return this.phase.name === 'stopped'
  }

  private enter<P extends WatcherPhase>(phase: P): P {
    this.silence?.cancel()
    this.silence = null
    if (this.phase.name === 'resting') this.phase.pause.cancel()
    if ('watch' in this.phase) this.phase.watch.close()
    this.phase = phase
    return phase
  }

  private async open(): Promise<void> {
    if (this.mustRead) {
      const reading = this.enter({ name: 'reading' })
      const lease = await this.api.read(this.deadlineMs()).catch(asFailure)
      if (this.phase !== reading) return
      if (lease instanceof ApiError) return this.ended(lease)
      this.adopt(lease)
      if (this.phase !== reading) return
    }

    // Events count from now on, even before `watch` resolves.
    const connection = {}
    this.enter({ name: 'opening', connection })
    const current = () => 'connection' in this.phase && this.phase.connection === connection
    const handlers = {
      event: (event: WatchEvent) => current() && this.apply(event),
      ended: (error?: ApiError) => current() && this.ended(error),
    }
    const watch = await this.api.watch(this.position, handlers, this.deadlineMs()).catch(asFailure)
    if (watch instanceof ApiError) return void handlers.ended(watch)
    if (!current()) return watch.close()

    this.phase = { name: 'open', connection, watch, since: this.clock.mono() }
    this.awaitChange()
    if (this.reported === 'up') return
    this.reported = 'up'
    this.handlers.up()
  }

  /** A read counts with any version: etcd may have been restored from a backup. */
  private adopt(lease: Lease | null): void {
    this.mustRead = false
    this.expected = undefined
    this.seen = lease
    this.position = lease?.metadata.resourceVersion
    this.handlers.observed(lease)
  }

  private apply(event: WatchEvent): void {
    const lease = event.type === 'changed' ? event.object : null
    const version = event.type === 'changed' ? event.object.metadata.resourceVersion : event.resourceVersion
    if (!isNewer(version, this.position)) return
    this.position = version ?? this.position
    if (event.type === 'bookmark') return
    this.seen = lease
    if (this.phase.name === 'checking') this.phase = { ...this.phase, name: 'open' }
    this.awaitChange()
    this.handlers.observed(lease)
  }

  /** A holder with a longer duration renews the Lease more rarely. */
  private awaitChange(): void {
    this.silence?.cancel()
    this.silence = null
    const behind = this.expected !== undefined && isNewer(this.expected, this.position)
    const held = this.seen !== null && holderOf(this.seen) !== ''
    if (!behind && !held) return
    const { retryPeriodMs, leaseDurationMs } = this.timings
    const duration = this.seen === null ? 0 : durationOf(this.seen, leaseDurationMs)
    const permittedMs = SILENT_RETRIES * retryPeriodMs * Math.max(1, duration / leaseDurationMs)
    this.silence = this.clock.after(permittedMs, () => void this.checkSilence())
  }

  /** A server that lost its power sends neither an end nor a reset. A read over a new connection shows this. */
  private async checkSilence(): Promise<void> {
    this.silence = null
    if (!('watch' in this.phase)) return
    const checking = { ...this.phase, name: 'checking' } as const
    this.phase = checking
    const lease = await this.api.read(this.timings.retryPeriodMs).catch(asFailure)
    if (this.phase !== checking) {
      // The watch works, but the change that it brought during the read may be older than the read's answer.
      const answered = !this.isStopped() && lease !== null && !(lease instanceof ApiError)
      if (answered && isNewer(lease.metadata.resourceVersion, this.position)) this.adopt(lease)
      return
    }
    if (lease instanceof ApiError) return this.ended(lease)
    if (lease?.metadata.resourceVersion === this.seen?.metadata.resourceVersion) {
      this.phase = { ...checking, name: 'open' }
      this.expected = undefined
      this.awaitChange()
      return
    }
    this.adopt(lease)
    if (this.phase === checking) void this.open()
  }

  private ended(error: ApiError | undefined): void {
    const lived = 'since' in this.phase ? this.clock.mono() - this.phase.since : 0
    this.shortLived = lived >= this.timings.retryPeriodMs ? 0 : this.shortLived + 1
    const expected = error === undefined || error.code === 'gone'
    if (error !== undefined) this.mustRead = true
    // Servers end watches routinely, which is not a loss. A server that ends each watch immediately is one.
    if (expected && this.shortLived <= 1) return void this.open()

    this.mustRead = true
    this.enter({ name: 'resting', pause: this.clock.after(this.pauseMs(), () => void this.open()) })
    if (this.reported === 'down') return
    this.reported = 'down'
    this.handlers.down(error)
  }

  /** Doubles up to the retry period. Its random half prevents candidates from reconnecting in step. */
  private pauseMs(): number {
    const longest = Math.min(this.timings.retryPeriodMs, FIRST_PAUSE_MS * 2 ** Math.min(this.shortLived, 16))
    return longest * (0.5 + Math.random() / 2)
  }

  /** Another connection is worth more than a late answer, unless all servers turn out to be slow. */
  private deadlineMs(): number {
    return Math.min(REQUEST_DEADLINE_MS, this.timings.retryPeriodMs * 2 ** Math.min(this.shortLived, 16))
  }
}

function asFailure(error: unknown): ApiError {
  if (error instanceof ApiError) return error
  throw error
}
