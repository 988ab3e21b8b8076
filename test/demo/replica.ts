import { type ChildProcess, spawn } from 'node:child_process'
import { randomInt, randomUUID } from 'node:crypto'
import { appendFileSync, mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import type { Readable } from 'node:stream'
import { systemClock } from '../../agent/clock.ts'
import { EVENTS, type EventName } from '../../agent/observe/log.ts'
import { isPortFree } from '../../agent/processes/port.ts'
import type { Place } from './entrance.ts'
import { killReplica, MARKER, PRODUCT, type Workspace } from './workspace.ts'

/** One event of a replica's log. */
export interface ReplicaEvent {
  readonly replica: string
  readonly event: EventName
  readonly epoch: number
  readonly reason: string | null
  /** CLOCK_MONOTONIC in milliseconds, of when it was written: a busy machine hears it late. */
  readonly at: number
}

export interface ReplicaOptions {
  readonly place: Place
  readonly workspace: Workspace
  /** The flags that all replicas have in common. */
  readonly flags: readonly string[]
  /** What plays LangFlow. */
  readonly command: readonly string[]
  readonly env: NodeJS.ProcessEnv
  readonly heard: (event: ReplicaEvent) => void
  /** `expected`: it was told to, or was killed by `crash`. */
  readonly ended: (how: string, expected: boolean) => void
}

/** `langflow-leader run` as a child process, in a session of its own. It can be started again. */
export class Replica {
  readonly place: Place
  readonly name: string
  /** Whether the agent has ended and all of its output was read. */
  hasEnded = false
  /** Nothing has ended it, and nothing was done that ends it at once. */
  runs = true
  /** Of the pod that it plays: another one as soon as it is told to end. */
  born = birth()
  readonly #options: ReplicaOptions
  #child: ChildProcess | null = null
  #mayEnd = false
  #dismissed = false
  #starts = 0

  constructor(options: ReplicaOptions) {
    this.place = options.place
    this.name = options.place.name
    this.#options = options
  }

  start(): void {
    const { workspace, heard, ended } = this.#options
    this.#mayEnd = false
    this.hasEnded = false
    this.runs = true
    const child = this.#spawn()
    this.#child = child
    let lastWords = ''
    const read = (stream: Readable | null, hear: (line: string) => void) =>
      createInterface({ input: stream as Readable }).on('line', (line) => {
        if (this.#dismissed) return
        appendFileSync(join(workspace.logs, `${this.name}.log`), `${line}\n`)
        hear(line)
      })
    read(child.stdout, (line) => {
      const event = this.#read(line)
      if (event !== null) heard(event)
    })
    read(child.stderr, (line) => {
      lastWords = line
    })
    const end = (how: string) => {
      this.hasEnded = true
      this.runs = false
      const expected = this.#mayEnd
      if (!this.#dismissed) ended(expected || lastWords === '' ? how : `${how}: ${lastWords}`, expected)
    }
    child.once('error', (error) => end(error.message))
    child.once('close', (code, signal) => end(signal ?? `exit code ${code}`))
  }

  /** SIGKILL to agent, launcher and workload. Resolves once nothing of them lives. */
  async crash(): Promise<void> {
    this.#mayEnd = true
    this.runs = false
    this.born = birth()
    await killReplica(this.#options.workspace.mark(this.name))
  }

  /** Asks the agent to hand over and to end. */
  stop(): void {
    this.#mayEnd = true
    this.born = birth()
    this.#child?.kill('SIGTERM')
  }

  /** Stops the agent alone from executing. Its launcher and its workload go on. */
  hang(): void {
    this.#child?.kill('SIGSTOP')
  }

  thaw(): void {
    this.#child?.kill('SIGCONT')
  }

  /** From now on it may end, and nothing that it says is heard. */
  dismiss(): void {
    this.#mayEnd = true
    this.#dismissed = true
  }

  #spawn(): ChildProcess {
    const { place, workspace, flags, command, env } = this.#options
    // A new directory each time: in the old one an agent would wait for its earlier launcher.
    const dir = join(workspace.dir, `${this.name}.${++this.#starts}`)
    mkdirSync(dir)
    const [program, ...args] = [
      ...PRODUCT,
      'run',
      ...flags,
      `--identity=${this.name}`,
      `--listen=127.0.0.1:${place.agentPort}`,
      `--target=http://127.0.0.1:${place.port}`,
      `--socket=${join(dir, 'launcher.sock')}`,
      `--state-dir=${join(dir, 'state')}`,
      '--',
      ...command,
    ]
    return spawn(program, args, {
      env: { ...env, [MARKER]: workspace.mark(this.name) },
      detached: true,
      stdio: ['ignore', 'pipe', 'pipe'],
    })
  }

  /** `null`: no event of its log. A workload may log JSON lines of its own. */
  #read(line: string): ReplicaEvent | null {
    if (!line.startsWith('{')) return null
    try {
      const { event, epoch, reason, time, component } = JSON.parse(line)
      if (!['agent', 'launcher'].includes(component) || !EVENTS.includes(event)) return null
      const { mono, wall } = systemClock.now()
      const at = mono - (wall - Date.parse(time))
      return { replica: this.name, event, epoch: Number(epoch), reason: reason ?? null, at }
    } catch {
      return null
    }
  }
}

/**
 * What lets several LangFlows run on one machine: each its own port, directory and database. A variable that the user
 * has set stays, but for those that must differ.
 */
export function langflowEnvironment(env: NodeJS.ProcessEnv, port: number, dir: string): NodeJS.ProcessEnv {
  return {
    DO_NOT_TRACK: 'true',
    LANGFLOW_AUTO_LOGIN: 'true',
    LANGFLOW_OPEN_BROWSER: 'false',
    LANGFLOW_DATABASE_URL: `sqlite:///${dir}/langflow.db`,
    ...env,
    LANGFLOW_HOST: '127.0.0.1',
    LANGFLOW_PORT: String(port),
    LANGFLOW_CONFIG_DIR: dir,
  }
}

/**
 * Ports on which nothing listens, below those that the kernel gives to outgoing connections: a replica that is
 * started again finds its port still free.
 */
export async function findPlaces(names: readonly string[]): Promise<Place[]> {
  const free = new Set<number>()
  while (free.size < 2 * names.length) {
    const port = randomInt(10_240, 32_768)
    if (await isPortFree(port)) free.add(port)
  }
  const ports = [...free]
  return names.map((name, n) => ({ name, agentPort: ports[2 * n]!, port: ports[2 * n + 1]! }))
}

/** Of a pod: its UID, and when it was made in milliseconds since 1970. */
function birth() {
  return { uid: randomUUID(), createdAt: systemClock.now().wall }
}
