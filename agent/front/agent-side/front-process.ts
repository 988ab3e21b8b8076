import type { ChildProcess } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { isIP } from 'node:net'
import type { Duplex } from 'node:stream'
import { request } from 'undici'
import { type Clock, deadlineAfter, pause, type Timer } from '../../clock.ts'
import type { AgentOptions } from '../../config/options.ts'
import { variableOf } from '../../config/setting.ts'
import { reasonOf } from '../../errno.ts'
import type { Fault } from '../../fault.ts'
import { readJsonLines } from '../../json-lines.ts'
import { deprioritize } from '../../processes/spawn.ts'
import { SupervisedChild } from '../../processes/supervised-child.ts'
import type { FromFront, FrontConfig, FrontRoute, ToFront } from '../front-messages.ts'
import { HOP, HOP_EPOCH, NO_COUNTS, writeMessage } from '../front-messages.ts'
import type { OwnFront } from './steering.ts'

/**
 * All flags of reexec.ts are included: a process that replaces itself loses the pipe to its agent. With default flags,
 * Node takes 300 MB under load, and with these 105 MB at the same speed. `--expose-gc` is for memory.ts.
 */
export const FRONT_NODE_FLAGS = [
  '--disable-sigusr1',
  '--expose-gc',
  '--max-old-space-size=256',
  '--max-semi-space-size=2',
  '--no-maglev',
  '--liftoff-only',
]

const LISTENS_WITHIN_MS = 20_000
const CHECK_MS = 1_000
/** Number of checks without an answer after which the front is killed. */
const MOST_UNANSWERED = 3
const KILL_AFTER_MS = 1_000
const ANSWERS_WITHIN_MS = 2_000

export function ownFront(
  { traffic, target, holdTimeoutMs, holdLimit, queueWaitMs, streamGraceMs, logLevel }: AgentOptions,
  clock: Clock,
): OwnFront | null {
  if (traffic.mode === 'readiness') return null
  const { address, listen } = traffic
  const host = new URL(target.origin).hostname.replace(/^\[|\]$/g, '')
  const from = traffic.from !== null && isIP(traffic.from) === isIP(host) ? traffic.from : null
  const limits = { holdTimeoutMs, holdLimit, queueWaitMs, streamGraceMs }
  const options = {
    command: [process.execPath, ...FRONT_NODE_FLAGS, process.argv[1] as string, 'front'],
    env: { [variableOf('--log-level')]: logLevel },
    config: { listen, target: { host, port: target.port }, from, ...limits },
    clock,
  } as const
  return {
    access: { address, key: randomBytes(16).toString('base64url') },
    holdTimeoutMs,
    probe: (address) => probeFront(address, clock),
    process: (changed) => new FrontProcess({ ...options, changed }),
  }
}

/** Each front answers this hop with 421. */
export async function probeFront(address: string, clock: Clock): Promise<Fault> {
  using late = deadlineAfter(clock, ANSWERS_WITHIN_MS)
  try {
    const { headers, statusCode } = await request(`http://${address}`, {
      method: 'HEAD',
      headers: { [HOP]: 'are you there' },
      reset: true,
      signal: late.signal,
    })
    return headers[HOP_EPOCH] === undefined ? `it is not a front: it answered ${statusCode}` : null
  } catch (error) {
    return reasonOf(error)
  }
}

export interface FrontProcessOptions {
  readonly command: readonly [string, ...string[]]
  readonly env: NodeJS.ProcessEnv
  readonly config: FrontConfig
  readonly clock: Clock
  readonly changed: () => void
}

type FrontPhase =
  | { readonly name: 'down' }
  /** `timer` kills a front that does not listen in time. A killed front may still forward until its process is gone. */
  | { readonly name: 'starting' | 'killed'; readonly channel: Duplex; readonly timer: Timer }
  /** `timer` is the next check. `unanswered`: the number of checks since the last answer. */
  | { readonly name: 'listening'; readonly channel: Duplex; readonly timer: Timer; unanswered: number }

export class FrontProcess {
  readonly #options: FrontProcessOptions
  readonly #child: SupervisedChild
  readonly #nothingLeft = Promise.withResolvers<void>()
  #phase: FrontPhase = { name: 'down' }
  #route: FrontRoute | null = null
  #routeId = 0
  #waiting: { readonly id: number; readonly followed: () => void }[] = []
  problem: Fault = null
  /** The front holds new requests at a quiet moment, as the present route requests. */
  quiet = false
  counts = NO_COUNTS

  constructor(options: FrontProcessOptions) {
    this.#options = options
    this.#child = new SupervisedChild({
      ...options,
      stdio: ['ignore', 'inherit', 'inherit', 'pipe'],
      started: (child) => this.#started(child),
      gone: (cause) => this.#gone(`the front ${cause}`),
    })
  }

  get listening(): boolean {
    return this.#phase.name === 'listening'
  }

  /** The first route starts the front. Resolves when every forwarded request follows the route, or if no front runs. */
  follow(route: FrontRoute): Promise<void> {
    this.#route = route
    this.#routeId++
    this.quiet = false
    if (this.#phase.name === 'down') this.#child.start()
    else this.#sendRoute()
    if ((this.#phase as FrontPhase).name === 'down') return Promise.resolve()
    const { promise, resolve } = Promise.withResolvers<void>()
    this.#waiting.push({ id: this.#routeId, followed: resolve })
    return promise
  }

  /** Waits for accepted requests until `until` (monotonic ms) or `hurry`. */
  async end(until: number, hurry: Promise<void>): Promise<void> {
    const { clock } = this.#options
    const phase = this.#phase
    this.#child.retire()
    if (phase.name === 'down') return
    phase.timer.cancel()
    this.#send({ type: 'end', until })
    const enough = Promise.race([this.#nothingLeft.promise, this.#child.exit(), hurry])
    await pause(clock, Math.max(0, until - clock.mono()) + KILL_AFTER_MS, enough)
    phase.channel.destroy()
    await this.#child.ended(null, KILL_AFTER_MS)
  }

  #started(child: ChildProcess): void {
    deprioritize(child.pid as number)
    const channel = child.stdio[3] as Duplex
    const timer = this.#options.clock.after(LISTENS_WITHIN_MS, () => this.#child.kill())
    this.#phase = { name: 'starting', channel, timer }
    readJsonLines<FromFront>(channel, Number.POSITIVE_INFINITY, (message) => this.#received(channel, message))
    this.#send({ type: 'begin', config: this.#options.config })
    this.#sendRoute()
  }

  #send(message: ToFront): void {
    if (this.#phase.name !== 'down') writeMessage(this.#phase.channel, message)
  }

  #sendRoute(): void {
    if (this.#route !== null) this.#send({ type: 'route', id: this.#routeId, route: this.#route })
  }

  #received(channel: Duplex, message: FromFront): void {
    const phase = this.#phase
    if (phase.name === 'down' || phase.channel !== channel) return
    switch (message.type) {
      case 'listening':
        this.problem = null
        phase.timer.cancel()
        this.#checkLater(channel, 0)
        break
      case 'failed':
        this.problem = message.reason
        break
      case 'routed':
        if (phase.name === 'listening') phase.unanswered = 0
        this.#followed(message.id)
        if (message.id !== this.#routeId) return
        break
      case 'quiet':
        this.quiet = message.id === this.#routeId
        break
      case 'counts':
        this.counts = message.counts
        break
      case 'ended':
        this.#nothingLeft.resolve()
        return
    }
    this.#options.changed()
  }

  #checkLater(channel: Duplex, unanswered: number): void {
    const timer = this.#options.clock.after(CHECK_MS, () => this.#check())
    this.#phase = { name: 'listening', channel, timer, unanswered }
  }

  /** Counts checks, not time: after a time in which the agent itself did not run, it first reads the answers. */
  #check(): void {
    const phase = this.#phase
    if (phase.name !== 'listening') return
    if (phase.unanswered < MOST_UNANSWERED) {
      this.#routeId++
      this.#sendRoute()
      this.#checkLater(phase.channel, phase.unanswered + 1)
      return
    }
    this.#phase = { ...phase, name: 'killed' }
    this.problem = `the front did not answer ${MOST_UNANSWERED} checks, and was ended`
    this.#child.kill()
    this.#options.changed()
  }

  #followed(id: number): void {
    const left = this.#waiting.filter((one) => one.id > id)
    for (const one of this.#waiting) if (one.id <= id) one.followed()
    this.#waiting = left
  }

  #gone(problem: string): void {
    const phase = this.#phase
    this.#phase = { name: 'down' }
    if (phase.name !== 'down') {
      phase.timer.cancel()
      phase.channel.destroy()
    }
    if (phase.name === 'listening' || this.problem === null) this.problem = problem
    this.counts = NO_COUNTS
    this.#followed(Number.POSITIVE_INFINITY)
    this.#options.changed()
  }
}
