import type { Clock } from '../clock.ts'
import type { Lease } from './lease.ts'
import type { LeaseApi, LeaseApiError } from './lease-api.ts'

export interface WatcherHandlers {
  /** The Lease as last seen; `null`: it does not exist. Never older than what was told before. */
  observed(lease: Lease | null): void
  /** The watch is open and up to date: no polling needed. */
  up(): void
  /** The watch is lost; called once for each `up`, and for the first failed attempt. */
  down(error: LeaseApiError | undefined): void
}

/** Keeps one watch on the one Lease open for as long as the process lives. */
export declare class LeaseWatcher {
  constructor(api: LeaseApi, clock: Clock, handlers: WatcherHandlers, timings: { retryPeriodMs: number; silenceMs: number })
  start(): void
  stop(): void
}
