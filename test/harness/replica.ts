import { dirname } from 'node:path'
import { fileURLToPath } from 'node:url'
import type { AgentStatus } from '../../agent/observe/agent-status.ts'
import { BUNDLE } from './bundle.ts'
import { freePort } from './free-port.ts'
import { LoggedProcess } from './logged-process.ts'

export const WORKLOAD = fileURLToPath(new URL('./workload.mjs', import.meta.url))

/**
 * A lease that fits a test: four to five times faster than by default. Within half of the kill margin the launcher has to
 * kill, or its agent does without it, also where several tests share the machine; and doubt lasts for long enough to end.
 */
export const FAST = [
  '--lease-duration=4s',
  '--renew-deadline=2s',
  '--retry-period=400ms',
  '--kill-margin=600ms',
]

export interface ReplicaOptions {
  readonly identity: string
  readonly kubeconfig: string
  readonly namespace?: string
  /** Where the workloads of all replicas write. */
  readonly beats: string
  /** Options of the stand-in workload. */
  readonly workload?: readonly string[]
  readonly flags?: readonly string[]
  /** Instead of the stand-in workload; it is given the port and the log as that one is. */
  readonly program?: readonly string[]
  /** Instead of any workload of ours. */
  readonly command?: readonly string[]
  readonly port?: number
  readonly env?: NodeJS.ProcessEnv
  /** Of a pod: a command that makes ready what its container sees, and executes the rest of its arguments. */
  readonly entry?: readonly string[]
  /** The same for its agent. */
  readonly agentEntry?: readonly string[]
  /** Options of the node that its agent, or its launcher, runs in. */
  readonly agentFlags?: readonly string[]
  readonly launcherFlags?: readonly string[]
  /** Where the node and the tini of its launcher are, by default this node and the machine's tini. */
  readonly programs?: string
  /** The program, by default as it is delivered. */
  readonly main?: string
}

/** The agent's flags, and what it is to run. */
export function commandLine(options: ReplicaOptions, port: number, httpPort: number) {
  return {
    agent: [
      `--identity=${options.identity}`,
      `--kubeconfig=${options.kubeconfig}`,
      `--lease-namespace=${options.namespace ?? 'default'}`,
      `--listen=127.0.0.1:${httpPort}`,
      `--target=http://127.0.0.1:${port}`,
      ...(options.flags ?? FAST),
    ],
    workload: options.command ?? [
      ...(options.program ?? [process.execPath, WORKLOAD]),
      String(port),
      options.beats,
      ...(options.workload ?? []),
    ],
  }
}

/** What an agent answers over HTTP. Rejects where nobody listens, and after `withinMs`. */
export async function ask(
  httpPort: number,
  path: string,
  withinMs?: number,
): Promise<{ status: number; text: string }> {
  const signal = withinMs === undefined ? null : AbortSignal.timeout(withinMs)
  const response = await fetch(`http://127.0.0.1:${httpPort}${path}`, { signal })
  return { status: response.status, text: await response.text() }
}

export async function askStatus(httpPort: number, withinMs?: number): Promise<AgentStatus> {
  return JSON.parse((await ask(httpPort, '/status', withinMs)).text) as AgentStatus
}

/** A real replica as a child process: `run`, agent and launcher in one tree. */
export class Replica extends LoggedProcess {
  readonly port: number
  readonly httpPort: number

  private constructor(options: ReplicaOptions, port: number, httpPort: number) {
    const { agent, workload } = commandLine(options, port, httpPort)
    const main = options.main ?? BUNDLE
    // A replica that is killed whole cannot remove its private directory: it lies where the test's own things do.
    const env = { TMPDIR: dirname(options.kubeconfig), ...options.env }
    super(options.identity, [process.execPath, main, 'run', ...agent, '--', ...workload], env)
    this.port = port
    this.httpPort = httpPort
  }

  static async start(options: ReplicaOptions): Promise<Replica> {
    return new Replica(options, options.port ?? (await freePort()), await freePort())
  }

  get(path: string): Promise<{ status: number; text: string }> {
    return ask(this.httpPort, path)
  }

  status(): Promise<AgentStatus> {
    return askStatus(this.httpPort)
  }

  /** As the agent last saw it. */
  launcherPid(): number {
    return this.lastNumber('launcherPid')
  }

  workloadPid(): number {
    return this.lastNumber('pid')
  }
}
