import type { Clock } from '../clock.ts'
import { describeConsent } from '../election/consent.ts'
import { Elector, type NotedEffect } from '../election/elector.ts'
import { type CandidateState, endingOf, type Fact, type Remedy } from '../election/state.ts'
import type { Fault } from '../fault.ts'
import { type OwnFront, Steering } from '../front/agent-side/steering.ts'
import type { LeaseApi } from '../lease/lease-api.ts'
import { holderServes } from '../lease/lease-history.ts'
import { podOf } from '../lease/operator-annotations.ts'
import type { HttpServer, StatusSource } from '../observe/http-server.ts'
import { type Log, LogThrottle } from '../observe/log.ts'
import type { Metrics } from '../observe/prometheus.ts'
import type { LostPods, LostPodsOptions } from '../peers/lost-pods.ts'
import { Members } from '../peers/members.ts'
import { watchOtherLeases } from '../peers/other-leases.ts'
import type { SendConsent } from '../peers/peer-requests.ts'
import type { Peers, PeersOptions } from '../peers/peers.ts'
import { VoluntaryHandover } from '../peers/succession.ts'
import { Switchover } from '../peers/switchover-request.ts'
import type { AgentStatus, ReplicaRow } from '../status/agent-status.ts'
import type { Supervisor, SupervisorOptions } from '../supervisor/supervisor.ts'
import { GATE_KNOWN_MS } from '../supervisor/workload-step.ts'
import { EventRecorder } from './event-recorder.ts'
import { couldServe, frontFault, isReady, type ReplicaFacts, type ReplicaOptions, standsBy } from './gate.ts'
import type { Events, KubeEventsOptions } from './kube-events.ts'
import { problemsOf } from './problems.ts'
import { describeReplica } from './replica-status.ts'

type SupervisorWiring = Pick<
  SupervisorOptions,
  'log' | 'metrics' | 'remedy' | 'dispatch' | 'closeGate' | 'answeredAt' | 'changed'
> & { readonly alarm: (what: string) => void }

type PeersWiring = Pick<PeersOptions, 'identity' | 'lease' | 'repeats' | 'asked'>
type LostPodsWiring = Pick<LostPodsOptions, 'peers' | 'log' | 'repeats' | 'state'>

/** All dependencies outside of the process, plus time and chance. Each factory is called once. */
export interface ReplicaParts {
  readonly options: ReplicaOptions
  readonly namespace: string
  readonly api: LeaseApi
  readonly front: OwnFront | null
  readonly supervisor: (wiring: SupervisorWiring) => Supervisor
  readonly peers: ((wiring: PeersWiring) => Pick<Peers, keyof Peers>) | null
  /** `null`: without `--failsafe=peers`. */
  readonly failsafe: { readonly key: string; readonly send: SendConsent } | null
  readonly lostPods: ((wiring: LostPodsWiring) => Pick<LostPods, keyof LostPods>) | null
  readonly events: (wiring: Pick<KubeEventsOptions, 'repeats'>) => Events
  readonly podAgeMs: () => number | null
  /** Starts to answer. Rejects with a `FatalError` if the address is not available. */
  readonly http: (source: StatusSource) => Promise<Pick<HttpServer, 'port' | 'close'>>
  readonly clock: Clock
  readonly log: Log
  readonly metrics: Metrics
  /** 0 to 999, random for each process. See `CandidateConfig`. */
  readonly salt: number
}

/** A loop that is this late is stuck. The limit is longer than any pause that a busy node causes. */
const STUCK_AFTER_MS = 10_000

/** One replica: it connects election, workload and gate. Its readers (HTTP, metrics) change nothing. */
export class Replica implements StatusSource {
  readonly elector: Elector
  readonly supervisor: Supervisor
  private readonly parts: ReplicaParts
  private readonly lease: string
  private readonly repeats: LogThrottle
  private readonly events: Events
  private readonly recorder: EventRecorder
  private readonly peers: Pick<Peers, keyof Peers> | null
  private readonly members: Members | null
  private readonly lostPods: Pick<LostPods, keyof LostPods> | null
  private readonly steering: Steering
  private readonly switchover: Switchover
  private readonly voluntary: VoluntaryHandover | null
  private otherLeases: ReturnType<typeof watchOtherLeases> | null = null
  private readonly ended = Promise.withResolvers<0 | 1>()
  private readonly hurried = Promise.withResolvers<void>()
  private http: Pick<HttpServer, 'close'> | null = null

  constructor(parts: ReplicaParts) {
    const { options, clock, log } = parts
    this.parts = parts
    this.lease = `${parts.namespace}/${options.leaseName}`
    this.repeats = new LogThrottle(log, clock)
    const { lease, repeats } = this
    this.events = parts.events({ repeats })
    this.recorder = new EventRecorder({ ...parts, events: this.events, repeats })
    const asked = () => {
      this.switchover.asked()
      this.voluntary?.asked()
      this.lostPods?.asked()
      this.members?.asked()
    }
    this.peers = parts.peers?.({ identity: options.identity, lease, repeats, asked }) ?? null
    this.supervisor = this.newSupervisor()
    this.steering = this.newSteering()
    const { peers, dispatch } = this
    const state = () => this.state
    this.lostPods = (peers && parts.lostPods?.({ peers, log, repeats, state })) ?? null
    this.members = peers && this.newMembers(peers)
    this.switchover = new Switchover({ identity: options.identity, peers, state, dispatch })
    this.voluntary = peers && this.newVoluntaryHandover(peers)
    this.elector = this.newElector()
  }

  private readonly dispatch = (fact: Fact): void => this.elector.dispatch(fact)

  private get state(): CandidateState {
    return this.elector.state
  }

  private newSupervisor(): Supervisor {
    const { options, log, metrics } = this.parts
    return this.parts.supervisor({
      log,
      metrics,
      alarm: (what) => this.repeats.happened('link', what),
      remedy: (servedMs) => remedyFor(options, servedMs, this.peers?.view?.ready ?? null),
      dispatch: this.dispatch,
      closeGate: () => this.steering.closed(),
      answeredAt: () => this.steering.view.front?.answeredAt ?? 0,
      changed: () => this.gateChanged(),
    })
  }

  private newSteering(): Steering {
    const { options, front, clock } = this.parts
    return new Steering({
      front,
      config: options,
      lingerMs: options.pod.name === null ? 0 : GATE_KNOWN_MS,
      clock,
      repeats: this.repeats,
      state: () => this.state,
      ready: () => this.ready(),
      quiet: () => this.dispatch({ type: 'quiet' }),
    })
  }

  private newVoluntaryHandover(peers: Pick<Peers, 'members'>): VoluntaryHandover {
    const { options, podAgeMs, clock } = this.parts
    return new VoluntaryHandover({
      ...{ peers, podAgeMs, clock, dispatch: this.dispatch },
      revision: options.pod.revision,
      workload: () => this.supervisor.status,
      state: () => this.state,
      frontDown: () => this.steering.view.front?.listening === false,
    })
  }

  private newMembers(peers: Pick<Peers, 'answered'>): Members | null {
    const { options, failsafe, clock } = this.parts
    if (failsafe === null) return null
    const { identity, leaseDurationMs } = options
    return new Members({
      ...{ ...failsafe, identity, leaseDurationMs, peers, clock },
      state: () => this.state,
      dispatch: this.dispatch,
      consentTo: (request) => this.elector.consentTo(request),
    })
  }

  private newElector(): Elector {
    const { options, front, failsafe, salt, api, clock, metrics } = this.parts
    const consentKey = failsafe?.key ?? null
    const { owner, revision } = options.pod
    return new Elector({
      config: { ...options, owner, revision, front: front?.access ?? null, consentKey, salt },
      api,
      clock,
      metrics,
      link: this.supervisor.link,
      ask: (question) => this.members?.ask(question),
      order: (order) => this.supervisor.dispatch(order),
      note: (effect) => this.note(effect),
      changed: (state) => this.electionChanged(state),
    })
  }

  /** If it rejects with a `FatalError`, nothing was started. The socket comes last: a launcher may wait for it. */
  async start(): Promise<void> {
    const { log, clock, podAgeMs } = this.parts
    const http = await this.parts.http(this)
    this.http = http
    try {
      await this.supervisor.listen()
    } catch (error) {
      this.supervisor.close()
      await http.close()
      throw error
    }
    log.event('campaigning', { epoch: 0, lease: this.lease })
    log.info('answering HTTP', { port: http.port })
    const { peers, lease, repeats, dispatch } = this
    const wiring = { lease, podAgeMs, clock, repeats, state: () => this.state, dispatch }
    this.otherLeases = peers && watchOtherLeases({ peers, ...wiring })
    this.elector.start()
  }

  /** Hands over in the planned order and ends. A second call does not wait for requests in flight. */
  terminate(reason: string): void {
    const isFirst = endingOf(this.state) === null
    this.dispatch({ type: 'terminate', reason })
    if (isFirst) return
    this.hurried.resolve()
    this.dispatch({ type: 'drained' })
  }

  /** Resolves to the exit code when nothing is held and nothing is alive. */
  async end(): Promise<0 | 1> {
    const code = await this.ended.promise
    this.supervisor.close()
    // Until then, the front still receives the current leader.
    await Promise.all([this.steering.end(this.hurried.promise), this.events.end()])
    this.elector.stop()
    this.otherLeases?.close()
    this.peers?.close()
    this.lostPods?.close()
    await this.http?.close()
    return code
  }

  status(): AgentStatus {
    return describeReplica(this.facts)
  }

  async replicas(): Promise<readonly ReplicaRow[]> {
    const { identity } = this.parts.options
    const own = () => ({ pod: podOf(identity), node: null, status: this.status(), problem: null })
    return this.peers?.rows(own) ?? [own()]
  }

  live(): boolean {
    return this.elector.lateness() < STUCK_AFTER_MS
  }

  ready(): boolean {
    return isReady(this.facts)
  }

  couldServe(): boolean {
    return couldServe(this.facts)
  }

  frontFault(): Fault {
    return frontFault(this.facts)
  }

  launcherAnswers(): boolean {
    return this.supervisor.status.launcher === 'connected'
  }

  consent(sealed: string): string | null {
    return this.members?.answer(sealed) ?? null
  }

  private get facts(): ReplicaFacts {
    const { options, namespace, clock, podAgeMs } = this.parts
    const now = clock.now()
    return {
      options,
      namespace,
      now,
      state: this.state,
      workload: this.supervisor.status,
      peers: this.peers?.view ?? null,
      podAgeMs: podAgeMs(),
      traffic: this.steering.view,
    }
  }

  private note(effect: NotedEffect): void {
    if (effect.type === 'restart') this.recorder.restart(effect, epochSeen(this.state))
    else if (effect.type === 'exit') this.ended.resolve(effect.code)
    else this.recorder.event(effect)
  }

  private electionChanged(state: CandidateState): void {
    const lease = state.seen?.lease ?? null
    this.recorder.doubt(state.term?.doubt ?? false)
    const { options, clock } = this.parts
    const consent = state.term && describeConsent(options, clock.now(), state.term)
    this.recorder.consent(consent, epochSeen(state))
    this.recorder.planned(state.term?.planned ?? null, epochSeen(state))
    const serves = state.term === null && holderServes(lease, state.noted.history)
    this.supervisor.dispatch({ type: 'leader_serves', serves })
    this.peers?.ask(state.term !== null)
    this.switchover.leaseChanged()
    this.lostPods?.electionChanged(state)
    this.members?.electionChanged(state)
    this.gateChanged()
  }

  private gateChanged(): void {
    const { facts } = this
    const { state, workload } = facts
    const epoch = epochSeen(state)
    const ready = isReady(facts)
    this.steering.gateChanged(ready)
    this.recorder.gate(ready, standsBy(facts), epoch, workload.view.standby.mode)
    this.recorder.problems(problemsOf(facts), epoch)
  }
}

function epochSeen({ term, highestEpoch }: CandidateState): number {
  return term?.epoch ?? highestEpoch
}

/**
 * @param servedMs how long the failed LangFlow had served since its start, if it did
 * @param ready number of others that would take over now, if known
 */
export function remedyFor(
  { onCrash, leaseDurationMs }: Pick<ReplicaOptions, 'onCrash' | 'leaseDurationMs'>,
  servedMs: number | null,
  ready: number | null,
): Remedy {
  // A LangFlow that fails soon after each start does not improve by a restart here.
  if (servedMs === null || servedMs < leaseDurationMs) return 'handover'
  return onCrash === 'restart' || ready === 0 ? 'restart' : 'handover'
}
