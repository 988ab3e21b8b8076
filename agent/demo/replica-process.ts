import { type ChildProcess, spawn } from 'node:child_process'
import { appendFileSync, mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import type { Readable } from 'node:stream'
import type { Clock } from '../clock.ts'
import type { Place } from './gates.ts'
import { DEMO_MARKER, killReplica } from './keeper.ts'
import { selfCommand } from './self.ts'

export interface ReplicaProcessOptions {
  readonly place: Place
  readonly mark: string
  readonly dir: string
  readonly logFile: string
  /** The flags that all replicas have in common. */
  readonly flags: readonly string[]
  /** What plays LangFlow. */
  readonly command: readonly string[]
  readonly env: NodeJS.ProcessEnv
  readonly clock: Clock
  readonly heard: (line: string) => void
  /** It ended by itself; the sentence says how. */
  readonly failed: (sentence: string) => void
}

/** One replica: `langflow-leader run` as a child process, in a session of its own. It can be started again. */
export class ReplicaProcess {
  readonly name: string
  readonly #options: ReplicaProcessOptions
  #child: ChildProcess | null = null
  #ended: Promise<void> = Promise.resolve()
  #mayEnd = false
  #dismissed = false
  #incarnation = 0

  constructor(options: ReplicaProcessOptions) {
    this.name = options.place.name
    this.#options = options
  }

  start(): void {
    this.#mayEnd = false
    const child = this.#spawn()
    this.#child = child
    let lastWords = ''
    const read = (stream: Readable, heard: (line: string) => void) =>
      createInterface({ input: stream }).on('line', (line) => {
        if (this.#dismissed) return
        appendFileSync(this.#options.logFile, `${line}\n`)
        heard(line)
      })
    read(child.stdout as Readable, this.#options.heard)
    read(child.stderr as Readable, (line) => {
      lastWords = line
    })
    this.#ended = new Promise((resolve) => {
      const end = (how: string) => {
        resolve()
        if (this.#mayEnd) return
        this.#options.failed(`${this.name} ended by itself (${how})${lastWords && `: ${lastWords}`}`)
      }
      child.once('error', (error) => end(error.message))
      child.once('close', (code, signal) => end(signal ?? `exit code ${code}`))
    })
  }

  /** SIGKILL to agent, launcher and workload. Resolves once nothing of them lives. */
  async crash(): Promise<void> {
    this.#mayEnd = true
    await killReplica(this.#options.mark, this.#options.clock)
  }

  /** Asks the agent to hand over and to end. */
  stop(): void {
    this.#mayEnd = true
    this.#child?.kill('SIGTERM')
  }

  /** Stops the agent alone from executing. Its launcher and its workload go on. */
  freezeAgent(): void {
    this.#child?.kill('SIGSTOP')
  }

  thawAgent(): void {
    this.#child?.kill('SIGCONT')
  }

  /** From now on it may end, and nothing that it says is heard. */
  dismiss(): void {
    this.#mayEnd = true
    this.#dismissed = true
  }

  /** Resolves once the agent has ended and all of its output was read. */
  get ended(): Promise<void> {
    return this.#ended
  }

  #spawn(): ChildProcess {
    const { place, mark, flags, command, env } = this.#options
    // A new directory each time: in the old one an agent would wait for its earlier launcher.
    const dir = join(this.#options.dir, `${this.name}.${++this.#incarnation}`)
    mkdirSync(dir)
    const [program, ...args] = selfCommand(
      'run',
      ...flags,
      `--identity=${this.name}`,
      `--listen=127.0.0.1:${place.agentPort}`,
      `--target=http://127.0.0.1:${place.port}`,
      `--socket=${join(dir, 'launcher.sock')}`,
      `--state-dir=${join(dir, 'state')}`,
      '--',
      ...command,
    )
    return spawn(program, args, {
      env: { ...env, [DEMO_MARKER]: mark },
      detached: true,
      stdio: ['ignore', 'pipe', 'pipe'],
    })
  }
}
