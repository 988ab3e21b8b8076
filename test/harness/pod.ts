import { spawnSync } from 'node:child_process'
import { copyFileSync, linkSync, mkdirSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { delimiter, join } from 'node:path'
import { isDead, type ProcessStat, readProcesses } from '../../agent/processes/proc.ts'
import type { AgentStatus } from '../../agent/status/agent-status.ts'
import { BUNDLE } from './bundle.ts'
import { freePort } from './free-port.ts'
import { LoggedProcess } from './logged-process.ts'
import { readOrEmpty } from './processes.ts'
import { ask, askStatus, commandLine, type ReplicaOptions } from './replica.ts'
import { until } from './wait.ts'

const GRACE_MS = 45_000
const asRoot = process.getuid?.() === 0
export const NAMESPACE = [...(asRoot ? [] : ['--user', '--map-root-user']), '--pid', '--fork', '--mount-proc']

function findTini(): string | undefined {
  const places = (process.env.PATH ?? '').split(delimiter)
  const found = ['tini-static', 'tini'].flatMap((name) => places.map((path) => join(path, name)))
  return found.find((path) => spawnSync(path, ['--version']).status === 0)
}

/** Directory with this `node` and a `tini`, as `install` copies them into LangFlow's container. */
let programs: string | undefined

function installedPrograms(): string {
  if (programs === undefined) {
    programs = mkdtempSync(join(tmpdir(), 'programs-'))
    const directory = programs
    process.once('exit', () => rmSync(directory, { recursive: true, force: true }))
    copyFileSync(findTini() as string, join(directory, 'tini'))
    try {
      linkSync(process.execPath, join(directory, 'node'))
    } catch {
      // The directory is on another disk.
      copyFileSync(process.execPath, join(directory, 'node'))
    }
  }
  return programs
}

export function podObstacle(): string | undefined {
  if (findTini() === undefined) return 'tini is not installed (package tini)'
  const tried = spawnSync('unshare', [...NAMESPACE, 'true'], { encoding: 'utf8' })
  return tried.status === 0
    ? undefined
    : `cannot make a PID namespace: ${tried.error?.message ?? tried.stderr}`
}

interface ContainerTree {
  readonly launcher: ProcessStat
  /** The tini that starts the workload and reaps its processes. `undefined` while no workload runs. */
  readonly tini: ProcessStat | undefined
  /** The processes below tini, level by level, each level with the oldest first. */
  readonly workload: readonly ProcessStat[]
  readonly all: readonly ProcessStat[]
}

/** Agent and LangFlow container as in a pod: the launcher is PID 1 of its own PID namespace, and a socket connects both. */
export class Pod {
  readonly options: ReplicaOptions
  readonly port: number
  readonly httpPort: number
  readonly directory: string
  agent!: LoggedProcess
  container!: LoggedProcess

  private constructor(options: ReplicaOptions, directory: string, port: number, httpPort: number) {
    this.options = options
    this.directory = directory
    this.port = port
    this.httpPort = httpPort
    mkdirSync(directory)
  }

  static async start(options: ReplicaOptions, directory: string): Promise<Pod> {
    const pod = new Pod(
      options,
      directory,
      options.port ?? (await freePort()),
      options.httpPort ?? (await freePort()),
    )
    pod.startAgent()
    pod.startContainer()
    return pod
  }

  startAgent(main = this.options.main ?? BUNDLE): void {
    const { identity, env, agentEntry = [], agentFlags = [] } = this.options
    const { agent } = commandLine(this.options, this.port, this.httpPort)
    const node = [...agentEntry, process.execPath, ...agentFlags, main]
    const paths = [`--socket=${this.#socket}`, `--state-dir=${this.directory}/state`]
    this.agent = new LoggedProcess(`agent of ${identity}`, [...node, 'agent', ...agent, ...paths], env)
  }

  startContainer(): void {
    const { identity, env, entry = [], launcherFlags = [], main = BUNDLE } = this.options
    const { workload } = commandLine(this.options, this.port, this.httpPort)
    const node = join(this.options.programs ?? installedPrograms(), 'node')
    const launcher = [node, '--disable-sigusr1', ...launcherFlags, main, 'launch', `--socket=${this.#socket}`]
    const command = ['unshare', ...NAMESPACE, ...entry, ...launcher, '--', ...workload]
    this.container = new LoggedProcess(`container of ${identity}`, command, env)
  }

  /** Resolves once the agent's status reports an open watch of the Lease. Rejects after 30 s. */
  watching(): Promise<void> {
    return until(
      `${this.options.identity} watches the Lease`,
      async () => (await this.status()).lease.watch === 'up',
    )
  }

  get #socket(): string {
    return `${this.directory}/run/launcher.sock`
  }

  get(path: string): Promise<{ status: number; text: string }> {
    return ask(this.httpPort, path)
  }

  status(): Promise<AgentStatus> {
    return askStatus(this.httpPort)
  }

  kill(): void {
    this.agent.signal('SIGKILL')
    if (!this.container.ended) process.kill(this.launcherPid(), 'SIGKILL')
  }

  launcherPid(): number {
    const launcher = this.tree()?.launcher
    if (launcher === undefined) throw new Error('the container has no launcher')
    return launcher.pid
  }

  /** The live processes of the container, with pids outside its namespace. `undefined` before its start and after its end. */
  tree(): ContainerTree | undefined {
    const living = [...readProcesses().values()].filter((stat) => !isDead(stat))
    const childrenOf = ({ pid }: { readonly pid: number }) =>
      living
        .filter(({ ppid }) => ppid === pid)
        .sort((a, b) => Number(a.startTime) - Number(b.startTime) || a.pid - b.pid)
    const [launcher] = childrenOf(this.container)
    if (launcher === undefined) return undefined
    const below = (top: ProcessStat) => {
      const found = childrenOf(top)
      for (const one of found) found.push(...childrenOf(one))
      return found
    }
    const [tini] = childrenOf(launcher)
    return { launcher, tini, workload: tini === undefined ? [] : below(tini), all: below(launcher) }
  }

  hostPid(pid: number): number {
    const pattern = new RegExp(`^NSpid:\\s.*\\s${pid}$`, 'm')
    const found = this.tree()?.all.find((stat) => pattern.test(readOrEmpty(`/proc/${stat.pid}/status`)))
    if (found === undefined) throw new Error(`the container has no process ${pid}`)
    return found.pid
  }

  /**
   * Ends the pod as the kubelet does: first the LangFlow container, then the sidecar. After its grace period the container is
   * killed: PID 1 ignores a SIGTERM that arrives before its handler is installed.
   */
  async stop(): Promise<void> {
    const signal = (name: NodeJS.Signals) => {
      if (this.container.ended) return
      try {
        process.kill(this.launcherPid(), name)
      } catch {
        this.container.signal(name)
      }
    }
    signal('SIGTERM')
    const grace = setTimeout(() => signal('SIGKILL'), GRACE_MS)
    await this.container.exited
    clearTimeout(grace)
    await this.agent.stop()
  }
}
