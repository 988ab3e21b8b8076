import { Elector, type OutwardEffect } from '../../agent/election/elector.ts'
import type { CandidateConfig } from '../../agent/election/state.ts'
import type { LeaseApi } from '../../agent/lease/lease-api.ts'
import { MakingWay } from '../../agent/peers/making-way.ts'
import type { Member } from '../../agent/peers/succession.ts'
import { ReplicaGate } from '../../agent/replica/gate.ts'
import { checksOf, standsBy } from '../../agent/replica/status.ts'
import {
  Supervisor,
  type SupervisorMachine,
  type SupervisorOptions,
} from '../../agent/supervisor/supervisor.ts'
import type { Process } from './process.ts'

export interface AgentHostParts {
  readonly config: CandidateConfig
  readonly api: LeaseApi
  readonly process: Process
  readonly machine: Omit<SupervisorMachine, 'clock'>
  readonly link: SupervisorOptions['link']
  readonly probe: SupervisorOptions['probe']
  readonly standby: SupervisorOptions['standby']
  readonly gateMs: number
  readonly startTimeoutMs: number
  readonly remedy: SupervisorOptions['remedy']
  /** Of its pod's template. */
  readonly revision: string
  readonly podAgeMs: () => number
  /** What the others would answer now; `null`: they are not asked. */
  readonly peers: (() => readonly Member[]) | null
  readonly trace: (line: () => string) => void
  readonly moved: (stage: Stage) => void
  readonly exited: (code: 0 | 1) => void
}

/** What an agent is at, for the ways in which it can be told to end. */
export const STAGES = [
  'starting',
  'following',
  'acquiring',
  'starting its workload',
  'serving',
  'in doubt',
  'draining',
  'stopping',
  'releasing',
  'ending',
] as const
export type Stage = (typeof STAGES)[number]

/** How often a leader asks the others: as `Peers` does. */
export const ASK_MS = 5_000
const ignore = (): void => {}
const SILENT = { event: ignore, debug: ignore, info: ignore, warn: ignore, error: ignore }
const UNCOUNTED = { renewal: ignore, slowPath: ignore, takeover: ignore, stopped: ignore }

/** One agent process: the real elector and supervisor, put together as `Replica` does it, without HTTP and log. */
export class AgentHost {
  private readonly parts: AgentHostParts
  readonly elector: Elector
  readonly supervisor: Supervisor
  private readonly makingWay: MakingWay
  private readonly gate: ReplicaGate
  private members: readonly Member[] = []
  private asking = false

  constructor(parts: AgentHostParts) {
    const { process, trace } = parts
    this.parts = parts
    this.elector = new Elector({
      config: parts.config,
      api: parts.api,
      clock: process,
      metrics: UNCOUNTED,
      run: (effect) => this.run(effect),
      changed: () => {
        parts.moved(this.stage)
        this.ask()
      },
    })
    this.supervisor = new Supervisor({
      repeats: { happened: () => {}, over: () => {} },
      machine: { ...parts.machine, clock: process },
      link: parts.link,
      probe: parts.probe,
      standby: parts.standby,
      startTimeoutMs: parts.startTimeoutMs,
      stopTimeoutMs: parts.config.stopTimeoutMs,
      remedy: parts.remedy,
      killMarginMs: parts.config.killMarginMs,
      log: {
        ...SILENT,
        warn: (msg) => trace(() => `agent: ${msg}`),
        error: (msg) => trace(() => `agent: ${msg}`),
      },
      metrics: UNCOUNTED,
      tell: (fact) => {
        if (fact.type !== 'workload' && fact.type !== 'tick')
          trace(() => `agent is told: ${JSON.stringify(fact)}`)
        this.elector.tell(fact)
      },
      changed: ignore,
    })
    const { supervisor } = this
    const state = () => this.elector.state
    this.gate = new ReplicaGate({
      timings: parts.config,
      clock: process,
      log: SILENT,
      state,
      workload: () => supervisor,
      checks: () => checksOf({ options: parts.config, state: state(), now: process.now(), workload: supervisor }),
    })
    const members = () => this.members
    this.makingWay = new MakingWay({
      peers: {
        get members() {
          return members()
        },
      },
      revision: parts.revision,
      podAgeMs: parts.podAgeMs,
      leaseDurationMs: parts.config.leaseDurationMs,
      clock: process,
      log: SILENT,
      term: () => this.elector.state.term,
      served: () => this.supervisor.served,
      startsColder: () => this.supervisor.startsColder,
      tell: (fact) => this.elector.tell(fact),
    })
    void this.supervisor.listen().then(() => this.elector.start())
  }

  /** `Replica.terminate` */
  terminate(): void {
    if (this.elector.state.ending !== null) this.elector.tell({ type: 'drained' })
    else this.elector.tell({ type: 'terminate', reason: 'SIGTERM' })
  }

  /** What it tells others of itself. */
  get member(): Member {
    const { process, config, standby, revision } = this.parts
    const { elector, supervisor } = this
    const { mode } = supervisor.view.standby
    return {
      identity: config.identity,
      ready: standsBy({ options: config, state: elector.state, now: process.now(), workload: supervisor }),
      prepared: mode === standby,
      warm: mode !== 'cold',
      revision,
      podAgeMs: this.parts.podAgeMs(),
    }
  }

  /** For as long as it leads. */
  private ask(): void {
    const { peers, process } = this.parts
    if (peers === null || this.asking || this.elector.state.term === null) return
    this.asking = true
    process.after(ASK_MS, () => {
      this.asking = false
      if (this.elector.state.term === null) return
      this.members = peers()
      this.makingWay.asked()
      this.ask()
    })
  }

  get stage(): Stage {
    const { term, ending, pending, seen } = this.elector.state
    if (ending !== null) return 'ending'
    if (term === null) return pending !== null ? 'acquiring' : seen === null ? 'starting' : 'following'
    if (term.stepDown !== null) return term.stepDown.stage
    if (term.doubt) return 'in doubt'
    return this.supervisor.healthy ? 'serving' : 'starting its workload'
  }

  /** Whether traffic is let through: `Replica.ready`. */
  get ready(): boolean {
    return this.gate.ready()
  }

  /** As `Steering` puts it off. */
  private steer(drain: () => void): void {
    const { gateMs, process } = this.parts
    if (gateMs === 0) drain()
    else
      process.after(gateMs, () => {
        if (this.elector.state.term?.stepDown?.stage === 'draining') drain()
      })
  }

  private run(effect: OutwardEffect): void {
    const { trace } = this.parts
    switch (effect.type) {
      case 'grant':
        this.supervisor.grant(effect.grant)
        return
      case 'start':
        this.supervisor.start(effect.epoch)
        return
      case 'drain':
        this.steer(() => this.supervisor.drain(effect.until))
        return
      case 'restart':
        this.supervisor.restart(effect.graceMs, this.parts.config.drainTimeoutMs)
        return
      case 'stop':
        this.supervisor.stop(effect.graceMs)
        return
      case 'kill':
        this.supervisor.kill()
        return
      case 'exit':
        this.parts.process.act(() => this.parts.exited(effect.code))
        return
      case 'event': {
        const { event, epoch, reason } = effect
        trace(() => `agent: ${event}, epoch ${epoch}${reason === undefined ? '' : `: ${reason}`}`)
      }
    }
  }
}
