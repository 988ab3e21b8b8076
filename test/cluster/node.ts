import { spawn } from 'node:child_process'
import { openSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { eventually } from '../bench/takeover/wait.ts'
import { isAlive, nodeProgram, type Process, podProcesses } from './processes.ts'

/** Kills the kubelet, and resolves to what it was once it is gone. */
export async function stopKubelet(): Promise<Process> {
  const kubelet = nodeProgram('kubelet')
  process.kill(kubelet.pid, 'SIGKILL')
  await eventually('the kubelet is gone', 10_000, () => !isAlive(kubelet.pid))
  return kubelet
}

/** Kills every process of every pod, as a node that loses its power does. */
export function killPods(): void {
  for (const { pid } of podProcesses()) {
    try {
      process.kill(pid, 'SIGKILL')
    } catch {
      // Ended with another one.
    }
  }
}

/** Starts it again with its command line. It ends with the cluster, not with this program. */
export function startKubelet({ command }: Process): void {
  const [, ...args] = command.split('\0').filter((word) => word !== '')
  const directory = dirname(process.env.KUBECONFIG as string)
  const log = openSync(join(directory, 'log/kubelet-restarted.log'), 'a')
  spawn('kubelet', args, { cwd: join(directory, 'pki'), detached: true, stdio: ['ignore', log, log] }).unref()
}
