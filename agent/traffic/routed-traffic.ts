import type { Clock, Timer } from '../clock.ts'
import { ApiError } from '../kube/errors.ts'
import { type Route, RouteError } from './route.ts'
import type { Known, Traffic, TrafficListener, TrafficView, Wanted } from './traffic.ts'

const RETRY_MS = 1_000
/** What only a person can put right is not put right within a second. */
const REFUSED_MS = 5_000
/**
 * The leader alone looks after what it wrote, since anybody may edit it, or apply a manifest again: a request or two for
 * each five that it sends to renew the Lease.
 */
const CHECK_MS = 5_000
const REFUSALS: ReadonlySet<string> = new Set(['forbidden', 'not_found', 'invalid'])
/** A pod is also written by its kubelet: whoever reads it anew has the last word soon. */
const CONFLICTS_AT_ONCE = 3

export interface RoutedTrafficOptions {
  readonly route: Pick<Route, 'routedTo' | 'bring' | 'close'>
  readonly clock: Clock
  readonly listener: Omit<TrafficListener, 'state'>
}

/**
 * Brings the API server in line with the gate: at once when what is wanted changes, again and again while it cannot be
 * reached. One round at a time, and always for what is wanted now: nothing queues up.
 */
export class RoutedTraffic implements Traffic {
  private readonly options: RoutedTrafficOptions
  private wanted: Wanted = { gate: 'unknown' }
  private acknowledgement: PromiseWithResolvers<void> | null = null
  private busy = false
  private closed = false
  private conflicts = 0
  private problem: string | null = null
  private timer: Timer | null = null

  constructor(options: RoutedTrafficOptions) {
    this.options = options
  }

  get view(): TrafficView {
    return { routedTo: this.options.route.routedTo, problem: this.problem, front: null }
  }

  get settling(): Promise<void> | null {
    return this.acknowledgement?.promise ?? null
  }

  want(wanted: Wanted): void {
    if (isSame(wanted, this.wanted)) return
    this.wanted = wanted
    this.acknowledgement ??= Promise.withResolvers()
    this.conflicts = 0
    this.begin()
  }

  async close(): Promise<void> {
    this.closed = true
    this.timer?.cancel()
    this.options.route.close()
  }

  private isStill(wanted: Known): boolean {
    if (this.closed) return false
    this.options.listener.look()
    return isSame(wanted, this.wanted)
  }

  private begin(): void {
    this.timer?.cancel()
    if (this.busy || this.closed || this.wanted.gate === 'unknown') return
    void this.round(this.wanted)
  }

  private async round(wanted: Known): Promise<void> {
    const { route, clock, listener } = this.options
    this.busy = true
    let again: number | null
    try {
      await route.bring(wanted, () => this.isStill(wanted))
      again = this.succeeded(wanted)
    } catch (error) {
      again = this.failed(error)
    }
    this.busy = false
    if (this.closed) return
    if (!isSame(wanted, this.wanted)) this.begin()
    else if (again !== null) {
      this.timer = clock.after(again, () => {
        // What was wanted when the timer was set may be wanted no more.
        listener.look()
        this.begin()
      })
    }
    listener.changed()
  }

  /** Milliseconds until the next round; `null`: none. */
  private succeeded(wanted: Known): number | null {
    this.conflicts = 0
    // Another round follows, and knows more.
    if (!isSame(wanted, this.wanted)) return null
    this.problem = null
    this.acknowledgement?.resolve()
    this.acknowledgement = null
    return wanted.epoch === null ? null : jittered(CHECK_MS)
  }

  private failed(error: unknown): number {
    const { code, retryAfterMs = 0 } =
      error instanceof ApiError ? error : { code: error instanceof RouteError ? 'invalid' : '' }
    if (code === 'conflict' && ++this.conflicts <= CONFLICTS_AT_ONCE) return 0
    this.problem = error instanceof Error ? error.message : String(error)
    return jittered(Math.max(REFUSALS.has(code) ? REFUSED_MS : RETRY_MS, retryAfterMs))
  }
}

function isSame(a: Wanted, b: Wanted): boolean {
  if (a.gate === 'unknown' || b.gate === 'unknown') return a.gate === b.gate
  return a.gate === b.gate && a.epoch === b.epoch && a.leaseUid === b.leaseUid
}

function jittered(ms: number): number {
  return ms * (1 + Math.random() / 5)
}
