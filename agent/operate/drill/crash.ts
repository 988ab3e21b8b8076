import type { KubeObject } from '../../kube/objects.ts'
import { DEFAULT_PORT } from '../../manifests/workload.ts'
import { containersOf, saidBy } from '../agent-container.ts'
import { mayHaveHappened, OperationError } from '../exit-codes.ts'
import type { Hands } from './hands.ts'

/** What can be killed, and by which program of its own container; no container of ours has a shell. */
export interface Victim {
  readonly container: string
  /** Node, as that container has it. */
  readonly node: string
  /** The function that finds and kills it, as text, with its arguments. */
  readonly script: string
}

const PROGRAM = 'langflow-leader.mjs'
/** Of the agent's image. */
const AGENT_NODE = '/usr/lib/langflow-leader/node'
/** Of a command that SIGKILL ended, as it does with its container. */
const KILLED = 137

/** The agent of a pod: what the init of its container started. Throws an `OperationError` where it has no container of its own. */
export function agentVictim(pod: KubeObject): Victim {
  const agent = containersOf(pod).find(
    ({ command, args = [] }) => command === undefined && args[0] === 'agent',
  )
  if (agent === undefined)
    throw new OperationError(
      'impossible',
      `no container of ${pod.metadata.name} runs the agent alone: drill another scenario`,
    )
  return { container: agent.name, node: AGENT_NODE, script: `(${killAgent})()` }
}

/** The worker of a pod's LangFlow. Throws an `OperationError` where no container of the pod has a launcher. */
export function workerVictim(pod: KubeObject): Victim {
  const containers = containersOf(pod)
  const launched = containers.find(({ command = [] }) => command[2]?.endsWith(PROGRAM))
  const node = launched?.command?.[0]
  if (launched === undefined || node === undefined)
    throw new OperationError(
      'impossible',
      `no container of ${pod.metadata.name} starts LangFlow by ${PROGRAM}: drill another scenario`,
    )
  const target = containers
    .map((container) => saidBy(container, '--target', 'LEADER_TARGET'))
    .map((text) => Number(/:(\d+)\/?$/.exec(text ?? '')?.[1]))
    .find((port) => port > 0)
  return { container: launched.name, node, script: `(${killWorker})(${target ?? DEFAULT_PORT})` }
}

/** Sees whether a command can be run there at all, and changes nothing. */
export async function rehearse(hands: Hands, pod: KubeObject, { container, node }: Victim): Promise<void> {
  const { exitCode, stderr } = await hands.execute(pod.metadata.name, container, [node, '--version'])
  if (exitCode === 0) return
  throw new OperationError(
    'impossible',
    `${node} cannot be run in the container ${container} of ${pod.metadata.name} (${stderr.trim() || `exit code ${exitCode}`})`,
  )
}

/**
 * Resolves to how it was killed, in a few words, with its pid as its container numbers it. They say so where that is not known: what
 * ends the container ends the answer as well. Rejects with an `OperationError` where nothing was killed.
 */
export async function kill(
  hands: Hands,
  pod: KubeObject,
  { container, node, script }: Victim,
): Promise<string> {
  const executed = await hands
    .execute(pod.metadata.name, container, [node, '--eval', script])
    .catch((error: Error) => {
      if (mayHaveHappened(error)) return error.message
      throw error
    })
  if (typeof executed === 'string') return unsure(executed)
  const { exitCode, stdout, stderr } = executed
  const [, pid] = /^killing (\d+)$/m.exec(stdout) ?? []
  if (pid !== undefined) return `pid ${pid}, SIGKILL`
  if (exitCode === null || exitCode === KILLED) return unsure('the command ended before it said so')
  const why = stderr.trim().split('\n').at(-1) || 'it says nothing'
  throw new OperationError(
    'failed',
    `nothing was killed in ${pod.metadata.name}, container ${container}: ${why}`,
  )
}

function unsure(why: string): string {
  return `SIGKILL; whether it came is not known: ${why}`
}

// What follows runs in a pod, as the text of each function: they use nothing but their arguments and Node.

/** PID 1 is tini there, and its child the agent. Says which it is first: with it the container ends, and whatever runs in it. */
export function killAgent(init = 1): void {
  const { readdirSync, readFileSync, writeSync } = process.getBuiltinModule('node:fs')
  const pids = readdirSync('/proc').filter((name) => /^\d+$/.test(name))
  const agent = pids.map(Number).find((pid) => {
    try {
      const stat = readFileSync(`/proc/${pid}/stat`, 'latin1')
      return Number(stat.slice(stat.lastIndexOf(')') + 2).split(' ')[1]) === init
    } catch {
      return false
    }
  })
  if (agent === undefined) throw new Error('no process is the child of the first one')
  writeSync(1, `killing ${agent}\n`)
  process.kill(agent, 'SIGKILL')
}

/**
 * The worker is who accepts connections: it has the listening socket in an epoll instance. gunicorn's master holds that socket
 * as well and never accepts; what a worker has forked shares its instance.
 */
export function killWorker(port: number): void {
  const { readdirSync, readFileSync, readlinkSync, writeSync } = process.getBuiltinModule('node:fs')
  const read = <T>(get: () => T, otherwise: T): T => {
    try {
      return get()
    } catch {
      return otherwise
    }
  }
  const hex = `:${port.toString(16).toUpperCase().padStart(4, '0')}`
  const inodes = ['/proc/net/tcp', '/proc/net/tcp6']
    .flatMap((file) => read(() => readFileSync(file, 'latin1'), '').split('\n'))
    .map((line) => line.trim().split(/\s+/))
    .filter(([, local, , state]) => local?.endsWith(hex) && state === '0A')
    .map((fields) => ` ino:${Number(fields[9]).toString(16)} `)
  const parents = new Map<number, number>()
  for (const name of readdirSync('/proc').filter((one) => /^\d+$/.test(one))) {
    const stat = read(() => readFileSync(`/proc/${name}/stat`, 'latin1'), '')
    const parent = Number(stat.slice(stat.lastIndexOf(')') + 2).split(' ')[1])
    const polled = read(() => readdirSync(`/proc/${name}/fd`), [])
      .filter((fd) => read(() => readlinkSync(`/proc/${name}/fd/${fd}`), '') === 'anon_inode:[eventpoll]')
      .map((fd) => read(() => readFileSync(`/proc/${name}/fdinfo/${fd}`, 'latin1'), ''))
      .join('')
    if (inodes.some((inode) => polled.includes(inode))) parents.set(Number(name), parent)
  }
  const worker = [...parents].find(([, parent]) => !parents.has(parent))?.[0]
  if (worker === undefined) throw new Error(`nobody accepts connections on port ${port}`)
  writeSync(1, `killing ${worker}\n`)
  process.kill(worker, 'SIGKILL')
}
