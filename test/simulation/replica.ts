import type { CandidateConfig } from '../../agent/election/state.ts'
import { holderOf, isNewer, type Lease } from '../../agent/lease/lease.ts'
import type { Exit } from '../../agent/workload/process-tree.ts'
import { AgentHost } from './agent-host.ts'
import { ApiClient } from './api-client.ts'
import type { ApiServer } from './api-server.ts'
import { Kernel } from './kernel.ts'
import { LauncherHost } from './launcher-host.ts'
import { AgentEnd, type Keys, Socket } from './link.ts'
import { Network } from './network.ts'
import { ModelProbe } from './probe.ts'
import { Process } from './process.ts'
import type { Random } from './random.ts'
import type { Timeline } from './timeline.ts'
import { type Behaviour, Workload, wellBehaved } from './workload.ts'

/** `pod`: two containers, the launcher alone in a PID namespace. `run`: the agent starts the launcher itself. */
export type Mode = 'pod' | 'run'

export interface ReplicaWorld {
  readonly timeline: Timeline
  readonly random: Random
  readonly server: ApiServer
  readonly config: Omit<CandidateConfig, 'identity' | 'salt'>
  trace(who: string, line: () => string): void
  started(replica: Replica, workload: Workload, earlier: Workload | null): void
  sends(replica: Replica, lease: Lease): void
}

const START_TIMEOUT_MS = 30_000
/** Where something ends that should run, it is started again after this long. */
const RESTART_MS = 1_000
/** `LauncherProcess` starts its launcher again after this long. */
const RESPAWN_MS = 500
const GRACE_PERIOD_MS = 45_000
const NAMESPACE_END_MS = 50
const RESTART_LOOK_MS = 50
const RECLAIM_LOOK_MS = 5

/** One machine with one replica on it, and whoever starts it again when it ends. */
export class Replica {
  readonly name: string
  readonly mode: Mode
  readonly kernel: Kernel
  readonly network: Network
  readonly behaviour: Behaviour
  private readonly world: ReplicaWorld
  private incarnation = 0
  private ending = false
  /** Everything of it has ended, and another one is to come. */
  private gone = false
  private keys: Keys = { admitted: null }
  socket: Socket
  identity = ''
  agent: { readonly process: Process; readonly host: AgentHost } | null = null
  launcher: { readonly process: Process; readonly host: LauncherHost } | null = null
  workload: Workload | null = null
  /** What this replica wrote: real time of sending, by renew time. */
  private sentAt = new Map<string, number>()
  /** Real time at which the last write was sent that this replica knows to be in the Lease. */
  acknowledgedAt = Number.NEGATIVE_INFINITY
  /** Real time at which this replica learnt of it. */
  learntAt = Number.NEGATIVE_INFINITY
  /** Real time since which this replica has known that somebody else holds the Lease. */
  otherSeenAt: number | null = null
  /** How often a hypervisor paused the machine without its monotonic and boot clocks noticing. */
  hiddenPauses = 0
  /** Real time until which messages on the link may still be under way from when it was slow. */
  linkSlowUntil = 0
  private newest: string | undefined
  private backInMs = RESTART_MS

  constructor(world: ReplicaWorld, index: number, mode: Mode) {
    this.name = `r${index + 1}`
    this.mode = mode
    this.world = world
    this.kernel = new Kernel(world.timeline, world.random)
    this.network = new Network(world.random)
    this.socket = new Socket(world.random)
    this.behaviour = wellBehaved(world.random)
  }

  get ready(): boolean {
    return (this.agent?.process.runs && this.agent.host.ready) ?? false
  }

  /** A new pod, or a new `run`: nobody has ever used its identity. */
  appear(): void {
    this.ending = this.gone = false
    this.identity = `${this.name}_${++this.incarnation}`
    const { behaviour } = this.socket
    this.socket = new Socket(this.world.random)
    Object.assign(this.socket.behaviour, behaviour)
    this.keys = { admitted: null }
    this.sentAt.clear()
    this.acknowledgedAt = Number.NEGATIVE_INFINITY
    this.startAgent()
    this.startLauncher()
  }

  crashAgent(backInMs: number): void {
    if (this.agent === null) return
    this.agent.process.kill()
    this.agent = null
    const { launcher } = this
    if (this.mode === 'run') {
      launcher?.process.deliver(() => launcher.host.orphan())
      this.in(backInMs, () => this.replaced())
    } else {
      this.in(backInMs, () => this.startAgent())
    }
  }

  crashLauncher(backInMs: number): void {
    if (this.launcher === null) return
    this.launcher.process.kill()
    this.launcher = null
    if (this.mode === 'pod') this.workload?.kill(NAMESPACE_END_MS)
    if (this.mode === 'pod') this.in(backInMs, () => this.startLauncher())
    else this.respawn()
  }

  /** In `run` it is the agent that starts the launcher again, and for that it must run itself. */
  private respawn(): void {
    const process = this.agent?.process
    process?.deliver(() => process.after(RESPAWN_MS, () => this.startLauncher()))
  }

  /** Everything ends in one instant, as when a node fails; another pod comes in its place. */
  crash(backInMs: number): void {
    this.agent?.process.kill()
    this.launcher?.process.kill()
    this.agent = this.launcher = null
    this.ending = this.gone = true
    this.workload?.kill(0)
    this.in(backInMs, () => this.replaced())
  }

  /** `kubectl delete pod`, or SIGTERM to `run`; another one comes in its place. */
  evict(backInMs: number): void {
    if (this.ending || this.agent === null) return
    this.ending = true
    const { identity } = this
    if (this.mode === 'pod' && this.launcher !== null) this.ask(this.launcher)
    else this.ask(this.agent)
    this.in(GRACE_PERIOD_MS, () => this.identity === identity && this.crash(backInMs))
    this.backInMs = backInMs
  }

  terminateAgent(): void {
    if (this.agent !== null) this.ask(this.agent)
  }

  private ask({ process, host }: { process: Process; host: { terminate(): void } }): void {
    process.deliver(() => host.terminate())
  }

  private in(ms: number, work: () => void): void {
    const { identity } = this
    this.world.timeline.in(ms, () => this.identity === identity && work())
  }

  private replaced(): void {
    // A new pod is not started, nor a `run` by its supervisor, while the old processes still live.
    if (this.launcher?.process.alive || (this.ending && this.workload?.present)) {
      this.in(RESTART_MS, () => this.replaced())
    } else {
      this.appear()
    }
  }

  private startAgent(): void {
    if (this.agent !== null || this.gone) return
    const { world, kernel, network, behaviour, identity } = this
    const process = new Process(kernel, world.random)
    const mine = new Set<string>()
    const api = new ApiClient({
      name: identity,
      server: world.server,
      network,
      process,
      random: world.random,
      sent: (lease) => {
        mine.add(lease.spec?.renewTime ?? '')
        this.sentAt.set(lease.spec?.renewTime ?? '', world.timeline.now)
        world.sends(this, lease)
      },
      shown: (lease) => this.shown(lease, mine),
    })
    const host = new AgentHost({
      config: { ...world.config, identity, salt: world.random.whole(0, 999) },
      api,
      process,
      startTimeoutMs: START_TIMEOUT_MS,
      machine: {
        portFree: async () => !this.portTaken(),
        connections: () => (behaviour.connected ? 1 : 0),
        ...(this.mode === 'run' ? { reclaim: () => this.reclaim(process) } : {}),
      },
      link: (handlers) =>
        new AgentEnd(this.socket, process, this.keys, world.config.leaseDurationMs, handlers),
      probe: (handlers) => new ModelProbe(process, () => this.workload?.healthy ?? false, handlers),
      trace: (line) => world.trace(identity, line),
      exited: (code) => this.agentExited(process, code),
    })
    this.agent = { process, host }
    world.trace(identity, () => 'agent: started')
  }

  private startLauncher(): void {
    if (this.launcher !== null || this.ending || (this.mode === 'run' && this.agent === null)) return
    const { world, kernel, workload } = this
    // A container starts once the last one is gone, with all that ran in it.
    if (kernel.asleep || (this.mode === 'pod' && workload?.present)) {
      this.in(RESTART_LOOK_MS, () => this.startLauncher())
      return
    }
    const process = new Process(this.kernel, world.random)
    const host = new LauncherHost({
      process,
      socket: this.socket,
      alone: this.mode === 'pod',
      stopTimeoutMs: world.config.stopTimeoutMs,
      portTaken: () => this.portTaken(),
      spawn: (epoch, exited) => this.spawn(epoch, process, exited),
      remains: () => this.workload,
      trace: (line) => world.trace(this.identity, line),
      exited: () => this.launcherExited(process),
    })
    this.launcher = { process, host }
  }

  private agentExited(process: Process, code: 0 | 1): void {
    this.world.trace(this.identity, () => `agent: exit code ${code}`)
    process.kill()
    this.agent = null
    const { launcher } = this
    if (this.mode === 'run') {
      launcher?.process.deliver(() => launcher.host.orphan())
      this.in(this.backInMs, () => this.replaced())
    } else if (this.ending) {
      this.crash(this.backInMs)
    } else {
      this.in(RESTART_MS, () => this.startAgent())
    }
  }

  private launcherExited(process: Process): void {
    if (!process.alive) return
    process.kill()
    this.launcher = null
    if (this.ending && this.agent !== null) this.ask(this.agent)
    else if (this.mode === 'pod') this.in(RESTART_MS, () => this.startLauncher())
  }

  private spawn(epoch: number, launcher: Process, exited: (exit: Exit) => void): Workload {
    const { behaviour, kernel, world } = this
    const process = new Process(kernel, world.random)
    const workload = new Workload(this.name, epoch, process, launcher, world.random, behaviour, exited)
    const earlier = this.workload
    this.workload = workload
    if (behaviour.diesAtStart) process.after(world.random.between(10, 500), () => workload.exit(false))
    world.started(this, workload, earlier)
    return workload
  }

  private portTaken(): boolean {
    return this.behaviour.portTaken || (this.workload?.present ?? false)
  }

  private reclaim(agent: Process): Promise<void> {
    this.crashLauncher(RESPAWN_MS)
    this.workload?.kill()
    return new Promise((resolve) => {
      const look = () => {
        if (this.workload?.present) agent.after(RECLAIM_LOOK_MS, look)
        else resolve()
      }
      look()
    })
  }

  private shown(lease: Lease, mine: ReadonlySet<string>): void {
    const sent = this.sentAt.get(lease.spec?.renewTime ?? '')
    const holder = holderOf(lease)
    if (sent !== undefined && holder === this.identity && sent > this.acknowledgedAt) {
      this.acknowledgedAt = sent
      // An agent cannot know what an earlier one had under way.
      this.learntAt = mine.has(lease.spec?.renewTime ?? '')
        ? this.world.timeline.now
        : Number.POSITIVE_INFINITY
    }
    if (!isNewer(lease.metadata.resourceVersion, this.newest)) return
    this.newest = lease.metadata.resourceVersion
    if (holder === '' || holder === this.identity) this.otherSeenAt = null
    else this.otherSeenAt ??= this.world.timeline.now
  }
}
