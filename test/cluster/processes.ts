import { spawn } from 'node:child_process'
import { openSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { commandLineOf, readProcesses } from '../../agent/processes/proc.ts'
import { kill, readOrEmpty } from '../harness/processes.ts'
import { lives } from '../harness/scene.ts'
import { until } from '../harness/wait.ts'
import { containersOf, type Pod } from './kube.ts'

interface Process {
  readonly pid: number
  /** The command line: words that each end with NUL. */
  readonly command: string
}

/** The live processes of a container. */
export function processesOf(pod: Pod, container: string): Process[] {
  const id = containersOf(pod)
    .find(({ name }) => name === container)
    ?.containerID?.split('//')[1]
  return inCgroups(id as string)
}

/** Sends SIGKILL to all processes of both containers, which the kubelet then restarts in the same pod. */
export function killContainers(pod: Pod): void {
  for (const container of ['langflow', 'agent']) kill(processesOf(pod, container).map(({ pid }) => pid))
}

/** Returns a program of the node, such as `kube-apiserver`. Throws if it doesn't run. */
export function nodeProgram(name: string): Process {
  const found = [...readProcesses().values()].find(({ pid, comm }) => comm === name && lives(pid))
  if (found === undefined) throw new Error(`${name} does not run on this node`)
  return { pid: found.pid, command: commandLineOf(found.pid) }
}

function inCgroups(part: string): Process[] {
  return [...readProcesses().keys()]
    .filter((pid) => lives(pid) && readOrEmpty(`/proc/${pid}/cgroup`).includes(part))
    .map((pid) => ({ pid, command: commandLineOf(pid) }))
}

/**
 * Kills the kubelet and all processes of all pods, as if the node had lost power, and restarts the kubelet with the same command
 * line. The new kubelet ends with the cluster, not with this program.
 */
export async function restartNode(): Promise<void> {
  const { pid, command } = nodeProgram('kubelet')
  process.kill(pid, 'SIGKILL')
  await until('the end of the kubelet', () => !lives(pid), 10_000)
  kill(inCgroups('/kubepods').map(({ pid }) => pid))
  const [, ...args] = command.split('\0').filter((word) => word !== '')
  const directory = dirname(process.env.KUBECONFIG as string)
  const log = openSync(join(directory, 'log/kubelet-restarted.log'), 'a')
  spawn('kubelet', args, { cwd: join(directory, 'pki'), detached: true, stdio: ['ignore', log, log] }).unref()
}
