import { randomUUID } from 'node:crypto'
import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { systemClock } from '../../agent/clock.ts'
import { BUNDLE } from '../harness/bundle.ts'
import { askOnce } from '../harness/client.ts'
import { freePort } from '../harness/free-port.ts'
import { type Line, LoggedProcess, parseLine } from '../harness/logged-process.ts'
import { kill } from '../harness/processes.ts'
import { WORKLOAD } from '../harness/replica.ts'

interface ReplicaOptions {
  /** The directory of all replicas. */
  readonly dir: string
  /** The flags that all replicas share. */
  readonly flags: readonly string[]
  readonly beats: string
  readonly onStart: () => void
  readonly onEvent: (replica: DemoReplica, line: Line) => void
  readonly onEnd: (replica: DemoReplica, expected: boolean) => void
}

class LoggedAgent extends LoggedProcess {
  onEvent: (line: Line) => void = () => {}

  protected override readLine(text: string): void {
    super.readLine(text)
    const line = parseLine(text)
    if (line?.event !== undefined) this.onEvent(line)
  }
}

/** `langflow-leader run` with a front. It plays a pod, which can be replaced. */
export class DemoReplica {
  readonly name: string
  readonly agentPort: number
  readonly frontPort: number
  readonly port: number
  log!: LoggedAgent
  takesClients = false
  pod = { uid: randomUUID(), createdAt: Date.now() }
  readonly #options: ReplicaOptions
  #ending = false
  #starts = 0

  private constructor(name: string, options: ReplicaOptions, ports: [number, number, number]) {
    this.name = name
    this.#options = options
    ;[this.agentPort, this.frontPort, this.port] = ports
  }

  static async make(name: string, options: ReplicaOptions): Promise<DemoReplica> {
    return new DemoReplica(name, options, [await freePort(), await freePort(), await freePort()])
  }

  get frontUrl(): string {
    return `http://127.0.0.1:${this.frontPort}`
  }

  get agentUrl(): string {
    return `http://127.0.0.1:${this.agentPort}`
  }

  get runs(): boolean {
    return !this.#ending && !this.log.ended
  }

  start(): void {
    const { flags, beats, onStart, onEvent, onEnd } = this.#options
    this.#ending = false
    // Each start gets a new directory: in the old one, the agent would wait for its earlier launcher.
    this.#starts += 1
    const dir = join(this.#options.dir, `${this.name}.${this.#starts}`)
    mkdirSync(dir)
    const front = `127.0.0.1:${this.frontPort}`
    const command = [
      ...[process.execPath, BUNDLE, 'run', ...flags],
      `--identity=${this.name}`,
      `--listen=127.0.0.1:${this.agentPort}`,
      `--target=http://127.0.0.1:${this.port}`,
      ...['--traffic=front', `--front-listen=${front}`, `--front-address=${front}`],
      ...[`--socket=${dir}/launcher.sock`, `--state-dir=${dir}/state`],
      ...['--', process.execPath, WORKLOAD, String(this.port), beats],
    ]
    this.log = new LoggedAgent(this.name, command, { TMPDIR: dir }, undefined, true)
    onStart()
    this.log.onEvent = (line) => onEvent(this, line)
    void this.log.exited.then(() => onEnd(this, this.#ending))
  }

  /** Does what the kubelet's readiness probe does each second, but more often. */
  async probe(): Promise<void> {
    const answer = askOnce(`${this.agentUrl}/frontz`, Boolean, { withinMs: 1_000 })
    this.takesClients = await answer.catch(() => false)
  }

  /** Sends SIGKILL to agent, launcher and workload. The front ends with its agent. */
  crash(): void {
    this.#beginEnd()
    // The launcher is last: if the demo is killed in between, the launcher ends the workload.
    const pids = [this.log.pid, this.log.lastNumber('pid'), this.log.lastNumber('launcherPid')]
    kill(pids)
  }

  stop(): void {
    this.#beginEnd()
    this.log.signal('SIGTERM')
  }

  /** Stops only the agent's process, with SIGSTOP. */
  hang(): void {
    this.log.signal('SIGSTOP')
  }

  thaw(): void {
    this.log.signal('SIGCONT')
  }

  #beginEnd(): void {
    this.#ending = true
    this.pod = { uid: randomUUID(), createdAt: systemClock.now().wall }
  }
}
