import type { Clock, Timer } from '../clock.ts'
import type { Log } from '../observe/log.ts'

export interface DrainOptions {
  readonly clock: Clock
  /** From where connections to LangFlow are open; `null`: that cannot be known. */
  readonly connections: () => readonly string[] | null
  readonly log: Pick<Log, 'info'>
  readonly drained: () => void
  /**
   * LangFlow can be told to end: all routers know by now that the gate is closed, so that new requests come only over connections
   * that are open already. Returns false to be asked again soon.
   *
   * @param leftMs of the drain
   */
  readonly endable: (leftMs: number) => boolean
  readonly changed: () => void
}

const CHECK_MS = 100
/** A gate that closed is known to the kubelet within a second, and to every kube-proxy within another one. */
export const GATE_KNOWN_MS = 2_000
/** LangFlow (gunicorn) ends requests by itself 30 s after SIGTERM: with a longer drain, SIGTERM is sent later. */
const ENDS_WITHIN_MS = 25_000
/** How often the log names the open connections: when they change, and while they don't. */
const SAY_MS = 1_000
const REPEAT_MS = 10_000

/** Waits until no connection to LangFlow is open, and reports meanwhile from where connections are open. */
export class Drain {
  private readonly options: DrainOptions
  private timer: Timer | null = null
  /** What is waited for, e.g. `1 connection from 10.1.2.3`; `null`: nothing. */
  view: string | null = null

  constructor(options: DrainOptions) {
    this.options = options
  }

  /**
   * @param drainDeadline monotonic ms: the election ends the wait by then
   * @param graceMs for how long the fronts go on to send requests
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

/** For people: `3 connections from 10.1.2.3 (2), 10.1.2.4`, those with the most first. */
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
