import { dirname } from 'node:path'
import type { Clock, Timer } from '../clock.ts'

export interface LauncherAbsenceOptions {
  readonly clock: Pick<Clock, 'after'>
  readonly socket: string
  readonly changed: () => void
}

/** An image is pulled and a volume mounted by then, most of the time. */
const CONNECTS_WITHIN_MS = 60_000

/** Reports the likely causes if no launcher has connected since the start. */
export class LauncherAbsence {
  private readonly options: LauncherAbsenceOptions
  private timer: Timer | null = null
  private hasConnected = false
  problem: string | null = null

  constructor(options: LauncherAbsenceOptions) {
    this.options = options
  }

  start(): void {
    if (!this.hasConnected) this.timer = this.options.clock.after(CONNECTS_WITHIN_MS, () => this.missing())
  }

  /** A launcher that connected once is not absent in this sense. */
  connected(): void {
    this.hasConnected = true
    this.close()
    if (this.problem === null) return
    this.problem = null
    this.options.changed()
  }

  close(): void {
    this.timer?.cancel()
  }

  private missing(): void {
    const { socket, changed } = this.options
    this.problem =
      `no launcher has connected within ${CONNECTS_WITHIN_MS / 1000} s: LangFlow’s container must start LangFlow by ` +
      `"langflow-leader launch --", and mount the volume that is ${dirname(socket)} here at the same place; Kubernetes ` +
      'before 1.29 never starts it beside a sidecar: upgrade, or run both in one container (langflow-leader run)'
    changed()
  }
}
