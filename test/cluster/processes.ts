import { spawn } from 'node:child_process'
import { openSync, readdirSync, readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { until } from '../harness/wait.ts'
import type { ContainerStatus, Pod } from './objects.ts'

export interface Process {
  readonly pid: number
  readonly command: string
}

/** The processes of one container of a pod, as seen from the node. Throws where it has none. */
export function processesOf(pod: Pod, container: string): Process[] {
  const { containerStatuses = [], initContainerStatuses = [] } = pod.status
  const status = [...containerStatuses, ...initContainerStatuses].find(({ name }) => name === container)
  const id = status && idOf(status)
  const found = id ? processes((cgroups) => cgroups.includes(id)) : []
  if (found.length === 0) throw new Error(`container ${container} of ${pod.metadata.name} has no process`)
  return found
}

/** Every process of every pod on this node. */
export function podProcesses(): Process[] {
  return processes((cgroups) => cgroups.includes('/kubepods'))
}

/** A program of the node, e.g. `kube-apiserver`. Throws where it does not run. */
export function nodeProgram(name: string): Process {
  const found = processes(() => true).find(
    ({ command }) => command.split('\0')[0]?.split('/').at(-1) === name,
  )
  if (found === undefined) throw new Error(`no ${name} runs here`)
  return found
}

/** The one process whose command line has all these words. Throws where it is not one. */
export function theOne(all: readonly Process[], ...words: readonly string[]): Process {
  const found = all.filter(({ command }) => words.every((word) => command.includes(word)))
  if (found.length !== 1 || found[0] === undefined)
    throw new Error(`${found.length} processes have ${words.join(' and ')} in their command line`)
  return found[0]
}

export function isAlive(pid: number): boolean {
  return read(pid, 'stat').match(/\) [^ZX]/) !== null
}

function idOf({ containerID }: ContainerStatus): string | undefined {
  return containerID?.split('//')[1]
}

function processes(matches: (cgroups: string) => boolean): Process[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .map(Number)
    .filter((pid) => isAlive(pid) && matches(read(pid, 'cgroup')))
    .map((pid) => ({ pid, command: read(pid, 'cmdline') }))
}

function read(pid: number, file: string): string {
  try {
    return readFileSync(`/proc/${pid}/${file}`, 'utf8')
  } catch {
    return ''
  }
}

/** Kills the kubelet, and resolves to what it was once it is gone. */
export async function stopKubelet(): Promise<Process> {
  const kubelet = nodeProgram('kubelet')
  process.kill(kubelet.pid, 'SIGKILL')
  await until('the kubelet is gone', () => !isAlive(kubelet.pid), 10_000)
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
