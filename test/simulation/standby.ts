import type { Timer } from '../../agent/clock.ts'
import { Standby, type StandbyProcess, type StandbyReports } from '../../agent/launcher/standby/standby.ts'
import type { Process } from './process.ts'
import type { Random } from './random.ts'
import type { Behaviour } from './workload.ts'

export interface ModelStandbyParts {
  readonly process: Process
  readonly random: Random
  readonly behaviour: Behaviour
  readonly startTimeoutMs: number
  readonly changed: () => void
}

export type ModelStandby = Standby<ModelProcess>

export function modelStandby(parts: ModelStandbyParts): ModelStandby {
  return new Standby(parts.process, (reports) => new ModelProcess(parts, reports), parts.changed)
}

/** The model's counterpart of `WarmProcess`: a child of the launcher. */
class ModelProcess implements StandbyProcess {
  private readonly parts: ModelStandbyParts
  private readonly reports: StandbyReports
  private timers: Timer[] = []
  /** Its preparation hangs, so that it never becomes ready. */
  readonly hangs: boolean
  readonly stale = null

  constructor(parts: ModelStandbyParts, reports: StandbyReports) {
    const { preparingFails, preparingHangs } = parts.behaviour
    this.parts = parts
    this.reports = reports
    this.hangs = preparingHangs && !preparingFails
  }

  begin(): void {
    const { process, random, behaviour, startTimeoutMs } = this.parts
    const { prepareMs, preparingFails } = behaviour
    this.timers = [process.after(startTimeoutMs, () => this.reports.failed('it took too long'))]
    if (preparingFails) this.timers.push(process.after(random.between(0, prepareMs), () => this.lose()))
    else if (!this.hangs) this.timers.push(process.after(prepareMs, () => this.prepared()))
  }

  /** It exits, in any state. */
  lose(): void {
    this.reports.failed('it ended')
  }

  end(): void {
    for (const timer of this.timers) timer.cancel()
  }

  private prepared(): void {
    this.end()
    this.reports.ready(null)
  }
}
