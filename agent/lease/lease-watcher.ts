import type { Clock, Timer } from '../clock.ts'
import { durationOf, holderOf, isNewer, type Lease } from './lease.ts'
import { type LeaseApi, LeaseApiError, type OpenWatch, type WatchEvent } from './lease-api.ts'

export interface WatcherHandlers {
  /** The Lease as last seen; `null`: it does not exist. Never older than what was told before. */
  observed(lease: Lease | null): void
  /** The watch is open and up to date: no polling needed. */
  up(): void
  /** The watch is lost; called once for each `up`, and for the first failed attempt. */
  down(error: LeaseApiError | undefined): void
}

export interface WatcherTimings {
  /** The longest pause between two attempts. */
  readonly retryPeriodMs: number
  /** How long the watch of a held Lease may bring nothing before it is taken for dead. */
  readonly silenceMs: number
}

/** A holder renews at least once in this part of its lease duration: client-go's default renew deadline. */
const RENEWED_WITHIN = 2 / 3
/** For a read and for opening a watch; not for its whole life. */
const REQUEST_DEADLINE_MS = 5_000
const FIRST_PAUSE_MS = 100
/** The longest that a server's Retry-After is obeyed. */
const LONGEST_RETRY_AFTER_MS = 30_000
/** Times the permitted silence: 4 minutes at the defaults. */
const LONGEST_PATIENCE = 16

/** Keeps one watch on the one Lease open for as long as the process lives. */
export class LeaseWatcher {
  private readonly api: LeaseApi
  private readonly clock: Clock
  private readonly handlers: WatcherHandlers
  private readonly timings: WatcherTimings
  private running = false
  /** Counts the attempts, so that what an abandoned one still delivers is dropped. */
  private attempt = 0
  private watch: OpenWatch | null = null
  /** Monotonic ms; `null`: the watch is not open. */
  private openSince: number | null = null
  private pause: Timer | null = null
  private silence: Timer | null = null
  private told: 'nothing' | 'up' | 'down' = 'nothing'
  /** How many watches in a row did not live for a retry period. */
  private shortLived = 0
  /** By how much the permitted silence is stretched, since the last one turned out to be the holder's own. */
  private patience = 1
  private mustRead = true
  private seen: Lease | null = null
  /** Version of the last object or bookmark: events up to here are old, and the next watch goes on from here. */
  private position: string | undefined

  constructor(api: LeaseApi, clock: Clock, handlers: WatcherHandlers, timings: WatcherTimings) {
    this.api = api
    this.clock = clock
    this.handlers = handlers
    this.timings = timings
  }

  start(): void {
    if (this.running) return
    this.running = true
    void this.open()
  }

  /** Nothing is called any more after this. */
  stop(): void {
    this.running = false
    this.abandon()
  }

  private async open(): Promise<void> {
    this.abandon()
    const attempt = this.attempt
    const current = () => this.attempt === attempt

    // 1. Where the watch cannot go on from what is known, read the present state.
    if (this.mustRead) {
      const lease = await this.api.read(REQUEST_DEADLINE_MS).catch(asFailure)
      if (!current()) return
      if (lease instanceof LeaseApiError) return this.ended(lease)
      this.believe(lease)
      if (!current()) return
    }

    // 2. Watch from there. What is delivered from now on counts, also before `watch` resolves.
    const handlers = {
      event: (event: WatchEvent) => current() && this.take(event),
      ended: (error?: LeaseApiError) => current() && this.ended(error),
    }
    const watch = await this.api.watch(this.position, handlers, REQUEST_DEADLINE_MS).catch(asFailure)
    if (watch instanceof LeaseApiError) return void handlers.ended(watch)
    if (!current()) return watch.close()

    // 3. Say so, once.
    this.watch = watch
    this.openSince = this.clock.mono()
    this.listen()
    if (this.told === 'up') return
    this.told = 'up'
    this.handlers.up()
  }

  /** A read is the truth, whatever its version: etcd may have been restored from a backup. */
  private believe(lease: Lease | null): void {
    this.mustRead = false
    if (lease?.metadata.resourceVersion !== this.seen?.metadata.resourceVersion) this.patience = 1
    this.position = lease?.metadata.resourceVersion
    this.seen = lease
    this.handlers.observed(lease)
  }

  private take(event: WatchEvent): void {
    const lease = event.type === 'changed' ? event.lease : null
    const version = event.type === 'changed' ? event.lease.metadata.resourceVersion : event.resourceVersion
    this.patience = 1
    const news = isNewer(version, this.position)
    if (news) this.position = version ?? this.position
    if (news && event.type !== 'bookmark') this.seen = lease
    this.listen()
    if (news && event.type !== 'bookmark') this.handlers.observed(lease)
  }

  /** Something must come while the Lease is held, for its holder renews it. */
  private listen(): void {
    this.silence?.cancel()
    if (this.seen === null || holderOf(this.seen) === '') return
    const { silenceMs } = this.timings
    const ms = Math.max(silenceMs, RENEWED_WITHIN * durationOf(this.seen, silenceMs)) * this.patience
    this.silence = this.clock.after(ms, () => {
      this.patience = Math.min(this.patience * 2, LONGEST_PATIENCE)
      const seconds = Math.round(ms / 1000)
      this.ended(new LeaseApiError('timeout', `the watch of a held Lease brought nothing for ${seconds} s`))
    })
  }

  private ended(error: LeaseApiError | undefined): void {
    const lived = this.openSince === null ? 0 : this.clock.mono() - this.openSince
    this.shortLived = lived >= this.timings.retryPeriodMs ? 0 : this.shortLived + 1
    const expected = error === undefined || error.code === 'gone'
    if (error !== undefined) this.mustRead = true
    // Servers end watches as a matter of routine: that is no loss. One that ends each of them at once is.
    if (expected && this.shortLived <= 1) return void this.open()

    this.abandon()
    this.mustRead = true
    const attempt = this.attempt
    if (this.told !== 'down') {
      this.told = 'down'
      this.handlers.down(error)
      if (!this.running || this.attempt !== attempt) return
    }
    this.pause = this.clock.after(this.pauseMs(error), () => void this.open())
  }

  /** Doubles up to the retry period; its random half keeps candidates from coming back in step. */
  private pauseMs(error: LeaseApiError | undefined): number {
    const longest = Math.min(this.timings.retryPeriodMs, FIRST_PAUSE_MS * 2 ** Math.min(this.shortLived, 16))
    const asked = Math.min(error?.retryAfterMs ?? 0, LONGEST_RETRY_AFTER_MS)
    return Math.max(asked, longest * (0.5 + Math.random() / 2))
  }

  private abandon(): void {
    this.attempt++
    this.pause?.cancel()
    this.silence?.cancel()
    this.watch?.close()
    this.watch = null
    this.openSince = null
  }
}

function asFailure(error: unknown): LeaseApiError {
  if (error instanceof LeaseApiError) return error
  throw error
}
