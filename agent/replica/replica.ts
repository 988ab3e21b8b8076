import type { Clock, Instant } from '../clock.ts'
import type { AgentOptions } from '../config/options.ts'
import { ownerProblem } from '../election/ability.ts'
import { Elector, type OutwardEffect } from '../election/elector.ts'
import type { CandidateConfig, ElectionState } from '../election/state.ts'
import { epochProblem, langflowFault } from '../lease/lease.ts'
import type { LeaseApi } from '../lease/lease-api.ts'
import type { LauncherKeys } from '../link/keys.ts'
import type { HttpServer } from '../observe/http-server.ts'
import { startHttpServer } from '../observe/http-server.ts'
import type { Log } from '../observe/log.ts'
import { createMetrics } from '../observe/prometheus.ts'
import { Repeats } from '../observe/repeats.ts'
import type { AgentStatus, StatusSource } from '../observe/status.ts'
import { MakingWay } from '../peers/making-way.ts'
import { Peers } from '../peers/peers.ts'
import { Rivals } from '../peers/rivals.ts'
import { connectSupervisor } from '../supervisor/connect.ts'
import { GATE_KNOWN_MS } from '../supervisor/drain.ts'
import type { Supervisor, SupervisorMachine } from '../supervisor/supervisor.ts'
import { Steering, type SteeringOptions } from '../traffic/steering.ts'
import { remedyFor } from './crash-policy.ts'
import { ReplicaChronicle } from './event-recorder.ts'
import { ReplicaGate } from './gate.ts'
import { LauncherAbsence } from './launcher-absence.ts'
import { podAge } from './pod-age.ts'
import { describeReplica, type ReplicaFacts } from './status.ts'

export interface ReplicaParts {
  readonly options: AgentOptions
  readonly namespace: string
  readonly api: (metrics: ReturnType<typeof createMetrics>) => LeaseApi
  /** Called once. */
  readonly traffic: SteeringOptions['traffic']
  readonly clock: Clock
  readonly log: Log
  readonly keys: LauncherKeys
  readonly machine: SupervisorMachine
  /** The API server's version, such as `1.37`. */
  readonly serverVersion: () => Promise<string | null>
}

/** A loop that is this late is stuck; long enough for any pause that a busy node causes. */
const STUCK_AFTER_MS = 10_000

/** One replica: election, workload and gate put together. Whoever reads it (HTTP, metrics) changes nothing. */
export class Replica implements StatusSource {
  private readonly parts: ReplicaParts
  private readonly metrics: ReturnType<typeof createMetrics>
  private readonly elector: Elector
  private readonly supervisor: Supervisor
  private readonly chronicle: ReplicaChronicle
  private readonly gate: ReplicaGate
  private readonly peers: Peers | null
  private readonly podAge: (now: Instant) => number | null
  private readonly absence: LauncherAbsence
  private readonly makingWay: MakingWay
  private readonly rivals: Rivals
  private readonly ended = Promise.withResolvers<0 | 1>()
  private readonly steering: Steering
  private http: HttpServer | null = null

  constructor(parts: ReplicaParts) {
    const { options, clock, log } = parts
    this.parts = parts
    const repeats = new Repeats(log, clock)
    this.gate = new ReplicaGate({
      timings: options,
      clock,
      log,
      state: () => this.elector.state,
      workload: () => this.supervisor,
      checks: () => this.status().checks,
    })
    const { peers: at, identity } = options
    this.steering = new Steering({
      traffic: parts.traffic,
      identity,
      leaseDurationMs: options.leaseDurationMs,
      lingerMs: options.pod.name === null ? 0 : GATE_KNOWN_MS,
      clock,
      log,
      repeats,
      state: () => this.elector.state,
      ready: () => this.gate.ready(),
      inDoubt: () => this.gate.inDoubt,
    })
    this.podAge = podAge(options.stateDir, clock)
    this.absence = new LauncherAbsence({
      clock,
      socket: options.socket,
      serverVersion: parts.serverVersion,
      changed: () => this.chronicle.launcher(this.absence.problem),
    })
    const lease = { namespace: parts.namespace, name: options.leaseName }
    const asked = () => this.makingWay.asked()
    this.peers = at === null ? null : new Peers({ at, identity, lease, clock, repeats, asked })
    this.makingWay = new MakingWay({
      peers: this.peers,
      revision: options.pod.revision,
      podAgeMs: () => this.podAge(clock.now()),
      leaseDurationMs: options.leaseDurationMs,
      clock,
      log,
      term: () => this.elector.state.term,
      served: () => this.supervisor.served,
      startsColder: () => this.supervisor.startsColder,
      tell: (fact) => this.elector.tell(fact),
    })
    this.rivals = new Rivals({
      peers: this.peers,
      lease,
      podAgeMs: () => this.podAge(clock.now()),
      leads: () => this.elector.state.term !== null,
      clock,
      repeats,
      tell: (fact) => this.elector.tell(fact),
    })
    this.metrics = createMetrics({ leaseName: options.leaseName, status: () => this.status() })
    const { metrics } = this
    this.chronicle = new ReplicaChronicle({ onCrash: options.onCrash, log, metrics, repeats })
    this.elector = new Elector({
      config: candidateConfig(options),
      api: parts.api(metrics),
      clock,
      metrics,
      run: (effect) => this.run(effect),
      changed: (state) => this.electionChanged(state),
    })
    this.supervisor = connectSupervisor({
      options,
      machine: parts.machine,
      clock,
      keys: parts.keys,
      log,
      repeats,
      metrics,
      alarm: (what) => repeats.happened('link', what),
      remedy: (servedMs) => remedyFor(options, servedMs, this.peers?.view?.ready ?? null),
      tell: (fact) => this.elector.tell(fact),
      changed: () => this.gateChanged(),
    })
  }

  /** Rejects with a `FatalError` where socket or HTTP port cannot be had; then nothing was started. */
  async start(): Promise<void> {
    const { options, log } = this.parts
    try {
      await this.supervisor.listen()
      this.http = await startHttpServer({ listen: options.listen, source: this, metrics: this.metrics })
    } catch (error) {
      this.supervisor.close()
      throw error
    }
    log.event('campaigning', { epoch: 0, lease: `${this.parts.namespace}/${options.leaseName}` })
    log.info('answering HTTP', { port: this.http.port })
    if (options.pod.problem !== null) log.warn(options.pod.problem)
    this.rivals.start()
    this.elector.start()
    this.absence.start()
    this.steering.start()
  }

  /** Hands over in the planned order and ends; a second call does not wait for requests in flight. */
  terminate(reason: string): void {
    if (this.elector.state.ending !== null) this.elector.tell({ type: 'drained' })
    else this.elector.tell({ type: 'terminate', reason })
  }

  /** Resolves to the exit code once nothing is held and nothing lives. */
  async end(): Promise<0 | 1> {
    const code = await this.ended.promise
    this.elector.stop()
    this.supervisor.close()
    this.absence.close()
    this.rivals.close()
    this.peers?.close()
    await this.steering.end()
    await this.http?.close()
    return code
  }

  status(): AgentStatus {
    return describeReplica(this.facts)
  }

  live(): boolean {
    return this.elector.lateness() < STUCK_AFTER_MS
  }

  ready(): boolean {
    return this.gate.ready()
  }

  couldServe(): boolean {
    return this.gate.couldServe()
  }

  launcherAnswers(): boolean {
    return this.supervisor.launcher === 'connected'
  }

  private get facts(): ReplicaFacts {
    const { options, namespace, clock } = this.parts
    const { state, decision } = this.elector
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
      podAgeMs: this.podAge(now),
      routedTo: this.steering.view.routedTo,
      problem:
        this.absence.problem ??
        this.supervisor.refusedGrant ??
        this.ownerProblem ??
        epochProblem(state.seen?.lease ?? null) ??
        state.outdated ??
        this.steering.view.problem ??
        this.makingWay.problem ??
        options.pod.problem,
    }
  }

  private get ownerProblem(): string | null {
    return ownerProblem(this.parts.options.pod.owner, this.elector.state.seen?.lease ?? null)
  }

  private run(effect: OutwardEffect): void {
    switch (effect.type) {
      case 'grant':
        this.supervisor.grant(effect.grant)
        return
      case 'start':
        this.supervisor.start(effect.epoch)
        return
      case 'drain':
        // Whoever was ready a moment ago may be gone: the successor is named when the stop is over.
        this.peers?.askAgain()
        this.steering.drain(() => this.supervisor.drain(effect.until))
        return
      case 'stop':
        this.steering.stop(() => this.supervisor.stop(effect.graceMs))
        return
      case 'restart':
        this.chronicle.restart(effect.reason, this.elector.state)
        this.supervisor.restart(effect.graceMs, this.parts.options.drainTimeoutMs)
        return
      case 'kill':
        this.supervisor.kill()
        return
      case 'exit':
        this.ended.resolve(effect.code)
        return
      case 'event':
        this.chronicle.event(effect)
        return
    }
  }

  private electionChanged(state: ElectionState): void {
    this.chronicle.lease(state, this.elector.decision)
    this.chronicle.owner(this.ownerProblem)
    const lease = state.seen?.lease ?? null
    this.chronicle.epoch(epochProblem(lease))
    this.chronicle.version(state.outdated ?? langflowFault(lease))
    this.peers?.ask(state.term !== null)
    this.gateChanged()
  }

  private gateChanged(): void {
    if (this.supervisor.launcher === 'connected') this.absence.came()
    const ready = this.gate.ready()
    this.steering.look(ready)
    this.gate.look(ready)
  }
}

function candidateConfig(options: AgentOptions): CandidateConfig {
  return { ...options, owner: options.pod.owner, salt: SALT }
}

const SALT = Math.floor(Math.random() * 1000)
