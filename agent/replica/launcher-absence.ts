import { dirname } from 'node:path'
import type { Clock, Timer } from '../clock.ts'

export interface LauncherAbsenceOptions {
  readonly clock: Clock
  readonly socket: string
  /** The API server's version, such as `1.28`; rejects or resolves to `null` where it cannot be told. */
  readonly serverVersion: () => Promise<string | null>
  readonly changed: () => void
}

/** An image is pulled and a volume mounted by then, most of the time. */
const CONNECTS_WITHIN_MS = 60_000
/** Before it, a sidecar container that is an init container has to be asked for. */
const NATIVE_SIDECARS = { major: 1, minor: 29 }

/** Says what may be wrong where no launcher has come since the start. */
export class LauncherAbsence {
  private readonly options: LauncherAbsenceOptions
  private timer: Timer | null = null
  private hasCome = false
  problem: string | null = null

  constructor(options: LauncherAbsenceOptions) {
    this.options = options
  }

  start(): void {
    if (!this.hasCome) this.timer = this.options.clock.after(CONNECTS_WITHIN_MS, () => void this.look())
  }

  /** One that came once is not absent in this sense. */
  came(): void {
    this.hasCome = true
    this.close()
    if (this.problem === null) return
    this.problem = null
    this.options.changed()
  }

  close(): void {
    this.timer?.cancel()
    this.timer = null
  }

  private async look(): Promise<void> {
    const { socket, serverVersion, changed } = this.options
    const version = await serverVersion().catch(() => null)
    // Closed, or one came meanwhile.
    if (this.timer === null) return
    this.problem =
      version !== null && lacksNativeSidecars(version)
        ? `no launcher has connected, and the API server is of version ${version}: without native sidecars, which come with ` +
          '1.29, this agent is an ordinary init container that LangFlow’s container waits for: upgrade the cluster, or run ' +
          'both in one container (langflow-leader run)'
        : `no launcher has connected within ${CONNECTS_WITHIN_MS / 1000} s: LangFlow’s container must start LangFlow by ` +
          `"langflow-leader launch --", and mount the volume that is ${dirname(socket)} here at the same place`
    changed()
  }
}

function lacksNativeSidecars(version: string): boolean {
  const [major = 0, minor = 0] = version.split('.').map(Number)
  return major === NATIVE_SIDECARS.major && minor > 0 && minor < NATIVE_SIDECARS.minor
}
