import { Launcher } from '../../agent/launcher/launcher.ts'
import { readBoot } from '../../agent/link/client.ts'
import type { WorkloadView } from '../../agent/link/messages.ts'
import type { Exit } from '../../agent/processes/process-tree.ts'
import { LauncherEnd } from './link.ts'
import { Process } from './process.ts'
import type { Replica } from './replica.ts'
import { ModelStandby } from './standby.ts'
import { type Start, Workload, workloadTree } from './workload.ts'
import type { World } from './world.ts'

const PORT_LOOK_MS = 1

/** One launcher process: the real launcher on the model's link and processes, as `serveLauncher` runs it. */
export class LauncherHost {
  readonly process: Process
  private readonly replica: Replica
  private readonly world: World
  private readonly exited: (process: Process) => void
  private readonly launcher: Launcher
  private readonly link: LauncherEnd
  private ending = false
  private standby: ModelStandby | null = null

  constructor(replica: Replica, world: World, exited: (process: Process) => void) {
    const { langflow, stopTimeoutMs } = replica.config
    const process = new Process(replica.kernel, world.random)
    const alone = replica.mode === 'pod'
    process.bootAhead = replica.bootAhead
    this.process = process
    this.replica = replica
    this.world = world
    this.exited = exited
    this.launcher = new Launcher(
      ['langflow'],
      {
        clock: process,
        tree: () => this.tree(null),
        portHolder: () =>
          new Promise((resolve) => {
            process.after(PORT_LOOK_MS, () => resolve(replica.portTaken ? 'the port is taken' : null))
          }),
        serving: () => ({
          check: () => replica.workload?.takeLoss() ?? null,
          finish: () => {},
          cutOff: () => false,
          close: () => {},
        }),
        standby: () => (this.ending ? null : this.standby),
        environment: (grant) => ({ LEADER_EPOCH: String(grant.epoch) }),
      },
      (view, cause) => {
        if (cause.kind !== 'grant_refused')
          world.trace(replica.instance, () => `launcher: ${JSON.stringify(cause)}, ${view.state}`)
        // Before the agent can order the next start: its container is to be made anew.
        if (cause.kind === 'exited' && cause.unreaped) this.terminate()
        this.link.send({ type: 'workload', view, cause })
        this.finishIfIdle(view)
      },
    )
    this.link = new LauncherEnd(replica.socket, process, {
      hello: () => ({
        type: 'hello',
        version: 1,
        pid: 1,
        alone,
        mono: process.mono(),
        clocks: readBoot(process),
        ...(langflow === null ? {} : { langflow }),
        view: this.launcher.view(),
      }),
      received: (message) => {
        if (message.type === 'welcome') {
          if (this.ending) this.link.send({ type: 'terminating' })
          if (message.standby !== 'cold') this.standby ??= this.newStandby(message.startTimeoutMs)
          const remains = alone ? null : this.tree(replica.workload)
          this.launcher.meet(message.port, remains, message.spare)
        } else if (message.type === 'ping') {
          this.link.send({ type: 'pong', id: message.id, clocks: readBoot(process) })
        } else {
          this.launcher.receive(message)
        }
      },
      down: () => {
        if (this.ending) this.launcher.stop(stopTimeoutMs)
      },
    })
    this.link.start()
  }

  get prepared(): boolean {
    return this.standby?.isReady ?? false
  }

  /** What is being prepared will never be ready. */
  get standbyHangs(): boolean {
    return this.standby?.hangs ?? false
  }

  loseStandby(): void {
    this.process.deliver(() => this.standby?.lose())
  }

  private tree(remains: Workload | null) {
    const { process, replica } = this
    const dropped = () => (replica.spare === this.standby?.spare ? null : replica.spare)
    const spawn = (epoch: number, exited: (exit: Exit) => void) =>
      this.spawn({ epoch, prepared: this.standby?.take() ?? false }, exited)
    return workloadTree(process, spawn, remains, dropped)
  }

  private spawn(start: Start, exited: (exit: Exit) => void): Workload {
    const { replica, world } = this
    const { behaviour, workload: earlier } = replica
    const workload = new Workload(replica, world.random, this.process, start, exited)
    replica.workload = workload
    if (behaviour.diesAtStart)
      workload.process.after(world.random.between(10, 500), () => workload.exit(false))
    world.started(replica, workload, earlier)
    return workload
  }

  /** What waits beside the workload that runs now, for as long as it is kept: flows may have reached it. */
  private spareOf({ workload }: Replica): Workload | null {
    const { replica, world, process } = this
    if (!workload?.present) return null
    const start = { epoch: workload.epoch, prepared: false }
    const spare = new Workload(replica, world.random, process, start, () => {})
    process.onDeath(() => spare.kill())
    replica.spare = spare
    return spare
  }

  private newStandby(startTimeoutMs: number): ModelStandby {
    const { process, replica, world, launcher } = this
    return new ModelStandby({
      launcher: process,
      random: world.random,
      preparing: replica.preparing,
      startTimeoutMs,
      beside: () => this.spareOf(replica),
      changed: () => launcher.standbyChanged(),
    })
  }

  /** SIGTERM. */
  terminate(): void {
    if (this.ending) return
    this.ending = true
    if (this.launcher.view().state === 'idle') this.finishIfIdle(this.launcher.view())
    else if (this.link.connected) this.link.send({ type: 'terminating' })
    else this.launcher.stop(this.replica.config.stopTimeoutMs)
  }

  /** The agent that started this launcher is gone (`run`). */
  orphan(): void {
    this.ending = true
    this.launcher.kill()
    this.finishIfIdle(this.launcher.view())
  }

  private finishIfIdle(view: WorkloadView): void {
    if (!this.ending || view.state !== 'idle') return
    if (view.spare) this.launcher.stop(0)
    else this.exited(this.process)
  }
}
