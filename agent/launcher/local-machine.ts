import type { Clock } from '../clock.ts'
import { holdLock } from '../link/launcher-lock.ts'
import type { Grant } from '../link/link-messages.ts'
import type { Log } from '../observe/log.ts'
import { describeTaken, isPortFree } from '../processes/port.ts'
import { createProcessTree, type ProcessTree } from '../processes/process-tree.ts'
import { type Reaper, spawnCommand } from '../processes/spawn.ts'
import type { EnvFiles } from './env-files.ts'
import { coldStart } from './langflow-command.ts'
import type { LauncherMachine } from './launcher.ts'
import { ServingProcesses } from './serving-processes.ts'
import { type WarmStandby, warmStandby } from './standby/warm-standby.ts'
import { standbyEnvironment, workloadEnvironment } from './workload-environment.ts'

/** Variable that marks the workload's processes, so that they are found after any change of parent or session. */
export const MARKER = 'LANGFLOW_LEADER_TREE'

export interface LocalMachineParts {
  readonly clock: Clock
  readonly command: readonly string[]
  readonly env: EnvFiles
  /** The launcher is PID 1, alone in its namespace. */
  readonly alone: boolean
  readonly reaper: Reaper
  readonly socket: string
  readonly log: Pick<Log, 'info'>
}

/** The container or machine that the launcher runs in. */
export class LocalMachine implements LauncherMachine {
  readonly clock: Clock
  private readonly parts: LocalMachineParts
  private standby: WarmStandby | null = null

  constructor(parts: LocalMachineParts) {
    this.clock = parts.clock
    this.parts = parts
  }

  tree(mark: string): ProcessTree {
    const { clock, alone, reaper } = this.parts
    return createProcessTree({
      marker: { name: MARKER, value: mark },
      clock,
      alone,
      reaper,
      spawn: async (command, env) => {
        const prepared = this.standby?.take()?.resume(env) ?? null
        if (prepared !== null) return prepared
        const start = coldStart(command, env)
        return spawnCommand(start.command, start.env, reaper)
      },
    })
  }

  newStandby(mark: () => string, startTimeoutMs: number, changed: () => void): WarmStandby {
    const { clock, command, env, reaper } = this.parts
    const environment = () => ({ ...standbyEnvironment(env.environment), [MARKER]: mark() })
    this.standby = warmStandby({ startTimeoutMs, command, environment, clock, reaper, changed })
    return this.standby
  }

  async portHolder(port: number): Promise<string | null> {
    return isPortFree(port) ? null : describeTaken(port)
  }

  serving(port: number, child: number): ServingProcesses {
    const { clock, log } = this.parts
    return new ServingProcesses({ port, child, clock, log })
  }

  async readEnvironment(): Promise<string | null> {
    const { env } = this.parts
    await env.read()
    return env.refusal
  }

  environment(grant: Pick<Grant, 'epoch' | 'identity'>): NodeJS.ProcessEnv {
    return workloadEnvironment(this.parts.env.environment, grant)
  }

  lock(): object | null {
    return holdLock(this.parts.socket)
  }
}
