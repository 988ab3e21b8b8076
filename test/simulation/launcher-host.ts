import { Launcher } from '../../agent/launcher/launcher.ts'
import type { Exit } from '../../agent/processes/spawn.ts'
import { logTo } from './agent-host.ts'
import { ModelContent } from './content.ts'
import { launcherEnd } from './link.ts'
import { Process } from './process.ts'
import type { Replica } from './replica.ts'
import { type ModelStandby, modelStandby } from './standby.ts'
import { Workload, workloadTree } from './workload.ts'
import type { World } from './world.ts'

const PORT_LOOK_MS = 1

/** One launcher process: the product's launcher on the model's link and processes. */
export class LauncherHost {
  readonly process: Process
  private readonly launcher: Launcher
  private readonly replica: Replica
  private readonly world: World
  private standby: ModelStandby | null = null
  private content: ModelContent | null = null

  constructor(replica: Replica, world: World, exited: (process: Process) => void) {
    const { config, kernel, mode, behaviour, socket } = replica
    const { random } = world
    const process = new Process(kernel, random)
    process.bootAhead = replica.bootAhead
    this.process = process
    this.replica = replica
    this.world = world
    this.launcher = new Launcher({
      langflow: () => config.langflow,
      content: (changed) => {
        this.content = new ModelContent(replica, process, changed)
        return this.content
      },
      stopTimeoutMs: config.stopTimeoutMs,
      alone: mode === 'pod',
      log: logTo((line) => world.trace(replica.instance, () => `launcher: ${line()}`)),
      link: (handlers) => launcherEnd(socket, process, handlers),
      machine: {
        clock: process,
        command: ['langflow'],
        tree: () => this.tree(),
        newStandby: (_mark, startTimeoutMs, changed) => {
          this.standby = modelStandby({ process, random, behaviour, startTimeoutMs, changed })
          return this.standby
        },
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
        readEnvironment: async () => null,
        environment: (grant) => ({ LEADER_EPOCH: String(grant.epoch) }),
        lock: () => socket.lock(process),
      },
    })
    this.launcher.start()
    void this.launcher.ended.then(() => process.act(() => exited(process)))
  }

  terminate(): void {
    this.launcher.dispatch({ type: 'leave', defect: null })
  }

  orphan(): void {
    this.launcher.dispatch({ type: 'orphaned' })
  }

  filesChanged(): void {
    this.process.deliver(() => this.content?.look())
  }

  get prepared(): boolean {
    return this.standby?.view.state === 'ready'
  }

  get standbyPrepares(): boolean {
    return this.standby?.view.state === 'preparing'
  }

  get standbyHangs(): boolean {
    return this.standby?.process?.hangs ?? false
  }

  loseStandby(): void {
    this.process.deliver(() => this.standby?.process?.lose())
  }

  private tree() {
    const { process, replica } = this
    return workloadTree(process, (epoch, exited) => this.spawn(epoch, exited), replica.workload)
  }

  private spawn(epoch: number, exited: (exit: Exit) => void): Workload {
    const { process, replica, world, standby } = this
    const { behaviour, workload: earlier } = replica
    const start = { epoch, prepared: (standby?.take() ?? null) !== null }
    const workload = new Workload(replica, world.random, process, start, exited)
    replica.workload = workload
    if (behaviour.diesAtStart)
      workload.process.after(world.random.between(10, 500), () => workload.exit(false))
    world.started(replica, workload, earlier)
    return workload
  }
}
