import type { Grant, ToLauncher } from '../link/messages.ts'

/** What an agent tells its launcher to do, and tells it again where that may have been lost with the link. */
export class Orders {
  private readonly send: (message: ToLauncher) => void
  private granted: Grant | null = null
  /** What was ordered last, if it was to end the workload. */
  private ending: Extract<ToLauncher, { type: 'stop' | 'kill' }> | null = null

  constructor(send: (message: ToLauncher) => void) {
    this.send = send
  }

  /** The workload was ordered to end, and not to start since. */
  get areToEnd(): boolean {
    return this.ending !== null
  }

  grant(grant: Grant): void {
    this.granted = grant
    this.send({ type: 'grant', grant })
  }

  /** Not told again: a launcher that was gone meanwhile is to end what it may have started. */
  start(epoch: number): void {
    this.ending = null
    this.send({ type: 'start', epoch })
  }

  /** Told again with each time that this is found: the launcher keeps the first. */
  healthy(): void {
    this.send({ type: 'healthy' })
  }

  /** `restarts`: a start follows in the same epoch. */
  stop(graceMs: number, restarts = false): void {
    this.ending = { type: 'stop', graceMs, ...(restarts ? { restarts } : {}) }
    this.send(this.ending)
  }

  /** Ends the grant, too. */
  kill(): void {
    this.ending = { type: 'kill' }
    this.granted = null
    this.send(this.ending)
  }

  /** The same launcher is back: what was on its way while the link was down. */
  repeat(): void {
    if (this.granted !== null) this.send({ type: 'grant', grant: this.granted })
    if (this.ending !== null) this.send(this.ending)
  }
}
