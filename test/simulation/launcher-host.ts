import { Launcher } from '../../agent/launcher/launcher.ts'
import { readBoot } from '../../agent/link/client.ts'
import type { WorkloadView } from '../../agent/link/messages.ts'
import type { Exit } from '../../agent/processes/process-tree.ts'
import { LauncherEnd, type Socket } from './link.ts'
import type { Process } from './process.ts'
import type { Random } from './random.ts'
import { ModelStandby, type Preparing } from './standby.ts'
import { type Start, type Workload, WorkloadTree } from './workload.ts'

export interface LauncherHostParts {
  readonly process: Process
  readonly socket: Socket
  /** In a PID namespace of its own, which ends with it. */
  readonly alone: boolean
  /** The version of its LangFlow; `null`: nobody knows. */
  readonly langflow: string | null
  readonly stopTimeoutMs: number
  readonly portTaken: () => boolean
  readonly spawn: (start: Start, exited: (exit: Exit) => void) => Workload
  readonly random: Random
  readonly preparing: Preparing
  readonly beside: () => Workload | null
  /** What was begun beside a workload last. */
  readonly spare: () => Workload | null
  /** What was started last on this machine, by this launcher or an earlier one. */
  readonly remains: () => Workload | null
  readonly trace: (line: () => string) => void
  readonly exited: () => void
}

const PORT_LOOK_MS = 1

/** One launcher process: the real launcher on the model's link and processes, as `serveLauncher` runs it. */
export class LauncherHost {
  private readonly parts: LauncherHostParts
  private readonly launcher: Launcher
  private readonly link: LauncherEnd
  private ending = false
  private standby: ModelStandby | null = null

  constructor(parts: LauncherHostParts) {
    const { process, trace } = parts
    this.parts = parts
    this.launcher = new Launcher(
      ['langflow'],
      {
        clock: process,
        tree: () => this.tree(null),
        portHolder: () =>
          new Promise((resolve) => {
            process.after(PORT_LOOK_MS, () => resolve(parts.portTaken() ? 'the port is taken' : null))
          }),
        serving: () => ({
          check: () => parts.remains()?.takeLoss() ?? null,
          finish: () => {},
          cutOff: () => false,
          close: () => {},
        }),
        standby: () => (this.ending ? null : this.standby),
        environment: (grant) => ({ LEADER_EPOCH: String(grant.epoch) }),
      },
      (view, cause) => {
        if (cause.kind !== 'grant_refused') trace(() => `launcher: ${JSON.stringify(cause)}, ${view.state}`)
        // Before the agent can order the next start: its container is to be made anew.
        if (cause.kind === 'exited' && cause.unreaped) this.terminate()
        this.link.send({ type: 'workload', view, cause })
        this.finishIfIdle(view)
      },
    )
    this.link = new LauncherEnd(parts.socket, process, {
      hello: () => ({
        type: 'hello',
        version: 1,
        pid: 1,
        alone: parts.alone,
        mono: process.mono(),
        clocks: readBoot(process),
        ...(parts.langflow === null ? {} : { langflow: parts.langflow }),
        view: this.launcher.view(),
      }),
      received: (message) => {
        if (message.type === 'welcome') {
          if (this.ending) this.link.send({ type: 'terminating' })
          if (message.standby !== 'cold') this.standby ??= this.newStandby(message.startTimeoutMs)
          const remains = parts.alone ? null : this.tree(parts.remains())
          this.launcher.meet(message.port, remains, message.spare)
        } else if (message.type === 'ping') {
          this.link.send({ type: 'pong', id: message.id, clocks: readBoot(process) })
        } else {
          this.launcher.receive(message)
        }
      },
      down: () => {
        if (this.ending) this.launcher.stop(parts.stopTimeoutMs)
      },
    })
    this.link.start()
  }

  /** Real time since when it has had a standby that is ready; `null`: it has none. */
  get preparedSince(): number | null {
    return this.standby?.readySince ?? null
  }

  /** What is being prepared will never be ready. */
  get standbyHangs(): boolean {
    return this.standby?.hangs ?? false
  }

  loseStandby(): void {
    this.parts.process.deliver(() => this.standby?.lose())
  }

  private tree(remains: Workload | null): WorkloadTree {
    const { process, spawn, spare } = this.parts
    const dropped = () => (spare() === this.standby?.spare ? null : spare())
    return new WorkloadTree(process, spawn, () => this.standby?.take() ?? false, remains, dropped)
  }

  /** As `serveLauncher` makes it. */
  private newStandby(patienceMs: number): ModelStandby {
    const { process: launcher, random, preparing, beside } = this.parts
    const changed = () => this.launcher.standbyChanged()
    return new ModelStandby({ launcher, random, preparing, patienceMs, beside, changed })
  }

  /** SIGTERM. */
  terminate(): void {
    if (this.ending) return
    this.ending = true
    if (this.launcher.view().state === 'idle') this.finishIfIdle(this.launcher.view())
    else if (this.link.connected) this.link.send({ type: 'terminating' })
    else this.launcher.stop(this.parts.stopTimeoutMs)
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
    else this.parts.exited()
  }
}
