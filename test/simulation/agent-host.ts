import type { CandidateConfig, Fact } from '../../agent/election/state.ts'
import type { LeaseApi } from '../../agent/lease/lease-api.ts'
import type { Log } from '../../agent/observe/log.ts'
import type { Metrics } from '../../agent/observe/prometheus.ts'
import type { Member, Peers } from '../../agent/peers/peers.ts'
import { Replica } from '../../agent/replica/replica.ts'
import {
  Supervisor,
  type SupervisorMachine,
  type SupervisorOptions,
} from '../../agent/supervisor/supervisor.ts'
import type { Traffic, Wanted } from '../../agent/traffic/traffic.ts'
import type { Process } from './process.ts'

export interface AgentHostParts {
  readonly config: CandidateConfig
  readonly onCrash: 'handover' | 'restart'
  readonly api: LeaseApi
  readonly process: Process
  readonly machine: Omit<SupervisorMachine, 'clock'>
  readonly link: SupervisorOptions['link']
  readonly probe: SupervisorOptions['probe']
  readonly standby: SupervisorOptions['standby']
  /** From a change of the gate until the API server has acknowledged it; 0: it is told nothing, as in readiness mode. */
  readonly gateMs: number
  readonly startTimeoutMs: number
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
const LEASE = { namespace: 'team', name: 'langflow-leader-lock' }
const ignore = (): void => {}
const UNCOUNTED: Metrics = {
  leading: ignore,
  slowPath: ignore,
  renewal: ignore,
  transition: ignore,
  restarted: ignore,
  takeover: ignore,
  stopped: ignore,
  apiRequest: ignore,
}

/** One agent process: the real replica, with the model's machine, network and workload around it. */
export class AgentHost {
  private readonly parts: AgentHostParts
  private readonly replica: Replica

  constructor(parts: AgentHostParts) {
    const { config, process, trace, revision } = parts
    this.parts = parts
    const pod = { name: null, revision, owner: config.owner, problem: null }
    this.replica = new Replica({
      options: {
        ...config,
        leaseName: LEASE.name,
        socket: '/run/launcher.sock',
        pod,
        standby: parts.standby,
        onCrash: parts.onCrash,
        traffic: { mode: parts.gateMs === 0 ? 'readiness' : 'label' },
      },
      namespace: LEASE.namespace,
      api: parts.api,
      // What traffic is to be is looked at after each turn.
      traffic: () => new ModelTraffic(process, parts.gateMs, () => parts.moved(this.stage)),
      supervisor: ({ tell, ...wiring }) =>
        new Supervisor({
          ...wiring,
          tell: (fact) => {
            this.traceFact(fact)
            tell(fact)
          },
          machine: { ...parts.machine, clock: process },
          link: parts.link,
          probe: parts.probe,
          standby: parts.standby,
          startTimeoutMs: parts.startTimeoutMs,
          stopTimeoutMs: config.stopTimeoutMs,
          killMarginMs: config.killMarginMs,
        }),
      peers: parts.peers === null ? null : ({ asked }) => new ModelPeers(process, parts.peers!, asked),
      podAgeMs: parts.podAgeMs,
      serverVersion: async () => null,
      http: async () => ({ port: 0, close: async () => {} }),
      clock: process,
      log: logTo(trace),
      metrics: UNCOUNTED,
      salt: config.salt,
    })
    void this.replica.start()
    void this.replica.end().then((code) => process.act(() => parts.exited(code)))
  }

  get elector(): Replica['elector'] {
    return this.replica.elector
  }

  terminate(): void {
    this.replica.terminate('SIGTERM')
  }

  /** What it tells others of itself. */
  get member(): Member {
    const { identity, couldTakeOver, standby, revision, podAgeMs } = this.replica.status()
    return {
      identity,
      ready: couldTakeOver,
      prepared: standby.mode === standby.wanted,
      warm: standby.mode !== 'cold',
      revision,
      podAgeMs,
      lease: `${LEASE.namespace}/${LEASE.name}`,
      leads: false,
    }
  }

  get stage(): Stage {
    const { term, ending, pending, seen } = this.elector.state
    if (ending !== null) return 'ending'
    if (term === null) return pending !== null ? 'acquiring' : seen === null ? 'starting' : 'following'
    if (term.stepDown !== null) return term.stepDown.stage
    if (term.doubt) return 'in doubt'
    return this.replica.supervisor.healthy ? 'serving' : 'starting its workload'
  }

  /** Whether traffic is let through. */
  get ready(): boolean {
    return this.replica.ready()
  }

  private traceFact(fact: Fact): void {
    if (fact.type !== 'workload' && fact.type !== 'tick')
      this.parts.trace(() => `agent is told: ${JSON.stringify(fact)}`)
  }
}

function logTo(trace: AgentHostParts['trace']): Log {
  const say = (text: string) => trace(() => `agent: ${text}`)
  return {
    event: (name, { epoch, reason }) =>
      say(`${name}, epoch ${epoch}${reason === undefined ? '' : `: ${reason}`}`),
    debug: ignore,
    info: ignore,
    warn: say,
    error: say,
  }
}

/** The other replicas, which always answer at once. */
class ModelPeers implements Pick<Peers, keyof Peers> {
  private readonly process: Process
  private readonly look: () => readonly Member[]
  private readonly asked: (() => void) | undefined
  private asking = false
  private waiting = false
  members: readonly Member[] = []

  constructor(process: Process, look: () => readonly Member[], asked: (() => void) | undefined) {
    this.process = process
    this.look = look
    this.asked = asked
  }

  get view() {
    if (!this.asking) return null
    return { ready: this.members.filter(({ ready }) => ready).length, seen: this.members.length }
  }

  ask(yes: boolean): void {
    this.asking = yes
    if (!yes || this.waiting) return
    this.waiting = true
    this.process.after(ASK_MS, () => {
      this.waiting = false
      if (!this.asking) return
      this.members = this.look()
      this.asked?.()
      this.ask(this.asking)
    })
  }

  askAgain(): void {}

  async survey(): Promise<readonly Member[]> {
    return this.look()
  }

  close(): void {
    this.ask(false)
  }
}

/** The API server acknowledges each change of the gate after the same time. */
class ModelTraffic implements Traffic {
  readonly view = { routedTo: null, problem: null }
  private readonly process: Process
  private readonly gateMs: number
  private readonly looked: () => void
  private gate = ''
  private waiting: PromiseWithResolvers<void> | null = null
  private lastChange = 0

  constructor(process: Process, gateMs: number, looked: () => void) {
    this.process = process
    this.gateMs = gateMs
    this.looked = looked
  }

  get settling(): Promise<void> | null {
    return this.waiting?.promise ?? null
  }

  want({ gate }: Wanted): void {
    this.looked()
    if (this.gateMs === 0 || gate === this.gate) return
    this.gate = gate
    this.waiting ??= Promise.withResolvers<void>()
    const change = ++this.lastChange
    this.process.after(this.gateMs, () => {
      if (change !== this.lastChange) return
      this.waiting?.resolve()
      this.waiting = null
    })
  }

  close(): void {}
}
