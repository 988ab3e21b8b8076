import type { Clock } from '../clock.ts'
import { contentChange } from '../election/content-change.ts'
import { Elector, type NotedEffect } from '../election/elector.ts'
import { openRequest } from '../election/operator-order.ts'
import { isUnproven } from '../election/revision-trial.ts'
import type { ElectionState, Fact, Remedy, WorkloadOrder } from '../election/state.ts'
import { type OwnFront, Steering } from '../front/agent-side/steering.ts'
import { epochProblem, langflowFault, ownerProblem } from '../lease/lease.ts'
import type { LeaseApi } from '../lease/lease-api.ts'
import { holderServes } from '../lease/lease-history.ts'
import { pauseFault, pauseOf, podOf } from '../lease/operator-annotations.ts'
import { whyColder } from '../link/link-messages.ts'
import type { HttpServer, StatusSource } from '../observe/http-server.ts'
import { type Log, LogThrottle } from '../observe/log.ts'
import type { Metrics } from '../observe/prometheus.ts'
import { watchOtherLeases } from '../peers/other-leases.ts'
import { PeerRowsCache } from '../peers/peer-rows.ts'
import type { Peers, PeersOptions } from '../peers/peers.ts'
import { VoluntaryHandover } from '../peers/succession.ts'
import { Switchover } from '../peers/switchover-request.ts'
import type { AgentStatus, ReplicaRow } from '../status/agent-status.ts'
import type { Supervisor, SupervisorOptions } from '../supervisor/supervisor.ts'
import { GATE_KNOWN_MS } from '../supervisor/workload-step.ts'
import { EventRecorder } from './event-recorder.ts'
import type { Events, KubeEventsOptions } from './kube-events.ts'
import {
  couldServe,
  describeReplica,
  frontFault,
  isReady,
  launcherAbsence,
  type ReplicaFacts,
  type ReplicaOptions,
  standsBy,
} from './replica-status.ts'

/** The replica's part of the options of `Supervisor`. */
type SupervisorWiring = Pick<
  SupervisorOptions,
  'log' | 'metrics' | 'remedy' | 'dispatch' | 'closeGate' | 'changed'
> & { readonly alarm: (what: string) => void }

/** The replica's part of the options of `Peers`. */
type PeersWiring = Pick<PeersOptions, 'identity' | 'lease' | 'repeats' | 'asked'>

/** All dependencies outside of the process, plus time and chance. Each factory is called once. */
export interface ReplicaParts {
  readonly options: ReplicaOptions
  readonly namespace: string
  readonly api: LeaseApi
  readonly front: OwnFront | null
  readonly supervisor: (wiring: SupervisorWiring) => Supervisor
  /** `null`: no peer is asked. */
  readonly peers: ((wiring: PeersWiring) => Pick<Peers, keyof Peers>) | null
  readonly events: (wiring: Pick<KubeEventsOptions, 'leaseUid' | 'repeats'>) => Events
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
  private readonly parts: ReplicaParts
  /** Namespace and name. */
  private readonly lease: string
  readonly elector: Elector
  readonly supervisor: Supervisor
  private readonly events: Events
  private readonly recorder: EventRecorder
  private readonly peers: Pick<Peers, keyof Peers> | null
  private readonly rowsCache: PeerRowsCache
  /** Monotonic ms. */
  private readonly startedAt: number
  private launcherSeen = false
  /** `null`: no peer is asked. */
  private readonly voluntaryHandover: VoluntaryHandover | null
  private readonly switchover: Switchover
  private readonly watchOtherLeases: () => ReturnType<typeof watchOtherLeases> | null
  private otherLeases: ReturnType<typeof watchOtherLeases> | null = null
  private readonly ended = Promise.withResolvers<0 | 1>()
  private readonly hurried = Promise.withResolvers<void>()
  private readonly steering: Steering
  private http: Pick<HttpServer, 'close'> | null = null

  constructor(parts: ReplicaParts) {
    const { options, clock, log, metrics, podAgeMs } = parts
    const { identity, leaseDurationMs, pod } = options
    this.parts = parts
    const repeats = new LogThrottle(log, clock)
    const tell = (fact: Fact) => this.elector.dispatch(fact)
    const state = () => this.elector.state
    this.lease = `${parts.namespace}/${options.leaseName}`
    this.events = parts.events({ leaseUid: () => state().seen?.lease?.metadata.uid, repeats })
    const { events } = this
    this.recorder = new EventRecorder({ onCrash: options.onCrash, clock, log, metrics, events, repeats })
    this.startedAt = clock.mono()
    const { lease } = this
    const asked = () => {
      this.switchover.asked()
      this.voluntaryHandover?.asked()
    }
    const peers = parts.peers?.({ identity, lease, repeats, asked }) ?? null
    this.peers = peers
    this.rowsCache = new PeerRowsCache(clock, async () => {
      // Its own status is taken after the others have answered.
      const others = (await peers?.rows()) ?? []
      return [{ pod: podOf(identity), node: null, status: this.status(), problem: null }, ...others]
    })
    this.supervisor = parts.supervisor({
      log,
      metrics,
      alarm: (what) => repeats.happened('link', what),
      remedy: (servedMs) => remedyFor(options, servedMs, peers?.view?.ready ?? null),
      dispatch: tell,
      closeGate: () => this.steering.closed(),
      changed: () => this.gateChanged(),
    })
    this.steering = new Steering({
      front: parts.front,
      config: options,
      lingerMs: pod.name === null ? 0 : GATE_KNOWN_MS,
      clock,
      log,
      repeats,
      state,
      ready: () => this.ready(),
    })
    const others = peers && { peers, podAgeMs, term: () => state().term, clock, tell }
    this.voluntaryHandover =
      others &&
      new VoluntaryHandover({
        ...others,
        term: () => (state().paused ? null : state().term),
        revision: pod.revision,
        unproven: () => isUnproven(pod, state()),
        leaseDurationMs,
        log,
        workload: this.supervisor,
        frontDown: () => this.steering.view.front?.listening === false,
      })
    this.switchover = new Switchover({
      identity,
      peers,
      term: () => state().term,
      asked: () => openRequest(state()),
      paused: () => state().paused,
      tell,
    })
    this.watchOtherLeases = () => others && watchOtherLeases({ ...others, lease, repeats })
    this.elector = new Elector({
      config: {
        ...options,
        owner: pod.owner,
        revision: pod.revision,
        front: parts.front?.access ?? null,
        salt: parts.salt,
      },
      api: parts.api,
      clock,
      metrics,
      order: (order) => this.order(order),
      note: (effect) => this.note(effect),
      changed: (state) => this.electionChanged(state),
    })
  }

  /**
   * Rejects with a `FatalError` if socket or HTTP port are not available. In that case nothing was started. The socket
   * comes last, because a launcher may wait for it.
   */
  async start(): Promise<void> {
    const { options, log } = this.parts
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
    if (options.pod.problem !== null) log.warn(options.pod.problem)
    this.otherLeases = this.watchOtherLeases()
    this.elector.start()
  }

  /** Hands over in the planned order and ends. A second call does not wait for requests in flight. */
  terminate(reason: string): void {
    if (this.elector.state.ending === null) {
      this.elector.dispatch({ type: 'terminate', reason })
      return
    }
    this.hurried.resolve()
    this.elector.dispatch({ type: 'drained' })
  }

  /** Resolves to the exit code when nothing is held and nothing is alive. */
  async end(): Promise<0 | 1> {
    const code = await this.ended.promise
    this.supervisor.close()
    this.otherLeases?.close()
    // Until then, the front still receives the current leader.
    await Promise.all([this.steering.end(this.hurried.promise), this.events.end()])
    this.elector.stop()
    this.peers?.close()
    await this.http?.close()
    return code
  }

  status(): AgentStatus {
    return describeReplica(this.facts)
  }

  replicas(): Promise<readonly ReplicaRow[]> {
    return this.rowsCache.rows()
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

  frontFault(): string | null {
    return frontFault(this.facts)
  }

  launcherAnswers(): boolean {
    return this.supervisor.launcher === 'connected'
  }

  private get facts(): ReplicaFacts {
    const { options, namespace, clock } = this.parts
    const { state } = this.elector
    const { decision } = state
    const peers = this.peers?.view ?? null
    const now = clock.now()
    return {
      options,
      namespace,
      now,
      state,
      decision,
      workload: this.supervisor,
      peers,
      podAgeMs: this.parts.podAgeMs(),
      traffic: this.steering.view,
      problem:
        leftAlone(state) ??
        this.supervisor.digests.content?.problem ??
        this.launcherProblem ??
        this.supervisor.refusedGrant ??
        this.ownerProblem ??
        epochProblem(state.seen?.lease ?? null) ??
        pauseFault(state.seen?.lease ?? null) ??
        state.outdated ??
        this.steering.view.problem ??
        this.voluntaryHandover?.problem ??
        options.pod.problem,
    }
  }

  private get launcherProblem(): string | null {
    const { clock, options } = this.parts
    return this.launcherSeen ? null : launcherAbsence(clock.mono() - this.startedAt, options.socket)
  }

  private get ownerProblem(): string | null {
    return ownerProblem(this.parts.options.pod.owner, this.elector.state.seen?.lease ?? null)
  }

  private order(order: WorkloadOrder): void {
    // A replica that was ready a moment ago may be gone: the successor is named when the stop is over.
    if (order.type === 'drain') this.peers?.askAgain()
    this.supervisor.dispatch(order)
  }

  private note(effect: NotedEffect): void {
    const { state } = this.elector
    if (effect.type === 'restart') this.recorder.restart(effect, state)
    else if (effect.type === 'exit') this.ended.resolve(effect.code)
    else this.recorder.event(effect)
  }

  private electionChanged(state: ElectionState): void {
    this.recorder.lease(state, this.elector.state.decision)
    this.recorder.trouble('launcher', this.launcherProblem, 'a launcher has connected')
    const { content } = state.workload
    this.recorder.trouble('content', content?.problem ?? null, 'the changed files can be used')
    this.recorder.trouble('owner', this.ownerProblem, 'the Lease no longer belongs to another workload')
    const lease = state.seen?.lease ?? null
    this.recorder.trouble('epochs', epochProblem(lease), 'epochs fit into their field again')
    this.recorder.trouble('grant', this.supervisor.refusedGrant, 'the launcher accepts grants again')
    const version = state.outdated ?? langflowFault(lease)
    this.recorder.trouble('version', version, 'the version of LangFlow no longer prevents a takeover')
    this.recorder.doubt(state.term?.doubt ?? false)
    this.recorder.operation(state, pauseOf(lease, this.parts.clock.now().wall))
    const serves = state.term === null && holderServes(lease, state.noted.history)
    this.supervisor.dispatch({ type: 'leader_serves', serves })
    // If its files have changed, it waits until a replica is prepared with the new ones.
    const awaitsContent = contentChange(this.parts.options, state)?.inPlace ?? false
    this.peers?.ask(state.term !== null, awaitsContent)
    this.switchover.leaseChanged()
    this.gateChanged()
  }

  private gateChanged(): void {
    this.launcherSeen ||= this.launcherAnswers()
    const { facts } = this
    const { term, highestEpoch } = facts.state
    const epoch = term?.epoch ?? highestEpoch
    const { view, refusedGrant } = this.supervisor
    const ready = isReady(facts)
    this.steering.gateChanged(ready)
    this.recorder.gate(ready, standsBy(facts), epoch, view.standby.mode)
    const troubles = {
      GrantRefused: refusedGrant,
      StopFailed: term === null ? null : facts.state.workload.stopFailed,
      ContentRefused: this.supervisor.digests.content?.problem ?? null,
      StandbyColder: whyColder(view.standby, this.parts.options.standby),
    }
    this.recorder.troubles(troubles, view.deadmanFirings, epoch)
  }
}

/**
 * The remedy for a LangFlow that failed while this replica leads. `servedMs`: how long it had served since its start.
 * `null`: it never served. `ready`: the number of others that would take over now. `null`: unknown.
 */
export function remedyFor(
  { onCrash, leaseDurationMs }: Pick<ReplicaOptions, 'onCrash' | 'leaseDurationMs'>,
  servedMs: number | null,
  ready: number | null,
): Remedy {
  // A LangFlow that fails soon after each start does not improve by a restart here. Another replica tries, with the
  // back-off.
  if (servedMs === null || servedMs < leaseDurationMs) return 'handover'
  return onCrash === 'restart' || ready === 0 ? 'restart' : 'handover'
}

/** A failure that is left alone because the Lease is paused. */
function leftAlone({ term, workload }: ElectionState): string | null {
  const setAside = term?.setAside ?? null
  return setAside === null || workload.well
    ? null
    : `LangFlow has failed and is not restarted during the pause: ${setAside.reason}`
}
