import type { CandidateConfig } from '../../agent/election/state.ts'
import { AgentHost, type Stage } from './agent-host.ts'
import { Kernel } from './kernel.ts'
import { Knowledge } from './knowledge.ts'
import { LauncherHost } from './launcher-host.ts'
import { Socket } from './link.ts'
import { Network } from './network.ts'
import type { Process } from './process.ts'
import { type Behaviour, type Workload, wellBehaved } from './workload.ts'
import type { World } from './world.ts'

/** `pod`: two containers, the launcher alone in a PID namespace. `run`: the agent starts the launcher itself. */
export type Mode = 'pod' | 'run'

export interface ReplicaConfig extends Omit<CandidateConfig, 'identity' | 'front' | 'salt'> {
  readonly standby: 'cold' | 'warm'
  /** From the order to drain until whoever routes to it is told: 0, but where the agent itself tells them. */
  readonly gateMs: number
  /** Of its pod's template. */
  readonly revision: string
  /** The version of its LangFlow; `null`: nobody knows. */
  readonly langflow: string | null
}

/** Where something ends that should run, it is started again after this long. */
const RESTART_MS = 1_000
/** `LauncherProcess` starts its launcher again after this long. */
export const RESPAWN_MS = 500
const GRACE_PERIOD_MS = 45_000
const RESTART_LOOK_MS = 50

/** One machine with one replica on it, and whoever starts it again when it ends. */
export class Replica {
  readonly name: string
  readonly mode: Mode
  readonly kernel: Kernel
  readonly network: Network
  readonly socket: Socket
  readonly behaviour: Behaviour
  /** Of the clock in LangFlow's container: see `Process`. */
  readonly bootAhead: number
  readonly knowledge: Knowledge
  private readonly world: World
  private instances = 0
  /** It was told to end, or has; another one is to come. */
  ending = false
  /** Everything of it has ended, and another one is to come. */
  private gone = false
  private agentTold = false
  /** Whose identity its next instances use by mistake. */
  private posingAs: string | null = null
  private backInMs = RESTART_MS
  /** Of its present instance. */
  config: ReplicaConfig
  /** Names this pod, or this `run`, for good. */
  instance = ''
  /** Monotonic ms. */
  appearedAt = 0
  /** What it calls itself: its instance, unless somebody gave it another one's. */
  identity = ''
  agent: AgentHost | null = null
  launcher: LauncherHost | null = null
  workload: Workload | null = null
  /** Its agent is told to end as soon as it is at this. */
  endAt: Stage | null = null
  /** Real time at which something of it was started last. */
  startedAt = 0
  /** Real time until which messages on the link may still be under way from when it was slow. */
  linkSlowUntil = 0

  constructor(world: World, index: number, mode: Mode) {
    this.name = `r${index + 1}`
    this.mode = mode
    this.world = world
    this.kernel = new Kernel(world.timeline, world.random)
    this.network = new Network(world.random)
    this.socket = new Socket(world.random)
    this.config = world.config(false)
    this.behaviour = wellBehaved(world.random)
    this.bootAhead = mode === 'pod' && world.random.chance(0.3) ? world.random.between(-1e6, 1e6) : 0
    this.knowledge = new Knowledge(() => world.timeline.now)
  }

  get ready(): boolean {
    return this.agent?.ready ?? false
  }

  /** What it is to keep ready is ready. */
  get prepared(): boolean {
    return this.config.standby === 'cold' || (this.launcher?.prepared ?? false)
  }

  /** Real time since when all of it that runs has been running. */
  get resumedAt(): number {
    const { startedAt, kernel, agent, launcher } = this
    if (!agent?.process.runs || !launcher?.process.runs) return this.world.timeline.now
    return Math.max(startedAt, kernel.wokeAt, agent.process.thawedAt, launcher.process.thawedAt)
  }

  get portTaken(): boolean {
    return this.behaviour.portTaken || (this.workload?.present ?? false)
  }

  /** A new pod, or a new `run`: nobody has ever been this instance. */
  appear(): void {
    this.ending = this.gone = false
    this.instance = `${this.name}_${++this.instances}`
    this.identity = this.posingAs ?? this.instance
    this.appearedAt = this.kernel.mono()
    if (this.instances > 1) this.config = this.world.config(true)
    this.socket.renew()
    this.knowledge.newInstance()
    this.startAgent()
    this.startLauncher()
  }

  /** Is replaced by one that uses another one's identity; `null`: its own again. */
  poseAs(identity: string | null): void {
    this.posingAs = identity
    this.crash(RESTART_MS)
  }

  crashAgent(backInMs: number): void {
    if (this.agent === null) return
    this.agent.process.kill()
    this.agent = null
    if (this.mode === 'run') this.orphanLauncher(backInMs)
    else this.in(backInMs, () => this.startAgent())
  }

  private orphanLauncher(backInMs: number): void {
    const { launcher } = this
    launcher?.process.deliver(() => launcher.orphan())
    this.in(backInMs, () => this.replaced())
  }

  crashLauncher(backInMs: number): void {
    if (this.launcher === null) return
    this.launcher.process.kill()
    this.launcher = null
    if (this.mode === 'pod') {
      this.workload?.kill()
      this.in(backInMs, () => this.startLauncher())
    } else {
      // It is the agent that starts the launcher again, and for that it must run itself.
      const process = this.agent?.process
      process?.deliver(() => process.after(RESPAWN_MS, () => this.startLauncher()))
    }
  }

  /** Both containers of a pod end in one instant, as where a node lacks memory; the kubelet starts each again. */
  crashPod(agentBackInMs: number, launcherBackInMs: number): void {
    this.crashAgent(agentBackInMs)
    this.crashLauncher(launcherBackInMs)
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
    const { instance } = this
    const { launcher } = this
    if (this.mode === 'pod' && launcher !== null) launcher.process.deliver(() => launcher.terminate())
    else this.terminateAgent()
    this.in(GRACE_PERIOD_MS, () => this.instance === instance && this.crash(backInMs))
    this.backInMs = backInMs
  }

  /** As `Replica` does with what it learnt of its peers. */
  nameSuccessor(successor: Replica | undefined): void {
    const { agent } = this
    const identity = successor?.identity ?? null
    agent?.process.deliver(() => agent.elector.tell({ type: 'successor', identity }))
  }

  /** As a leader of an old revision does for one of the new. */
  stepDown(): void {
    const { agent } = this
    agent?.process.deliver(() =>
      agent.elector.tell({ type: 'step_down', code: 'newer_revision', reason: 'a newer revision' }),
    )
  }

  terminateAgent(): void {
    const { agent } = this
    agent?.process.deliver(() => {
      this.agentTold = true
      this.world.asked.push(agent.stage)
      agent.terminate()
    })
  }

  agentMoved(stage: Stage): void {
    if (stage !== this.endAt) return
    this.endAt = null
    this.world.timeline.in(0, () => this.terminateAgent())
  }

  private in(ms: number, work: () => void): void {
    const { instance } = this
    this.world.timeline.in(ms, () => this.instance === instance && work())
  }

  private replaced(): void {
    // A new pod is not started, nor a `run` by its service manager, while the old processes still live.
    if (this.launcher?.process.alive || this.workload?.present) {
      // What is left where agent and launcher have both died is ended by the service manager, as documented.
      if (this.launcher === null && this.mode === 'run') this.workload?.kill(0)
      this.in(RESTART_MS, () => this.replaced())
    } else {
      this.appear()
    }
  }

  private startAgent(): void {
    if (this.agent !== null || this.gone) return
    this.agentTold = false
    this.startedAt = this.world.timeline.now
    this.knowledge.newAgent()
    this.agent = new AgentHost(this, this.world, (process, code) => this.agentExited(process, code))
    this.world.trace(this.instance, () => 'agent: started')
  }

  private startLauncher(): void {
    if (this.launcher !== null || this.ending || (this.mode === 'run' && this.agent === null)) return
    // A container starts once the last one is gone, with all that ran in it.
    if (this.kernel.asleep || (this.mode === 'pod' && this.workload?.present)) {
      this.in(RESTART_LOOK_MS, () => this.startLauncher())
      return
    }
    this.startedAt = this.world.timeline.now
    this.launcher = new LauncherHost(this, this.world, (process) => this.launcherExited(process))
  }

  private agentExited(process: Process, code: 0 | 1): void {
    if (!process.alive) return
    this.world.trace(this.instance, () => `agent: exit code ${code}`)
    this.world.guard(() => this.world.judge.ended(this, code, this.agentTold))
    process.kill()
    this.agent = null
    if (this.mode === 'run') this.orphanLauncher(this.backInMs)
    else if (this.ending) this.crash(this.backInMs)
    else this.in(RESTART_MS, () => this.startAgent())
  }

  private launcherExited(process: Process): void {
    if (!process.alive) return
    process.kill()
    this.launcher = null
    if (this.ending && this.agent !== null) this.terminateAgent()
    else if (this.mode === 'pod') this.in(RESTART_MS, () => this.startLauncher())
  }
}
