import type { Workload } from '../election/state.ts'
import { describeLoss, NOTHING, type WorkloadCause, type WorkloadView } from '../link/messages.ts'
import { isPrepared, type StandbyMode } from '../link/standby.ts'

/** With these the launcher has seen the order to start, whatever became of it. */
const ANSWERS_TO_START: ReadonlySet<WorkloadCause['kind']> = new Set([
  'started',
  'start_refused',
  'stopped',
  'killed',
])

/**
 * What an agent knows of the workload: what its launcher told last, and what that leaves open. Where something may live,
 * it counts as alive.
 */
export class WorkloadKnowledge {
  private readonly wanted: StandbyMode
  /** The launcher has looked for what an earlier one left: its `idle` can be believed. */
  private met = false
  /** A start was ordered and the launcher has not answered it yet: its last view is older than that. */
  starting = false
  /** It is being stopped, and a start follows in the same term. */
  restarting = false
  private ending = false
  /** Live processes that nobody answers for: the launcher is gone without a confirmed stop. */
  orphaned = false
  /** As the launcher told it last. */
  view: WorkloadView = NOTHING
  /** The version of the LangFlow that the launcher starts; `null`: unknown. */
  private langflow: string | null = null

  /** @param wanted what the launcher is to keep ready */
  constructor(wanted: StandbyMode) {
    this.wanted = wanted
  }

  get mayLive(): boolean {
    return this.starting || this.view.state !== 'idle' || this.hasLoneSpare
  }

  /** All that lives is what has waited beside the workload, for no start that is to follow. */
  get hasLoneSpare(): boolean {
    return this.view.state === 'idle' && this.view.spare && !this.starting && !this.restarting
  }

  /** Nobody accepts connections any more. */
  get unserved(): boolean {
    return this.view.loss?.role === 'worker'
  }

  /** Nothing runs, by all that is known, and the launcher was not asked to end. */
  get isFree(): boolean {
    return this.met && !this.mayLive && !this.ending && !this.orphaned
  }

  /** A launcher has connected. `returning`: it is the one that was here before; `langflow`: of which version its LangFlow is. */
  connected(view: WorkloadView, returning: boolean, langflow?: string): void {
    this.met = returning
    if (returning) this.orphaned = false
    this.ending = false
    this.starting = false
    this.restarting = returning && this.restarting
    this.view = view
    this.langflow = langflow ?? null
  }

  /** The launcher has told what it does now, and why. */
  told(view: WorkloadView, cause: WorkloadCause): void {
    if (cause.kind === 'met') {
      this.met = true
      this.orphaned = false
    }
    // The end of a spare alone, which the launcher may tell while the order is on its way, is none.
    const { state, orderedAt } = this.view
    const ofSpare = orderedAt === null && (state === 'stopping' || state === 'unstoppable')
    if (ANSWERS_TO_START.has(cause.kind) && !ofSpare) this.starting = false
    this.view = view
  }

  startOrdered(): void {
    this.starting = true
    this.restarting = false
  }

  /** The launcher was asked to end. */
  launcherEnds(): void {
    this.ending = true
  }

  launcherGone(): void {
    // One that came and went before it had looked for what is left changes nothing.
    this.orphaned ||= this.mayLive || this.view.spare
    this.starting = false
  }

  /** Nothing lives any more, although no launcher says so. */
  provedDead(): void {
    this.orphaned = false
    this.view = {
      ...this.view,
      state: 'idle',
      pid: null,
      killAt: null,
      orderedAt: null,
      servedSince: null,
      spare: false,
    }
  }

  /** For the election. `canRun`: see `Workload`. */
  report(canRun: boolean): Workload {
    const { view } = this
    return {
      alive: this.orphaned ? 'maybe' : this.mayLive ? 'yes' : 'no',
      canRun,
      prepared: isPrepared(view.standby, this.wanted),
      spare: view.spare,
      ending: this.ending,
      langflow: this.langflow,
      epoch: view.epoch,
      identity: view.identity,
      killAt: view.killAt,
      failed: view.loss === null ? null : describeLoss(view.loss),
      stopFailed: this.stopFailure(),
    }
  }

  private stopFailure(): string | null {
    if (this.view.state === 'unstoppable') return 'the workload could not be stopped'
    return this.orphaned ? 'the launcher is gone, and nothing proves yet that its processes are dead' : null
  }
}
