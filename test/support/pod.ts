import { spawnSync } from 'node:child_process'
import { mkdirSync, readFileSync, readlinkSync } from 'node:fs'
import { delimiter, join } from 'node:path'
import type { AgentStatus } from '../../agent/observe/status.ts'
import { isDead, readProcesses } from '../../agent/workload/proc.ts'
import { freePort } from './free-port.ts'
import { LoggedProcess } from './logged-process.ts'
import { ask, commandLine, MAIN, type ReplicaOptions } from './replica.ts'
import { until } from './until.ts'

const asRoot = process.getuid?.() === 0
export const NAMESPACE = [...(asRoot ? [] : ['--user', '--map-root-user']), '--pid', '--fork', '--mount-proc']

function findTini(): string | undefined {
  return (process.env.PATH ?? '')
    .split(delimiter)
    .map((path) => join(path, 'tini'))
    .find((path) => spawnSync(path, ['--version']).status === 0)
}

/** Why a pod cannot be imitated on this machine; `undefined`: it can. */
export function podObstacle(): string | undefined {
  if (findTini() === undefined) return 'tini is not installed (package tini)'
  const tried = spawnSync('unshare', [...NAMESPACE, 'true'], { encoding: 'utf8' })
  return tried.status === 0
    ? undefined
    : `no PID namespace to be had: ${tried.error?.message ?? tried.stderr}`
}

/** Agent and LangFlow container as in a pod: the launcher and its tini alone in a PID namespace, a socket between them. */
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
    const pod = new Pod(options, directory, options.port ?? (await freePort()), await freePort())
    pod.startAgent()
    pod.startContainer()
    return pod
  }

  startAgent(): void {
    const { agent } = commandLine(this.options, this.port, this.httpPort)
    this.agent = new LoggedProcess(
      `agent of ${this.options.identity}`,
      [
        ...(this.options.agentEntry ?? []),
        process.execPath,
        this.main,
        'agent',
        ...agent,
        `--socket=${this.directory}/run/launcher.sock`,
        `--state-dir=${this.directory}/state`,
      ],
      this.options.env,
    )
  }

  startContainer(): void {
    const { workload } = commandLine(this.options, this.port, this.httpPort)
    const launch = [
      process.execPath,
      this.main,
      'launch',
      `--socket=${this.directory}/run/launcher.sock`,
      '--',
      ...workload,
    ]
    this.container = new LoggedProcess(
      `container of ${this.options.identity}`,
      ['unshare', ...NAMESPACE, ...(this.options.entry ?? []), findTini() as string, '--', ...launch],
      this.options.env,
    )
  }

  /** Resolves once its agent says that its watch of the Lease is open; rejects after 30 s. */
  watching(): Promise<void> {
    return until(`${this.options.identity} watches the Lease`, async () => {
      const status = JSON.parse((await this.get('/status')).text) as AgentStatus
      return status.lease.watch === 'up'
    })
  }

  private get main(): string {
    return this.options.main ?? MAIN
  }

  get(path: string): Promise<{ status: number; text: string }> {
    return ask(this.httpPort, path)
  }

  /** The container's init, as seen from here: what the kubelet signals. */
  initPid(): number {
    const init = [...readProcesses().values()].find(
      (stat) => stat.ppid === this.container.pid && !isDead(stat),
    )
    if (init === undefined) throw new Error('the container has no init')
    return init.pid
  }

  /** The launcher, as seen from here: the init's only child at first. */
  launcherPid(): number {
    const init = this.initPid()
    const children = [...readProcesses().values()].filter((stat) => stat.ppid === init)
    const first = children.sort((a, b) => Number(a.startTime) - Number(b.startTime))[0]
    if (first === undefined) throw new Error('the container has no launcher')
    return first.pid
  }

  /** A process of the container, seen from here, by what it calls itself. */
  hostPid(pid: number): number {
    const init = this.initPid()
    const pattern = new RegExp(`^NSpid:\\s.*\\s${pid}$`, 'm')
    const found = [...readProcesses().values()].find(
      (stat) => namespaceOf(stat.pid) === namespaceOf(init) && pattern.test(statusOf(stat.pid)),
    )
    if (found === undefined) throw new Error(`the container has no process ${pid}`)
    return found.pid
  }

  /** As the kubelet ends a pod: the LangFlow container first, the sidecar after it. */
  async stop(): Promise<void> {
    if (!this.container.ended) {
      try {
        process.kill(this.initPid(), 'SIGTERM')
      } catch {
        this.container.signal('SIGTERM')
      }
    }
    await this.container.exited
    await this.agent.stop()
  }
}

function namespaceOf(pid: number): string {
  try {
    return readlinkSync(`/proc/${pid}/ns/pid`)
  } catch {
    return ''
  }
}

function statusOf(pid: number): string {
  try {
    return readFileSync(`/proc/${pid}/status`, 'latin1')
  } catch {
    return ''
  }
}
