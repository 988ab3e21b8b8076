import type { Clock, Timer } from '../clock.ts'
import type { Log } from '../observe/log.ts'
import type { WorkloadKnowledge } from './workload-knowledge.ts'

/** What ends the workload where its launcher does not. */
export interface OrphansMachine {
  readonly clock: Clock
  /** Whether nothing listens on the workload's port. */
  portFree(): Promise<boolean>
  /**
   * Only where agent and launcher share one process tree (`run`): kills the launcher and everything it left, and
   * resolves once nothing of it lives.
   */
  readonly reclaim?: () => Promise<void>
}

export interface OrphansOptions {
  readonly machine: OrphansMachine
  /** How long before the Lease expires everything must be dead. */
  readonly killMarginMs: number
  readonly log: Pick<Log, 'warn'>
  readonly known: Pick<WorkloadKnowledge, 'mayLive' | 'orphaned'>
  /** Nothing lives any more, although no launcher says so. */
  readonly dead: () => void
}

/** How long the kernel is given to end a PID namespace whose init has died. */
const NAMESPACE_END_MS = 500
const PORT_CHECK_MS = 50

/** Sees to it that the workload does not outlive a launcher that is gone, or does nothing any more. */
export class Orphans {
  private readonly options: OrphansOptions
  private killTimer: Timer | null = null

  constructor(options: OrphansOptions) {
    this.options = options
  }

  /** The launcher was told to kill. */
  killOrdered(): void {
    const { machine, killMarginMs, known } = this.options
    if (machine.reclaim === undefined || !known.mayLive) return
    // The launcher may be frozen, and then its deadman is too: half the margin is left to do without it.
    // Ordered again, it must not be put off: the time counts from the first order.
    this.killTimer ??= machine.clock.after(killMarginMs / 2, () => {
      this.killTimer = null
      if (known.mayLive) void this.reclaim('the launcher did not confirm a kill')
    })
  }

  /** The launcher has ended the workload, or is to start it again. */
  killOver(): void {
    this.killTimer?.cancel()
    this.killTimer = null
  }

  close(): void {
    this.killTimer?.cancel()
  }

  launcherSilent(): void {
    if (this.options.machine.reclaim !== undefined) void this.reclaim('the launcher does not answer')
  }

  /** `diedAlone`: with everything in its PID namespace, by all that its connection tells. */
  launcherGone(diedAlone: boolean): void {
    const { machine, known } = this.options
    if (!known.orphaned) return
    if (machine.reclaim !== undefined) void this.reclaim('the launcher is gone')
    else if (diedAlone) this.awaitNamespaceEnd()
  }

  /**
   * Its end closed the connection, and a launcher that still lived would be back by now. It was the only child of its
   * namespace's init, so the kernel is ending everything in it. This is what an out-of-memory kill of the whole
   * container looks like.
   */
  private awaitNamespaceEnd(): void {
    const { machine, known, dead } = this.options
    const { clock } = machine
    const look = async () => {
      const free = await machine.portFree()
      if (!known.orphaned) return
      if (free) dead()
      else clock.after(PORT_CHECK_MS, () => void look())
    }
    clock.after(NAMESPACE_END_MS, () => void look())
  }

  private async reclaim(reason: string): Promise<void> {
    const { machine, log, known, dead } = this.options
    log.warn(`killing the workload without its launcher: ${reason}`)
    await machine.reclaim?.()
    if (known.orphaned) dead()
  }
}
