import type { Clock, Timer } from '../clock.ts'
import type { Timings } from '../config/timings.ts'
import { ApiError } from '../kube/kube-errors.ts'
import { durationOf, holderOf, isNewer, type Lease } from './lease.ts'
import type { LeaseApi, OpenWatch, WatchEvent } from './lease-api.ts'

export interface WatcherHandlers {
  /** The Lease as last seen. `null`: it does not exist. Never older than the one before. */
  observed(lease: Lease | null): void
  /** The watch is open and up to date, so polling is not needed. */
  up(): void
  /** The watch is lost. Called once for each `up`, and for the first failed attempt. */
  down(error: ApiError | undefined): void
}

/** The expected rhythm of a holder. A record with a longer duration is renewed more rarely. */
type WatcherTimings = Pick<Timings, 'retryPeriodMs' | 'leaseDurationMs'>

/** Retry periods without a change on the watch of a held Lease, after which it is checked. */
const SILENT_RETRIES = 2.5
/** The longest time for a read and for opening a watch, but not for its whole life. */
const REQUEST_DEADLINE_MS = 5_000
const FIRST_PAUSE_MS = 100

/** Events of an earlier watch have another `connection`. `since`: monotonic ms. */
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
  /** Waits before the next attempt. */
  | { readonly name: 'resting'; readonly pause: Timer }

/** Keeps one watch on the Lease open until the process ends. */
export class LeaseWatcher {
  private readonly api: LeaseApi
  private readonly clock: Clock
  private readonly handlers: WatcherHandlers
  private readonly timings: WatcherTimings
  private phase: WatcherPhase = { name: 'stopped' }
  private reported: 'nothing' | 'up' | 'down' = 'nothing'
  /** Number of watches in a row that did not live for a retry period. */
  private shortLived = 0

  private seen: Lease | null = null
  private mustRead = true
  /** Version of the last object or bookmark. Events up to here are old, and the next watch continues from here. */
  private position: string | undefined
  /** The newest version shown by other requests than the watch. */
  private expected: string | undefined

  private silence: Timer | null = null

  constructor(api: LeaseApi, clock: Clock, handlers: WatcherHandlers, timings: WatcherTimings) {
    this.api = api
    this.clock = clock
    this.handlers = handlers
    this.timings = timings
  }

  start(): void {
    if (this.isStopped()) void this.open()
  }

  /** After this, no handler is called any more. */
  stop(): void {
    this.enter({ name: 'stopped' })
  }

  /** Another request has shown this version, so the watch must bring it soon, even if the Lease is not held. */
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
    // 1. If the watch cannot continue from a known version, read the present state.
    if (this.mustRead) {
      const reading = this.enter({ name: 'reading' })
      const lease = await this.api.read(this.deadlineMs()).catch(asFailure)
      if (this.phase !== reading) return
      if (lease instanceof ApiError) return this.ended(lease)
      this.adopt(lease)
      if (this.phase !== reading) return
    }

    // 2. Watch from there. Events count from now on, even before `watch` resolves.
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

    // 3. Report this, once.
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
    // A bookmark shows the server's position, but nothing about the holder.
    if (event.type === 'bookmark') return
    this.seen = lease
    if (this.phase.name === 'checking') this.phase = { ...this.phase, name: 'open' }
    this.awaitChange()
    this.handlers.observed(lease)
  }

  /** While the Lease is held, its holder renews it, so a change must arrive. So must a version that another request showed. */
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

  /**
   * Either the holder is silent, or the watch is dead: a server that lost its power sends neither an end nor a reset. A
   * read uses a new connection, so its answer decides. Without an answer in time, the watch counts as lost.
   */
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

  /** Short at first, because another connection is worth more than a late answer. Longer if servers turn out to be slow. */
  private deadlineMs(): number {
    return Math.min(REQUEST_DEADLINE_MS, this.timings.retryPeriodMs * 2 ** Math.min(this.shortLived, 16))
  }
}

function asFailure(error: unknown): ApiError {
  if (error instanceof ApiError) return error
  throw error
}
