import type { Clock, Timer } from '../clock.ts'
import type { Log } from '../observe/log.ts'

export interface DrainOptions {
  readonly clock: Clock
  /** The remote addresses of open connections to LangFlow. `null`: they cannot be determined. */
  readonly connections: () => readonly string[] | null
  readonly log: Pick<Log, 'info'>
  readonly drained: () => void
  /**
   * Called when LangFlow may be sent SIGTERM: all routers have noticed that the gate is closed, so new requests arrive
   * only over open connections. Returns false to be called again soon.
   *
   * @param leftMs remaining milliseconds of the drain
   */
  readonly endable: (leftMs: number) => boolean
  readonly changed: () => void
}

const CHECK_MS = 100
/** The kubelet notices a closed gate within a second, and every kube-proxy within another one. */
export const GATE_KNOWN_MS = 2_000
/** LangFlow (gunicorn) ends requests by itself 30 s after SIGTERM. With a longer drain, SIGTERM is sent later. */
const ENDS_WITHIN_MS = 25_000
/** Intervals between two log lines about the open connections: after a change, and without one. */
const SAY_MS = 1_000
const REPEAT_MS = 10_000

/** Waits until no connection to LangFlow is open, and reports the remote addresses in the meantime. */
export class Drain {
  private readonly options: DrainOptions
  private timer: Timer | null = null
  /** The connections that are waited for, such as `1 connection from 10.1.2.3`. `null`: no wait. */
  view: string | null = null

  constructor(options: DrainOptions) {
    this.options = options
  }

  /**
   * @param drainDeadline monotonic ms when the election ends the wait
   * @param graceMs how long the fronts continue to send requests
   */
  begin(drainDeadline: number, graceMs: number): void {
    const { clock, connections, log, drained, endable } = this.options
    const endableAt = Math.max(clock.mono() + graceMs + GATE_KNOWN_MS, drainDeadline - ENDS_WITHIN_MS)
    let toldToEnd = false
    let said = { what: '', at: Number.NEGATIVE_INFINITY }
    const look = () => {
      const open = connections()
      if (open?.length === 0) {
        this.end()
        drained()
        return
      }
      const now = clock.mono()
      const what = describeConnections(open)
      this.become(what)
      if (now >= said.at + (what === said.what ? REPEAT_MS : SAY_MS)) {
        said = { what, at: now }
        log.info(`draining: ${what}, ${Math.max(0, Math.ceil((drainDeadline - now) / 1000))} s left`)
      }
      this.timer = clock.after(CHECK_MS, look)
      if (!toldToEnd && now >= endableAt) toldToEnd = endable(drainDeadline - now)
    }
    this.timer?.cancel()
    this.timer = clock.after(0, look)
  }

  end(): void {
    this.timer?.cancel()
    this.timer = null
    this.become(null)
  }

  private become(view: string | null): void {
    if (this.view === view) return
    this.view = view
    this.options.changed()
  }
}

const NAMED = 3

/** A text for people: `3 connections from 10.1.2.3 (2), 10.1.2.4`, with the most frequent addresses first. */
export function describeConnections(open: readonly string[] | null): string {
  if (open === null) return 'unknown connections'
  const byAddress = [...Map.groupBy(open, (address) => address)]
    .map(([address, { length }]) => ({ address, length }))
    .sort((a, b) => b.length - a.length || (a.address < b.address ? -1 : 1))
  const named = byAddress
    .slice(0, NAMED)
    .map(({ address, length }) => (length === 1 ? address : `${address} (${length})`))
  const others = byAddress.length - named.length
  const from = `${named.join(', ')}${others > 0 ? ` and ${others} other address${others === 1 ? '' : 'es'}` : ''}`
  return `${open.length} connection${open.length === 1 ? '' : 's'} from ${from}`
}
