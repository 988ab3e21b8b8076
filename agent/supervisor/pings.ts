import { type Clock, type Timer, untilNext } from '../clock.ts'
import type { ToLauncher } from '../link/messages.ts'

export interface PingsOptions {
  readonly clock: Clock
  readonly link: {
    /** Whether there is a launcher to be asked. */
    readonly connected: boolean
    send(ping: Extract<ToLauncher, { type: 'ping' }>): void
  }
  /** It has just become silent. */
  readonly silent: () => void
}

const PING_MS = 1_000
/** A launcher that answered none of this many pings is frozen or stuck. */
const SILENT_PINGS = 4

/** Asks the launcher once a second whether it is still there: its connection alone does not tell. */
export class Pings {
  private readonly options: PingsOptions
  private next = 0
  private unanswered = 0
  private timer: Timer | null = null

  constructor(options: PingsOptions) {
    this.options = options
  }

  get isSilent(): boolean {
    return this.unanswered >= SILENT_PINGS
  }

  /** Asks from now on, each launcher that is connected. */
  start(): void {
    this.ask()
  }

  /** The launcher has answered, or another one has come. */
  heard(): void {
    this.unanswered = 0
  }

  close(): void {
    this.timer?.cancel()
  }

  private ask(): void {
    const { clock, link, silent } = this.options
    if (link.connected) {
      link.send({ type: 'ping', id: this.next++ })
      this.unanswered++
      if (this.unanswered === SILENT_PINGS) silent()
    }
    this.timer = clock.after(untilNext(clock, PING_MS), () => this.ask())
  }
}
