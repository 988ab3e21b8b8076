import type { CandidateConfig, CandidateState } from '../election/state.ts'
import { type OtherLeasesOptions, watchOtherLeases } from './other-leases.ts'
import type { Peers } from './peers.ts'
import { VoluntaryHandover, type VoluntaryHandoverOptions } from './succession.ts'
import { Switchover, type SwitchoverOptions } from './switchover-request.ts'

export interface HandoversOptions
  extends SwitchoverOptions,
    Omit<VoluntaryHandoverOptions & OtherLeasesOptions, 'peers'>,
    Pick<CandidateConfig, 'onChange'> {
  readonly peers: Pick<Peers, keyof Peers> | null
}

export class Handovers {
  private readonly options: HandoversOptions
  private readonly voluntary: VoluntaryHandover | null
  private readonly switchover: Switchover
  private otherLeases: ReturnType<typeof watchOtherLeases> | null = null
  private stepsDown = false

  constructor(options: HandoversOptions) {
    const { peers } = options
    this.options = options
    this.voluntary = peers === null ? null : new VoluntaryHandover({ ...options, peers })
    this.switchover = new Switchover(options)
  }

  /** Must be called before this replica campaigns. */
  start(): void {
    const { peers } = this.options
    if (peers !== null) this.otherLeases = watchOtherLeases({ ...this.options, peers })
  }

  asked(): void {
    this.switchover.asked()
    this.voluntary?.asked()
  }

  electionChanged(state: CandidateState): void {
    const { peers } = this.options
    const { term } = state
    peers?.ask(term !== null)
    const stepsDown = term?.stepDown != null
    // A replica that was ready a moment ago may be gone: the successor is named when the stop is over.
    if (stepsDown && !this.stepsDown) peers?.askAgain()
    this.stepsDown = stepsDown
    this.switchover.leaseChanged()
  }

  close(): void {
    this.otherLeases?.close()
    this.options.peers?.close()
  }
}
