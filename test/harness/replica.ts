import { dirname } from 'node:path'
import { fileURLToPath } from 'node:url'
import type { AgentStatus } from '../../agent/status/agent-status.ts'
import { BUNDLE } from './bundle.ts'
import { freePort } from './free-port.ts'
import { LoggedProcess } from './logged-process.ts'

export const WORKLOAD = fileURLToPath(new URL('./workload.mjs', import.meta.url))

/** Timings with which a leader's loss is noticed soon, even beside a real LangFlow on a busy machine. */
export const QUICK = ['--lease-duration=6s', '--renew-deadline=4s', '--retry-period=1s']
/**
 * Four to five times faster than the defaults. They leave enough time even if several tests share the machine: the launcher must kill
 * within half of the kill margin, or its agent kills instead; and doubt must last long enough to end.
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
  readonly beats: string
  readonly workload?: readonly string[]
  readonly flags?: readonly string[]
  /** The program to run instead of the stand-in workload. It gets the same arguments: the port and the log. */
  readonly program?: readonly string[]
  /** The whole command to run instead of a stand-in workload. */
  readonly command?: readonly string[]
  readonly port?: number
  readonly httpPort?: number
  readonly env?: NodeJS.ProcessEnv
  readonly directory?: string
  /** Only for a pod: a command that prepares what its container sees, then executes the rest of its arguments. */
  readonly entry?: readonly string[]
  readonly agentEntry?: readonly string[]
  /** Options for the `node` of the agent, and for the `node` of the launcher. */
  readonly agentFlags?: readonly string[]
  readonly launcherFlags?: readonly string[]
  readonly programs?: string
  readonly main?: string
}

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

/** Sends a request to an agent. Rejects if no agent listens on the port, and after `withinMs`. */
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

/** A real replica as a child process: `run`, with agent and launcher in one process tree. */
export class Replica extends LoggedProcess {
  readonly port: number
  readonly httpPort: number

  private constructor(options: ReplicaOptions, port: number, httpPort: number) {
    const { agent, workload } = commandLine(options, port, httpPort)
    const main = options.main ?? BUNDLE
    // A replica that is killed whole can't remove its private directory, so that directory must be in the test's own.
    const env = { TMPDIR: dirname(options.kubeconfig), ...options.env }
    super(options.identity, [process.execPath, main, 'run', ...agent, '--', ...workload], env)
    this.port = port
    this.httpPort = httpPort
  }

  static async start(options: ReplicaOptions): Promise<Replica> {
    return new Replica(options, options.port ?? (await freePort()), options.httpPort ?? (await freePort()))
  }

  get(path: string): Promise<{ status: number; text: string }> {
    return ask(this.httpPort, path)
  }

  status(): Promise<AgentStatus> {
    return askStatus(this.httpPort)
  }

  launcherPid(): number {
    return this.lastNumber('launcherPid')
  }

  workloadPid(): number {
    return this.lastNumber('pid')
  }
}
