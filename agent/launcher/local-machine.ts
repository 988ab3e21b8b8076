import { systemClock as clock } from '../clock.ts'
import type { LauncherOptions } from '../config/options.ts'
import { holdLock } from '../link/launcher-lock.ts'
import type { Log } from '../observe/log.ts'
import { isPortFree } from '../processes/port.ts'
import { createProcessTree } from '../processes/process-tree.ts'
import { type Reaper, spawnCommand } from '../processes/spawn.ts'
import type { EnvFiles } from './env-files.ts'
import { coldStart } from './langflow-command.ts'
import { ServingProcesses } from './serving-processes.ts'
import { type WarmStandby, warmStandby } from './standby/warm-process.ts'
import { standbyEnvironment, workloadEnvironment } from './workload-environment.ts'
import type { LauncherMachine } from './workload-processes.ts'

/** Marks the workload's processes, so that they are found after any change of parent or session. */
export const MARKER = 'LANGFLOW_LEADER_TREE'

export function localMachine(
  { command, socket }: Pick<LauncherOptions, 'command' | 'socket'>,
  env: EnvFiles,
  alone: boolean,
  reaper: Reaper,
  log: Pick<Log, 'info'>,
): LauncherMachine {
  let standby: WarmStandby | null = null

  const spawn = async (words: readonly string[], environment: NodeJS.ProcessEnv) => {
    const prepared = standby?.take()?.resume(environment) ?? null
    if (prepared !== null) return prepared
    const start = coldStart(words, environment)
    return spawnCommand(start.command, start.env, reaper)
  }

  return {
    clock,
    command,
    tree: (mark) => createProcessTree({ marker: { name: MARKER, value: mark }, clock, alone, reaper, spawn }),
    newStandby(mark, startTimeoutMs, changed) {
      const environment = () => ({ ...standbyEnvironment(env.environment), [MARKER]: mark() })
      standby = warmStandby({ startTimeoutMs, command, environment, clock, reaper, changed })
      return standby
    },
    portHolder: async (port) => (isPortFree(port) ? null : `port ${port} is already taken`),
    serving: (port, child) => new ServingProcesses({ port, child, clock, log }),
    async readEnvironment() {
      await env.read()
      return env.refusal
    },
    environment: (grant) => workloadEnvironment(env.environment, grant),
    lock: () => holdLock(socket),
  }
}
