import { type ChildProcess, spawn } from 'node:child_process'
import type { Duplex } from 'node:stream'
import type { Clock, Timer } from '../../clock.ts'
import { deprioritize } from '../../processes/spawn.ts'
import {
  type FromFront,
  type FrontConfig,
  type FrontRoute,
  NO_COUNTS,
  readMessages,
  type ToFront,
  type Unheard,
  writeMessage,
} from '../front-messages.ts'

/**
 * Node's flags for the process of a front. It needs all the flags of reexec.ts from the start, because a process that
 * replaces itself loses the pipe to its agent. With default flags, Node takes 300 MB under load. Without half of V8's
 * compilers and with a small young generation, it takes 105 MB at 200 requests a second, at the same speed.
 * `--expose-gc` is for `Garbage` in front/memory.ts. The heap has room for 10,000 requests in flight: `Budget` refuses
 * more.
 */
export const FRONT_NODE_FLAGS = [
  '--disable-sigusr1',
  '--expose-gc',
  '--max-old-space-size=256',
  '--max-semi-space-size=2',
  '--no-maglev',
  '--liftoff-only',
]

/** Pause between two starts, which doubles with each failed one. */
const RESTART_MS = 100
const LONGEST_RESTART_MS = 10_000
/** A front that has lived this long did not fail at its start. */
const LIVED_MS = 30_000
/** A front that does not listen after this time hangs, and is killed. */
const LISTENS_WITHIN_MS = 20_000
/** Interval between two checks whether a listening front follows its route. */
const ASK_MS = 1_000
/**
 * A front that is silent for this long hangs, and is killed. Its requests are lost in any case, and later ones would be
 * as well.
 */
const SILENT_MS = 3_000
/** Time from the end of its own deadline to SIGKILL. */
const KILL_AFTER_MS = 1_000

export interface FrontProcessOptions {
  /** The command that starts a front from this same program. */
  readonly command: readonly [string, ...string[]]
  /** The whole environment of the front. */
  readonly env: NodeJS.ProcessEnv
  readonly config: FrontConfig
  readonly clock: Clock
  /** Called when one of the public fields may have changed. */
  readonly changed: () => void
  /** Reports that a request's wait is over, with its duration in ms. */
  readonly held: (ms: number) => void
}

/** The front as a child of the agent. It is restarted when it dies, and never outlives the agent. */
export class FrontProcess {
  private readonly options: FrontProcessOptions
  private child: ChildProcess | null = null
  private channel: Duplex | null = null
  private restart: Timer | null = null
  private asking: Timer | null = null
  private failures = 0
  private startedAt = 0
  /** Monotonic ms when the unanswered request was sent. `null`: no unanswered request. */
  private askedAt: number | null = null
  private route: FrontRoute | null = null
  private routeId = 0
  /** Callers that wait until a route is followed, the oldest first. */
  private waiting: { readonly id: number; readonly followed: () => void }[] = []
  /** Set during the end. Resolves when nothing is left to forward. */
  private ended: PromiseWithResolvers<void> | null = null
  listening = false
  /** Why the front takes no requests, in one sentence. `null`: it takes them, or is starting. */
  problem: string | null = null
  counts = NO_COUNTS
  /** The front's last report. `null`: it sends nothing to another front. */
  unheard: Unheard | null = null

  constructor(options: FrontProcessOptions) {
    this.options = options
  }

  /**
   * Sends the front a route. The first route starts the front. Resolves when every forwarded request follows the route,
   * or immediately if no front runs.
   */
  follow(route: FrontRoute): Promise<void> {
    this.route = route
    this.unheard = null
    this.routeId++
    if (this.channel !== null) this.send({ type: 'route', id: this.routeId, route })
    else if (this.restart === null && this.ended === null) this.start()
    if (this.channel === null) return Promise.resolve()
    const { promise, resolve } = Promise.withResolvers<void>()
    this.waiting.push({ id: this.routeId, followed: resolve })
    return promise
  }

  /**
   * Resolves when the front's process is gone. The wait for accepted requests ends at `until` (monotonic ms) or when
   * `hurry` resolves.
   */
  async end(until: number, hurry: Promise<void>): Promise<void> {
    const { clock } = this.options
    const { child } = this
    this.restart?.cancel()
    this.asking?.cancel()
    this.ended = Promise.withResolvers()
    if (child === null) return
    const gone = new Promise<void>((resolve) => child.once('close', () => resolve()))
    this.send({ type: 'end', until })
    const late = clock.after(Math.max(0, until - clock.mono()) + KILL_AFTER_MS, () => this.ended?.resolve())
    await Promise.race([this.ended.promise, gone, hurry])
    late.cancel()
    // The front ends when this channel closes.
    this.channel?.destroy()
    const stuck = clock.after(KILL_AFTER_MS, () => child.kill('SIGKILL'))
    await gone
    stuck.cancel()
  }

  private start(): void {
    const { clock, command, env, config } = this.options
    const [program, ...args] = command
    const cannot = ({ message }: Error) => `the front cannot be started: ${message}`
    this.startedAt = clock.mono()
    let child: ChildProcess
    try {
      // The front has its own session: the agent passes a terminal's signal on to it.
      child = spawn(program, args, {
        env,
        detached: true,
        stdio: ['ignore', 'inherit', 'inherit', 'pipe'],
      })
    } catch (error) {
      // Node throws for some of the causes, such as too little memory.
      this.gone(null, cannot(error as Error))
      return
    }
    this.child = child
    child.on('error', (error) => this.gone(child, cannot(error)))
    child.on('exit', (code, signal) =>
      this.gone(child, `the front has ended (${signal ?? `exit code ${code}`})`),
    )
    const channel = child.stdio[3] as Duplex
    // The exit, or the error of the start, is reported instead.
    channel?.on('error', () => {})
    if (child.pid === undefined) return
    deprioritize(child.pid)
    this.channel = channel
    readMessages<FromFront>(channel, (message) => this.received(child, message))
    this.asking = clock.after(LISTENS_WITHIN_MS, () => child.kill('SIGKILL'))
    this.send({ type: 'begin', config })
    if (this.route !== null) this.send({ type: 'route', id: this.routeId, route: this.route })
  }

  private send(message: ToFront): void {
    if (this.channel !== null) writeMessage(this.channel, message)
  }

  private received(child: ChildProcess, message: FromFront): void {
    if (this.child !== child) return
    switch (message.type) {
      case 'listening':
        this.listening = true
        this.problem = null
        this.asking?.cancel()
        this.ask(child)
        break
      case 'failed':
        this.problem = message.reason
        break
      case 'routed':
        this.askedAt = null
        this.followed(message.id)
        // An answer to an earlier route is outdated.
        if (message.id !== this.routeId || this.unheard === message.unheard) return
        this.unheard = message.unheard
        break
      case 'counts':
        this.counts = message.counts
        for (const ms of message.heldMs) this.options.held(ms)
        break
      case 'ended':
        this.ended?.resolve()
        return
    }
    this.options.changed()
  }

  /** Requires a confirmation of the route at each interval, until the process ends. */
  private ask(child: ChildProcess): void {
    const { clock, changed } = this.options
    const at = clock.mono()
    this.asking = clock.after(ASK_MS, () => {
      if (this.route === null) return this.ask(child)
      // If the agent itself was late, the front may have answered in time without the agent having read it.
      const onTime = clock.mono() < at + 2 * ASK_MS
      if (onTime && this.askedAt !== null && clock.mono() >= this.askedAt + SILENT_MS) {
        this.listening = false
        this.problem = `the front did not answer for ${SILENT_MS / 1000} s, and was ended`
        child.kill('SIGKILL')
        changed()
        return
      }
      this.askedAt ??= clock.mono()
      this.send({ type: 'route', id: ++this.routeId, route: this.route })
      this.ask(child)
    })
  }

  private followed(id: number): void {
    const left = this.waiting.filter((one) => one.id > id)
    for (const one of this.waiting) if (one.id <= id) one.followed()
    this.waiting = left
  }

  private gone(child: ChildProcess | null, how: string): void {
    if (this.child !== child) return
    const { clock, changed } = this.options
    this.child = null
    this.channel?.destroy()
    this.channel = null
    this.counts = NO_COUNTS
    this.unheard = null
    this.asking?.cancel()
    this.askedAt = null
    // The front may have reported the cause itself.
    if (this.listening || this.problem === null) this.problem = how
    this.listening = false
    this.followed(Number.POSITIVE_INFINITY)
    if (this.ended === null) {
      this.failures = clock.mono() - this.startedAt >= LIVED_MS ? 0 : this.failures
      const pauseMs = Math.min(RESTART_MS * 2 ** this.failures++, LONGEST_RESTART_MS)
      this.restart = clock.after(pauseMs, () => {
        this.restart = null
        this.start()
      })
    }
    changed()
  }
}
