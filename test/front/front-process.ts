import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import type { Duplex } from 'node:stream'
import { FRONT_NODE_FLAGS } from '../../agent/front/agent-side/front-process.ts'
import {
  type FromFront,
  type FrontConfig,
  type FrontCounts,
  type FrontRoute,
  readMessages,
  type ToFront,
  writeMessage,
} from '../../agent/front/front-messages.ts'
import { BUNDLE } from '../harness/bundle.ts'
import { mono, Series } from '../harness/wait.ts'

const HOUR_MS = 3_600_000

export const KEY = 'AAAAAAAAAAAAAAAAAAAAAA'

/** A front in a process of its own, started as an agent starts it. */
export class FrontProcess {
  port = 0
  /** Standard output and standard error of the process. */
  output = ''
  readonly #child: ChildProcess
  readonly #channel: Duplex
  readonly #reports = new Series<FromFront>()
  #routes = 0

  private constructor(main: string, entry: readonly string[]) {
    const [program = '', ...args] = [...entry, process.execPath, ...FRONT_NODE_FLAGS, main, 'front']
    this.#child = spawn(program, args, {
      stdio: ['ignore', 'pipe', 'pipe', 'pipe'],
      // The test runner sets variables that an agent doesn't have.
      env: { PATH: process.env.PATH },
    })
    for (const stream of [this.#child.stdout, this.#child.stderr]) {
      stream?.setEncoding('utf8').on('data', (text: string) => {
        this.output += text
      })
    }
    this.#channel = this.#child.stdio[3] as Duplex
    readMessages<FromFront>(this.#channel, (message) => this.#reports.add(message))
    this.#child.once('exit', (code, signal) =>
      this.#reports.end(`the front ended with ${signal ?? code}: ${this.output}`),
    )
  }

  /** `entry` is a command that executes its remaining arguments, such as `prlimit`. */
  static async start(
    targetPort: number,
    config: Partial<FrontConfig> = {},
    main = BUNDLE,
    entry: readonly string[] = [],
  ): Promise<FrontProcess> {
    const front = new FrontProcess(main, entry)
    front.#send({
      type: 'begin',
      config: {
        listen: { host: '127.0.0.1', port: 0 },
        target: { host: '127.0.0.1', port: targetPort },
        from: null,
        holdTimeoutMs: 30_000,
        holdLimit: 1000,
        streamGraceMs: 2000,
        ...config,
      },
    })
    const listening = await front.report('listening')
    front.port = listening.port
    return front
  }

  get pid(): number {
    return this.#child.pid as number
  }

  get rssBytes(): number {
    const kib = /^VmRSS:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${this.pid}/status`, 'utf8'))
    return Number(kib?.[1]) * 1024
  }

  async report<T extends FromFront['type']>(type: T): Promise<Extract<FromFront, { type: T }>> {
    const message = await this.#reports.next(type, (one) => one.type === type)
    return message as Extract<FromFront, { type: T }>
  }

  /** Waits for counts that match, and accepts the latest ones that the front has already sent. */
  async counted(what: string, holds: (counts: FrontCounts) => boolean): Promise<void> {
    const from = this.#reports.list.findLastIndex((message) => message.type === 'counts')
    const matches = (message: FromFront) => message.type === 'counts' && holds(message.counts)
    await this.#reports.next(what, matches, Math.max(from, 0))
  }

  /** Sets the route, and resolves once the front applies it to each request. */
  async route(route: FrontRoute): Promise<void> {
    this.#routes += 1
    const id = this.#routes
    this.#send({ type: 'route', id, route })
    await this.#reports.next(`route ${id}`, (message) => message.type === 'routed' && message.id === id)
  }

  /** Makes this front the leader's, with a LangFlow that serves. */
  leads(epoch = 1, key = KEY): Promise<void> {
    return this.route({ to: 'langflow', epoch, key, until: mono() + HOUR_MS, closing: null })
  }

  follows(leader: FrontProcess, epoch = 1, key = KEY): Promise<void> {
    return this.route({ to: 'leader', epoch, key, address: `127.0.0.1:${leader.port}` })
  }

  /** Makes the front hold requests: without a key no replica leads, with a key this replica leads but doesn't serve yet. */
  holds(epoch = 1, key: string | null = null): Promise<void> {
    return this.route({ to: 'nobody', epoch, key })
  }

  async stop(): Promise<void> {
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return
    this.#child.kill('SIGKILL')
    await once(this.#child, 'exit')
  }

  #send(message: ToFront): void {
    writeMessage(this.#channel, message)
  }
}
