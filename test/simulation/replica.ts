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

/** `pod`: two containers, with the launcher as PID 1 of its own. `run`: the agent starts the launcher. */
export type Mode = 'pod' | 'run'

export interface ReplicaConfig extends Omit<CandidateConfig, 'identity' | 'front' | 'consentKey' | 'salt'> {
  readonly failsafe: 'none' | 'peers'
  readonly standby: 'cold' | 'warm'
  /** Milliseconds until the front has acknowledged a change of the gate. 0: no front, as with `--traffic=readiness`. */
  readonly gateMs: number
  readonly revision: string
  /** The version of its LangFlow. `null`: it can't be determined. */
  readonly langflow: string | null
}

/** Delay before an ended process that should run is started again. */
const RESTART_MS = 1_000
export const RESPAWN_MS = 100
const GRACE_PERIOD_MS = 45_000
const RESTART_LOOK_MS = 50

/** One machine with one replica, including the kubelet or service manager that restarts it. */
export class Replica {
  readonly name: string
  readonly mode: Mode
  readonly kernel: Kernel
  readonly network: Network
  readonly socket: Socket
  readonly behaviour: Behaviour
  /** `Process.bootAhead` of the processes in LangFlow's container. */
  readonly bootAhead: number
  readonly knowledge: Knowledge
  private readonly world: World
  private instances = 0
  /** This instance is ending or has ended. Another one will replace it. */
  ending = false
  /** All processes of this instance have ended. Another one will replace it. */
  private gone = false
  private agentTerminated = false
  /** Another replica's identity that the next instances use by mistake. */
  private posingAs: string | null = null
  private backInMs = RESTART_MS
  config: ReplicaConfig
  /** The unique name of this pod or this `run`. Agents and launchers that restart in it keep it. */
  instance = ''
  /** When this instance was created, in monotonic ms. */
  appearedAt = 0
  /** Its identity in the Lease: `instance`, unless it was configured with another replica's by mistake. */
  identity = ''
  agent: AgentHost | null = null
  launcher: LauncherHost | null = null
  workload: Workload | null = null
  endAt: Stage | null = null
  startedAt = 0
  /** Real time until which messages may arrive late that were sent while the link was slow. */
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

  /** The version of its files, and the real time of the last change. */
  files = 0
  filesChangedAt = 0

  changeFiles(version: number): void {
    this.files = Math.max(this.files, version)
    this.filesChangedAt = this.world.timeline.now
    this.launcher?.filesChanged()
  }

  get ready(): boolean {
    return this.agent?.ready ?? false
  }

  /** Whether its standby is ready, or it has a cold standby, which needs no preparation. */
  get prepared(): boolean {
    return this.config.standby === 'cold' || (this.launcher?.prepared ?? false)
  }

  /** Real time since which its machine, agent and launcher have run without interruption. */
  get resumedAt(): number {
    const { startedAt, kernel, agent, launcher } = this
    if (!agent?.process.runs || !launcher?.process.runs) return this.world.timeline.now
    return Math.max(startedAt, kernel.wokeAt, agent.process.thawedAt, launcher.process.thawedAt)
  }

  get portTaken(): boolean {
    return this.behaviour.portTaken || (this.workload?.present ?? false)
  }

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

  /** Replaces the instance by one with another replica's identity. `null`: with its own again. */
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
      // The agent starts the launcher again, which requires a running agent.
      const process = this.agent?.process
      process?.deliver(() => process.after(RESPAWN_MS, () => this.startLauncher()))
    }
  }

  /** Both containers of a pod end at one instant, as when a node is out of memory. The kubelet restarts both. */
  crashPod(agentBackInMs: number, launcherBackInMs: number): void {
    this.crashAgent(agentBackInMs)
    this.crashLauncher(launcherBackInMs)
  }

  /** All processes end at one instant, as when a node fails. Another pod replaces this one. */
  crash(backInMs: number): void {
    this.agent?.process.kill()
    this.launcher?.process.kill()
    this.agent = this.launcher = null
    this.ending = this.gone = true
    this.workload?.kill(0)
    this.in(backInMs, () => this.replaced())
  }

  /** `kubectl delete pod`, or SIGTERM to `run`. Another instance replaces this one. */
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

  /** Names a successor, as the product's `Replica` does after it has asked its peers. */
  nameSuccessor(successor: Replica | undefined): void {
    const { agent } = this
    const identity = successor?.identity ?? null
    agent?.process.deliver(() =>
      agent.elector.dispatch({ type: 'successor', identity, content: 'none', newer: true }),
    )
  }

  stepDown(): void {
    const { agent } = this
    agent?.process.deliver(() => {
      const { elector } = agent
      elector.dispatch({ type: 'successor', ...elector.state.successor, newer: true })
      elector.dispatch({ type: 'step_down', code: 'newer_revision', reason: 'a newer revision' })
    })
  }

  terminateAgent(): void {
    const { agent } = this
    agent?.process.deliver(() => {
      this.agentTerminated = true
      this.world.terminatedAt.push(agent.stage)
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
    // The kubelet or the service manager starts no new instance while old processes are alive.
    if (this.launcher?.process.alive || this.workload?.present) {
      // If agent and launcher have both died, the service manager ends the remaining processes, as documented.
      if (this.launcher === null && this.mode === 'run') this.workload?.kill(0)
      this.in(RESTART_MS, () => this.replaced())
    } else {
      this.appear()
    }
  }

  private startAgent(): void {
    if (this.agent !== null || this.gone) return
    this.agentTerminated = false
    this.startedAt = this.world.timeline.now
    this.knowledge.newAgent()
    this.agent = new AgentHost(this, this.world, (process, code) => this.agentExited(process, code))
    this.world.trace(this.instance, () => 'agent: started')
  }

  private startLauncher(): void {
    if (this.launcher !== null || this.ending || (this.mode === 'run' && this.agent === null)) return
    // A container starts only after the last one has ended, with all its processes.
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
    this.world.guard(() => this.world.judge.ended(this, code, this.agentTerminated))
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
