import type { Duplex } from 'node:stream'
import type { Clock, Timer } from '../clock.ts'
import { readJsonLines } from '../json-lines.ts'
import { type Log, LogThrottle } from '../observe/log.ts'
import { listenOn } from '../processes/port.ts'
import { Counts } from './counts.ts'
import { type Arrival, Exchange } from './exchange.ts'
import type { FromFront, FrontConfig, FrontRoute, ToFront } from './front-messages.ts'
import { writeMessage } from './front-messages.ts'
import { createServer, type FrontServer } from './front-server.ts'
import { notTheLeader, outcomeUnknown, Refusal } from './refusal.ts'
import { Routing } from './routing.ts'
import { Sending } from './sending.ts'
import { Streams } from './streams.ts'
import type { Upstream } from './upstream.ts'
import { WaitingRoom } from './waiting-room.ts'

const QUIET_MS = 1_000
const LOOK_MS = 20
/** The first time that LangFlow ends while it has a request may be by chance. */
const MAX_ATTEMPTS = 2

export interface FrontOptions {
  readonly clock: Clock
  readonly log: Log
}

export async function serveFront(channel: Duplex, options: FrontOptions): Promise<void> {
  const { promise: over, resolve } = Promise.withResolvers<void>()
  let front: Front | null = null
  readJsonLines<ToFront>(channel, Number.POSITIVE_INFINITY, (message) => {
    if (message.type === 'begin') {
      front = new Front(message.config, options, (report) => writeMessage(channel, report))
      void front.begin().catch((error: Error) => {
        const reason = `the front ${error.message}`
        options.log.error(reason)
        writeMessage(channel, { type: 'failed', reason })
        channel.end()
      })
    } else if (message.type === 'route') front?.follow(message.id, message.route)
    else front?.end(message.until)
  })
  channel.once('end', resolve).once('close', resolve).once('error', resolve)
  await over
  front = front as Front | null
  front?.stop()
  channel.destroy()
}

class Front {
  readonly #config: FrontConfig
  readonly #clock: Clock
  readonly #report: (message: FromFront) => void
  readonly #routing: Routing
  readonly #room: WaitingRoom
  readonly #streams: Streams
  readonly #counts: Counts
  readonly #throttle: LogThrottle
  #server: FrontServer | null = null
  #arrivals = 0
  #lastArrival = 0
  #ending: Timer | null = null
  #looking: Timer | null = null

  constructor(config: FrontConfig, { clock, log }: FrontOptions, report: (message: FromFront) => void) {
    this.#config = config
    this.#clock = clock
    this.#report = report
    this.#throttle = new LogThrottle(log, clock)
    this.#room = new WaitingRoom({ ...config, clock, open: () => this.#routing.open() })
    this.#routing = new Routing({ config, clock, ready: () => this.#room.letGo() })
    this.#streams = new Streams(clock, config.streamGraceMs, () => this.#routing.hold())
    this.#counts = new Counts(clock, () => this.#room.oldestMs, report)
  }

  async begin(): Promise<void> {
    this.#server = createServer({
      arrived: (arrival) => this.#arrived(arrival),
      failed: (reason) => this.#counts.failed(reason),
      dropped: (most) =>
        this.#throttle.happened(
          'dropped',
          `a connection was closed: ${most} are open, the most that this front takes; raise the limit of open files ` +
            '(nofile) of the container agent to 10,000, or run more replicas',
        ),
      clock: this.#clock,
    })
    const { port } = await listenOn(this.#server, this.#config.listen, '--front-listen')
    this.#report({ type: 'listening', port })
  }

  follow(id: number, route: FrontRoute): void {
    const closed = this.#routing.closing !== null
    this.#routing.follow(route)
    const { closing } = this.#routing
    if (closing !== null) this.#streams.endSoon(closing)
    else if (closed && route.to !== 'langflow') this.#streams.endNow()
    else if (this.#ending === null) this.#streams.goOn()
    // The front that forwarded these requests sends them to the new leader.
    this.#room.refuse(({ hop }) => hop !== null && !this.#routing.accepts(hop), notTheLeader(route.epoch))
    this.#room.letGo()
    this.#report({ type: 'routed', id })
    this.#lookForQuiet(id)
  }

  /** From the report on, no request can begin: the agent closes the gate, or sends another route. */
  #lookForQuiet(id: number): void {
    this.#looking?.cancel()
    if (!this.#routing.untilQuiet) return
    if (this.#counts.inFlight === 0 && this.#streams.idle) {
      this.#routing.hold()
      this.#report({ type: 'quiet', id })
    } else this.#looking = this.#clock.after(LOOK_MS, () => this.#lookForQuiet(id))
  }

  end(until: number): void {
    if (this.#ending !== null) return
    this.#streams.endSoon(until)
    const look = () => {
      const now = this.#clock.mono()
      const quiet = this.#counts.unfinished === 0 && now - this.#lastArrival >= QUIET_MS
      if (quiet || now >= until) {
        this.#server?.close()
        this.#server?.closeIdleConnections()
        this.#report({ type: 'ended' })
        return
      }
      this.#ending = this.#clock.after(Math.min(QUIET_MS / 10, until - now), look)
    }
    this.#lastArrival = this.#clock.mono()
    look()
  }

  stop(): void {
    this.#ending?.cancel()
    this.#looking?.cancel()
    this.#server?.close()
    this.#server?.closeAllConnections()
    this.#routing.cut()
  }

  #arrived(arrival: Arrival): void {
    this.#lastArrival = this.#clock.mono()
    const exchange = new Exchange({
      ...arrival,
      order: this.#arrivals++,
      clock: this.#clock,
      counts: this.#counts,
      streams: this.#streams,
      ending: () => this.#ending !== null,
    })
    arrival.response.once('close', () => this.#room.forget(exchange))
    this.#forward(exchange).catch((error) => {
      if (!(error instanceof Refusal) && !exchange.gone)
        this.#throttle.happened('failed', `the front failed: ${(error as Error).stack ?? error}`)
      exchange.refuse(error instanceof Refusal ? error : new Refusal(500, 'the front failed: see its log'))
    })
  }

  /** Resolves when an answer has begun or the client is gone; rejects with a `Refusal` if there will be none. */
  async #forward(exchange: Exchange): Promise<void> {
    const room = this.#room
    while (!exchange.gone) {
      if (exchange.hop !== null && !this.#routing.accepts(exchange.hop))
        throw notTheLeader(this.#routing.epoch)
      const upstream = await room.turn(exchange)
      exchange.become('inFlight')
      const failure = await this.#send(exchange, upstream)
      if (failure === null) {
        upstream.givenBack()
        return
      }
      exchange.become('arriving')
      if (failure.what === 'missed') upstream.missed()
      else if (failure.what === 'refused') upstream.refused(failure.epoch)
      else {
        upstream.broke()
        this.#countAttempt(exchange)
      }
    }
  }

  async #send(exchange: Exchange, upstream: Upstream) {
    try {
      return await new Sending({
        exchange,
        upstream,
        clock: this.#clock,
        answered: () => this.#room.answered(exchange),
        trouble: (what, to, error) => this.#logTrouble(what, to, error),
      }).outcome.promise
    } catch (error) {
      // If this request was the only one allowed to try, no other request would be tried without this.
      upstream.givenBack()
      throw error
    }
  }

  /** Throws a `Refusal` if the request may not be sent again. The front to which it came first decides. */
  #countAttempt(exchange: Exchange): void {
    exchange.attempts++
    if (exchange.hop !== null) throw outcomeUnknown(this.#routing.epoch)
    if (!exchange.repeatable || exchange.attempts === MAX_ATTEMPTS) throw outcomeUnknown(null)
  }

  #logTrouble(what: 'missed' | 'broke', { closed, options: { to, address } }: Upstream, error: Error): void {
    if (closed) return
    const whom = `${to === 'langflow' ? 'LangFlow' : "the leader's front"} at ${address}`
    const happened = what === 'missed' ? 'a request did not reach' : 'a request was not answered by'
    this.#throttle.happened(`${what} ${to}`, `${happened} ${whom}: ${error.message}`)
  }
}
