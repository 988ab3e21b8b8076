import assert from 'node:assert/strict'
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { createServer } from 'node:net'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import type { EventName } from '../../agent/observe/events.ts'
import type { AgentStatus } from '../../agent/observe/status.ts'

export const MAIN = fileURLToPath(new URL('../../agent/main.ts', import.meta.url))
export const WORKLOAD = fileURLToPath(new URL('./workload.mjs', import.meta.url))

/** One line of a replica's log. */
export interface Line {
  readonly level: string
  readonly time: string
  readonly component: 'agent' | 'launcher'
  readonly identity: string
  readonly event?: EventName
  readonly epoch?: number
  readonly reason?: string
  readonly msg: string
  readonly [field: string]: unknown
}

/** A lease that fits a test: everything five times faster than by default. */
export const FAST = [
  '--lease-duration=3s',
  '--renew-deadline=2s',
  '--retry-period=400ms',
  '--kill-margin=300ms',
]

/** How long any awaited event may take; no measurement, only the end of a test that hangs. */
const PATIENCE_MS = 60_000

export async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as { port: number }
  server.close()
  await once(server, 'close')
  return port
}

export interface ReplicaOptions {
  readonly identity: string
  readonly kubeconfig: string
  readonly namespace?: string
  /** Where the workloads of all replicas write. */
  readonly beats: string
  readonly workload?: readonly string[]
  readonly flags?: readonly string[]
  /** Instead of the stand-in workload. */
  readonly command?: readonly string[]
  readonly port?: number
  readonly env?: NodeJS.ProcessEnv
}

/** A real replica as a child process (`run`: agent and launcher in one tree), read through its log. */
export class Replica {
  readonly options: ReplicaOptions
  readonly port: number
  readonly httpPort: number
  readonly lines: Line[] = []
  readonly output: string[] = []
  readonly process: ChildProcess
  readonly exited: Promise<{ code: number | null; signal: NodeJS.Signals | null }>
  private readonly listeners = new Set<() => void>()

  private constructor(options: ReplicaOptions, port: number, httpPort: number) {
    this.options = options
    this.port = port
    this.httpPort = httpPort
    const workload = options.command ?? [
      process.execPath,
      WORKLOAD,
      String(port),
      options.beats,
      ...(options.workload ?? []),
    ]
    this.process = spawn(
      process.execPath,
      [
        MAIN,
        'run',
        `--identity=${options.identity}`,
        `--kubeconfig=${options.kubeconfig}`,
        `--lease-namespace=${options.namespace ?? 'default'}`,
        `--listen=127.0.0.1:${httpPort}`,
        `--target=http://127.0.0.1:${port}`,
        ...(options.flags ?? FAST),
        '--',
        ...workload,
      ],
      { stdio: ['ignore', 'pipe', 'pipe'], env: { ...process.env, ...options.env } },
    )
    for (const stream of [this.process.stdout, this.process.stderr]) {
      createInterface({ input: stream as NodeJS.ReadableStream }).on('line', (line) => this.hear(line))
    }
    this.exited = new Promise((resolve) =>
      this.process.once('close', (code, signal) => {
        resolve({ code, signal })
        for (const listener of this.listeners) listener()
      }),
    )
  }

  static async start(options: ReplicaOptions): Promise<Replica> {
    return new Replica(options, options.port ?? (await freePort()), await freePort())
  }

  get pid(): number {
    return this.process.pid as number
  }

  private hear(text: string): void {
    this.output.push(text)
    try {
      this.lines.push(JSON.parse(text) as Line)
    } catch {
      // The workload's own output, or a usage error.
    }
    for (const listener of this.listeners) listener()
  }

  /** The first line since `from` lines that matches; rejects with the log when it does not come. */
  async find(what: string, matches: (line: Line) => boolean, from = 0): Promise<Line> {
    const look = () => this.lines.slice(from).find(matches)
    const found = look()
    if (found) return found
    return new Promise((resolve, reject) => {
      const give = (reason: string) => {
        this.listeners.delete(listener)
        clearTimeout(timer)
        reject(new Error(`${this.options.identity}: ${what} ${reason}\n${this.output.join('\n')}`))
      }
      const timer = setTimeout(() => give('did not come'), PATIENCE_MS)
      const listener = () => {
        const line = look()
        if (line) {
          this.listeners.delete(listener)
          clearTimeout(timer)
          resolve(line)
        } else if (this.process.exitCode !== null) {
          give(`did not come before the end (exit code ${this.process.exitCode})`)
        }
      }
      this.listeners.add(listener)
    })
  }

  event(event: EventName, from = 0): Promise<Line> {
    return this.find(event, (line) => line.event === event, from)
  }

  events(): string[] {
    return this.lines.flatMap((line) => (line.event ? [line.event] : []))
  }

  async get(path: string): Promise<{ status: number; text: string }> {
    const response = await fetch(`http://127.0.0.1:${this.httpPort}${path}`)
    return { status: response.status, text: await response.text() }
  }

  async status(): Promise<AgentStatus> {
    return JSON.parse((await this.get('/status')).text) as AgentStatus
  }

  /** The pid of the launcher, as the agent last saw it. */
  launcherPid(): number {
    const line = this.lines.findLast((one) => typeof one.launcherPid === 'number')
    assert.ok(line, 'no launcher was seen')
    return line.launcherPid as number
  }

  workloadPid(): number {
    const line = this.lines.findLast((one) => one.event === 'workload_started')
    assert.ok(line, 'no workload was seen')
    return line.pid as number
  }

  signal(signal: NodeJS.Signals): void {
    this.process.kill(signal)
  }

  /** Ends it in the planned way, whatever state a test left it in. */
  async stop(): Promise<number | null> {
    if (this.process.exitCode === null && this.process.signalCode === null) {
      this.signal('SIGCONT')
      this.signal('SIGTERM')
    }
    return (await this.exited).code
  }
}
