import type { Timer } from '../../agent/clock.ts'
import { KeptStandby, PREPARING } from '../../agent/launcher/standby/kept-standby.ts'
import type { Process } from './process.ts'
import type { Random } from './random.ts'
import type { Behaviour } from './workload.ts'

export interface ModelStandbyParts {
  /** The launcher's process. */
  readonly process: Process
  readonly random: Random
  readonly behaviour: Behaviour
  readonly startTimeoutMs: number
  readonly changed: () => void
}

/** The model's counterpart of `WarmStandby`: a standby as a child of the launcher. */
export class ModelStandby extends KeptStandby {
  private readonly parts: ModelStandbyParts
  private timers: Timer[] = []
  /** Its preparation hangs, so that it never becomes ready. */
  hangs = false
  isReady = false

  constructor(parts: ModelStandbyParts) {
    super(parts.process, parts.changed)
    this.parts = parts
  }

  protected override begin(): void {
    const { process, random, behaviour, startTimeoutMs } = this.parts
    const { prepareMs, preparingFails, preparingHangs } = behaviour
    this.hangs = preparingHangs && !preparingFails
    this.become(PREPARING)
    this.timers = [process.after(startTimeoutMs, () => this.fail('it took too long'))]
    if (preparingFails)
      this.timers.push(process.after(random.between(0, prepareMs), () => this.fail('it ended')))
    else if (!preparingHangs) this.timers.push(process.after(prepareMs, () => this.prepared()))
  }

  /** Uses the standby for a start. Returns whether it was ready. */
  take(): boolean {
    if (!this.isReady) return false
    this.end()
    this.goesOn()
    return true
  }

  /** The standby exits, in any state. */
  lose(): void {
    if (this.exists) this.fail('it ended')
  }

  private prepared(): void {
    for (const timer of this.timers) timer.cancel()
    this.isReady = true
    this.ready({ reason: null, memoryBytes: null })
  }

  protected override end(): void {
    for (const timer of this.timers) timer.cancel()
    this.hangs = false
    this.isReady = false
  }
}
