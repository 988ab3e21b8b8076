import { subscribe, unsubscribe } from 'node:diagnostics_channel'
import { createServer as createHttpServer, type RequestListener, type Server } from 'node:http'
import { type AddressInfo, createServer, type Socket } from 'node:net'
import { type Duplex, duplexPair } from 'node:stream'
import type { TestContext } from 'node:test'
import { type Clock, systemClock } from '../../agent/clock.ts'
import { serveFront } from '../../agent/front/front.ts'
import {
  type FromFront,
  type FrontConfig,
  type FrontCounts,
  type FrontRoute,
  type ToFront,
  writeMessage,
} from '../../agent/front/front-messages.ts'
import { readJsonLines } from '../../agent/json-lines.ts'
import { createLog } from '../../agent/observe/log.ts'
import { listening } from '../harness/listening.ts'
import { Series } from '../harness/wait.ts'

export const KEY = 'AAAAAAAAAAAAAAAAAAAAAA'
export const FOR_EVER = Number.MAX_SAFE_INTEGER

/** The configuration of a front before the LangFlow at this port. */
export const at = (port: number) => ({ target: { host: '127.0.0.1', port } })

type TestConfig = Partial<FrontConfig> & { readonly clock?: Clock }

/** Node's HTTP servers publish each request on this diagnostics channel. */
const ARRIVAL = 'http.server.request.start'

interface FakeLangFlow {
  readonly server: Server
  readonly port: number
  readonly seen: Series<string>
}

export async function fakeLangFlow(
  t: TestContext,
  answer: RequestListener = (_, response) => response.end('ok'),
  port = 0,
): Promise<FakeLangFlow> {
  const seen = new Series<string>()
  const server = createHttpServer((incoming, outgoing) => {
    seen.add(`${incoming.method} ${incoming.url}`)
    answer(incoming, outgoing)
  })
  return { server, port: await listening(t, server, port), seen }
}

export class FrontDriver {
  readonly reports = new Series<FromFront>()
  port = 0
  protected readonly channel: Duplex
  #routes = 0

  protected constructor(channel: Duplex) {
    this.channel = channel
    readJsonLines<FromFront>(channel, Number.POSITIVE_INFINITY, (message) => this.reports.add(message))
  }

  protected async begin(config: Partial<FrontConfig>): Promise<void> {
    this.send({
      type: 'begin',
      config: {
        listen: { host: '127.0.0.1', port: 0 },
        target: { host: '127.0.0.1', port: 1 },
        from: null,
        holdTimeoutMs: 30_000,
        holdLimit: 1000,
        queueWaitMs: 10_000,
        streamGraceMs: 2_000,
        ...config,
      },
    })
    const first = await this.reports.next(
      'the result of listening',
      ({ type }) => type === 'listening' || type === 'failed',
    )
    if (first.type === 'failed') throw new Error(first.reason)
    this.port = (first as { port: number }).port
  }

  send(message: ToFront): void {
    writeMessage(this.channel, message)
  }

  async route(route: FrontRoute): Promise<void> {
    const id = ++this.#routes
    this.send({ type: 'route', id, route })
    await this.reports.next(`route ${id}`, (message) => message.type === 'routed' && message.id === id)
  }

  get address(): string {
    return `127.0.0.1:${this.port}`
  }

  toLangFlow(until = FOR_EVER, epoch = 1, key = KEY): Promise<void> {
    return this.route({ to: 'langflow', epoch, key, until, closing: null, untilQuiet: false })
  }

  closes(epoch = 1, closing = FOR_EVER, until = FOR_EVER): Promise<void> {
    return this.route({ to: 'langflow', epoch, key: KEY, until, closing, untilQuiet: false })
  }

  untilQuiet(until = FOR_EVER): Promise<void> {
    return this.route({ to: 'langflow', epoch: 1, key: KEY, until, closing: null, untilQuiet: true })
  }

  /** The last route is still followed when this resolves. */
  quiet(): Promise<FromFront> {
    return this.reports.next(
      `a quiet moment on route ${this.#routes}`,
      (message) => message.type === 'quiet' && message.id === this.#routes,
    )
  }

  toLeader(address: string, epoch = 1, key = KEY): Promise<void> {
    return this.route({ to: 'leader', epoch, key, address })
  }

  toNobody({ epoch = 1, key = null }: Partial<Extract<FrontRoute, { to: 'nobody' }>> = {}): Promise<void> {
    return this.route({ to: 'nobody', epoch, key })
  }
}

export class TestFront extends FrontDriver {
  readonly over: Promise<void>
  readonly logged: string[] = []
  #matched = 0

  private constructor(clock: Clock) {
    const [ours, theirs] = duplexPair()
    super(ours)
    const stream = { write: (line: string) => void this.logged.push(line) }
    const log = createLog({ component: 'front', level: 'info', identity: '', stream })
    this.over = serveFront(theirs, { clock, log })
  }

  static async start(
    t: TestContext,
    { clock = systemClock, ...config }: TestConfig = {},
  ): Promise<TestFront> {
    const front = new TestFront(clock)
    t.after(() => front.stop())
    await front.begin(config)
    return front
  }

  static async serving(t: TestContext, langflow: number, more: TestConfig = {}): Promise<TestFront> {
    const front = await TestFront.start(t, { ...at(langflow), ...more })
    await front.toLangFlow()
    return front
  }

  static three(t: TestContext, langflow: number, former: TestConfig = {}) {
    return Promise.all([TestFront.start(t, former), TestFront.start(t, at(langflow)), TestFront.start(t)])
  }

  arrival(): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>()
    const look = (message: unknown) => {
      if (((message as { server: Server }).server.address() as AddressInfo | null)?.port !== this.port) return
      unsubscribe(ARRIVAL, look)
      resolve()
    }
    subscribe(ARRIVAL, look)
    return promise
  }

  /** Returns the first counts that match, among those after the last match: a state of before an action never matches. */
  async counts(what: string, matches: (counts: FrontCounts) => boolean): Promise<FrontCounts> {
    const found = await this.reports.next(
      what,
      (message) => message.type === 'counts' && matches(message.counts),
      this.#matched,
    )
    this.#matched = this.reports.list.indexOf(found) + 1
    return (found as Extract<FromFront, { type: 'counts' }>).counts
  }

  async stop(): Promise<void> {
    this.channel.end()
    await this.over
  }
}

export async function hungServer(t: TestContext, connected: (socket: Socket) => void = () => {}) {
  const hung = { address: '', received: '' }
  const server = createServer((socket) => {
    t.after(() => socket.destroy())
    socket.on('error', () => {})
    socket.on('data', (chunk) => {
      hung.received += chunk.toString('latin1')
    })
    connected(socket)
  })
  hung.address = `127.0.0.1:${await listening(t, server)}`
  return hung
}

export async function received(socket: Socket, end?: string): Promise<string> {
  let all = ''
  for await (const chunk of socket.iterator({ destroyOnReturn: false })) {
    all += (chunk as Buffer).toString('latin1')
    if (end !== undefined && all.includes(end)) break
  }
  return all
}
