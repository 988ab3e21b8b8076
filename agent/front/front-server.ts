import { readFileSync } from 'node:fs'
import {
  createServer as createHttpServer,
  type IncomingHttpHeaders,
  type IncomingMessage,
  METHODS,
  type OutgoingHttpHeaders,
  type ServerResponse,
} from 'node:http'
import type { AddressInfo, Socket } from 'node:net'
import replyFrom from '@fastify/reply-from'
import fastify, { type FastifyInstance, type FastifyReply, type HTTPMethods } from 'fastify'
import type { Dispatcher } from 'undici'
import { type Clock, pause } from '../clock.ts'
import type { Listen } from '../config/values.ts'
import type { Budget } from './budget.ts'
import type { Arrival, Exchange } from './exchange.ts'
import { MAX_HEADER_BYTES, passedBackHeaders } from './headers.ts'
import { failedItself, faultOf, Refusal } from './refusal.ts'
import type { AnswerHead } from './sending.ts'

const HEADERS_TIMEOUT_MS = 20_000
/** Longer than load balancers keep theirs, of which the longest common one is 60 s: whoever closes first risks a request. */
const KEEP_ALIVE_MS = 75_000
const CHECK_CONNECTIONS_EVERY_MS = 5_000
/** Of one connection; whoever sends more at once loses it, since Node makes requests of all that it has read. */
const MAX_IN_FLIGHT = 64
/** How long after a client has sent its last it is found out whether it still reads. */
const STILL_READS_MS = 200
/** As many as the kernel may let wait to be accepted. */
const BACKLOG = 4096
/** Files that a front needs beside those of its connections. */
const OWN_FILES = 64

export interface ServerOptions {
  readonly arrived: (arrival: Arrival) => Exchange
  /** `begin` is called with the head of the answer; the exchange is given the rest. Rejects with a `Refusal` where there is none. */
  readonly forward: (exchange: Exchange, begin: (head: AnswerHead) => void) => Promise<void>
  readonly upgrade: (request: IncomingMessage, socket: Socket, head: Buffer) => void
  readonly budget: Budget
  /** What should never happen has. */
  readonly failed: (error: unknown) => void
  /** A connection was closed, since `most` are open. */
  readonly dropped: (most: number) => void
  readonly clock: Clock
}

/** By which a request finds its exchange again on its way through `reply.from`, where a client cannot put anything. */
const EXCHANGE = Symbol('exchange')
type Carrier = { [EXCHANGE]: Exchange }

/** What says whether a request is one more than its connection may have under way, which ends it then. */
function bounded(): (request: IncomingMessage, response: ServerResponse) => boolean {
  const underWay = new WeakMap<Socket, number>()
  return ({ socket }, response) => {
    if (socket.destroyed) return false
    const count = (underWay.get(socket) ?? 0) + 1
    underWay.set(socket, count)
    response.once('close', () => {
      underWay.set(socket, (underWay.get(socket) as number) - 1)
      if (underWay.get(socket) === 1) socket.resume()
    })
    // The kernel keeps what follows; beside a single one it is read, or nobody would see the client go. Node resumes it after each.
    if (count > 1) queueMicrotask(() => (underWay.get(socket) as number) > 1 && socket.pause())
    if (count <= MAX_IN_FLIGHT) return true
    stopParsing(socket)
    socket.destroy()
    return false
  }
}

/** Node makes a request of all that it has read at once, also for a connection that has ended: some 1,600, at 15 µs each. */
function stopParsing(socket: Socket & { parser?: { onIncoming: () => number } | null }): void {
  // As after an upgrade: what follows is no HTTP.
  if (socket.parser) socket.parser.onIncoming = () => 2
}

/**
 * The client sends no more. Half-closed it still reads; one that is gone resets the connection when something is written, which the
 * next write finds. So both are told to go on, twice: each client of HTTP/1.1 must be able to skip that. One of HTTP/1.0 cannot be
 * told, and is taken to be gone. One that says so in the
 * middle of an answer of unknown length has had enough of it: that may be silent for long.
 */
async function halfClosed(socket: Socket, answer: ServerResponse | undefined, clock: Clock): Promise<void> {
  if (answer?.headersSent && answer.chunkedEncoding) socket.end()
  if (answer?.req.httpVersionMinor === 0 && !answer.headersSent) socket.destroy()
  if (answer?.req.httpVersionMinor !== 1) return
  for (let i = 0; i < 2; i++) {
    await pause(clock, STILL_READS_MS)
    if (answer.headersSent || answer.closed) return
    answer.writeContinue()
  }
}

/** Takes every method, path and body as it is. */
export async function createServer(options: ServerOptions): Promise<FastifyInstance> {
  const takes = bounded()
  const app = fastify({
    logger: false,
    schemaController: { compilersFactory: { buildValidator: noSchema, buildSerializer: noSchema } },
    // One route for whatever path: the router would decode it, and refuse what LangFlow might not.
    rewriteUrl: () => '/',
    exposeHeadRoutes: false,
    serverFactory: (handle) =>
      createHttpServer(
        {
          keepAliveTimeout: KEEP_ALIVE_MS,
          requestTimeout: 0,
          maxHeaderSize: MAX_HEADER_BYTES,
          // So much and what is read at once is kept of a body that waits: with Node's own 64 KiB twice as much.
          highWaterMark: 16 * 1024,
          headersTimeout: HEADERS_TIMEOUT_MS,
          connectionsCheckingInterval: CHECK_CONNECTIONS_EVERY_MS,
          // Other protocols are not offered: their requests are answered as if they had not asked.
          shouldUpgradeCallback: ({ headers }) => headers.upgrade?.toLowerCase() === 'websocket',
        },
        (request, response) => takes(request, response) && handle(request, response),
      ),
    clientErrorHandler(error, socket) {
      // What follows a request is read no further: that makes it no slow head.
      if (error.code === 'ERR_HTTP_REQUEST_TIMEOUT' && answers.has(socket)) return
      // Nothing may come in the middle of an answer.
      const { headersSent = false } = answers.get(socket) ?? {}
      if (socket.writable && error.code !== 'ECONNRESET' && !headersSent)
        socket.end(refusalOf(error.code).wholeAnswer)
      else socket.destroy()
    },
  })
  const [, files = Number.POSITIVE_INFINITY] =
    /^Max open files +(\d+)/m.exec(readFileSync('/proc/self/limits', 'latin1')) ?? []
  // Each needs a second file, to LangFlow: if clients that wait took all files, none of their requests could be sent on.
  app.server.maxConnections = Math.max(1, Math.floor((Number(files) - OWN_FILES) / 2))
  app.server.on('drop', () => options.dropped(app.server.maxConnections))
  const answers = new WeakMap<Socket, ServerResponse>()
  // Node would drop those beyond 1,000 without a word.
  app.server.maxHeadersCount = 0
  Object.assign(app.server, { httpAllowHalfOpen: true })
  app.server.on('connection', (socket: Socket) =>
    socket.once('end', () => void halfClosed(socket, answers.get(socket), options.clock)),
  )
  const expecting = new WeakSet<IncomingMessage>()
  app.server.on('checkContinue', (request, response) => {
    if (!takes(request, response)) return
    expecting.add(request)
    app.routing(request, response)
  })
  app.server.on('checkExpectation', (request, response) => {
    if (takes(request, response)) response.writeHead(417).end()
  })
  // Node lets a client ask for another protocol while it is being answered.
  const unlessAnswering =
    (handle: ServerOptions['upgrade']): ServerOptions['upgrade'] =>
    (request, socket, head) =>
      answers.has(socket) ? socket.destroy() : handle(request, socket, head)
  app.server.on('upgrade', unlessAnswering(options.upgrade))
  app.server.on(
    'connect',
    unlessAnswering((_, socket) => new Refusal(405, 'this is no proxy for CONNECT').end(socket)),
  )
  await app.register(replyFrom, {
    disableRequestLogging: true,
    undici: { request: throughExchange(options) },
  })
  const methods = METHODS.filter((method) => method !== 'CONNECT')
  // None has a body that is read here.
  for (const method of methods) app.addHttpMethod(method, { hasBody: false, overrideExisting: true })
  app.route({
    method: methods as HTTPMethods[],
    url: '/',
    handler: ({ raw: request, originalUrl: path }, reply) => {
      const fault = faultOf(request) ?? options.budget.refuses(request, reply.raw)
      if (fault !== null) {
        reply
          .code(fault.status)
          .headers({ ...fault.allHeaders, connection: 'close' })
          .send(fault.body)
        return
      }
      const arrival = { request, response: reply.raw, path, expectsContinue: expecting.has(request) }
      const answer = () => {
        answers.set(request.socket, reply.raw)
        // By then the next one may be answered.
        reply.raw.once(
          'finish',
          () => answers.get(request.socket) === reply.raw && answers.delete(request.socket),
        )
        answerFrom(options.arrived(arrival), reply, options)
      }
      // A client that does not wait for answers has its requests done one after the other all the same.
      if (reply.raw.socket === null) reply.raw.once('socket', answer)
      else answer()
    },
  })
  await app.ready()
  return app
}

/** Rejects where the address cannot be had. Without a host: every address, IPv4 and IPv6, or only IPv4 where there is no IPv6. */
export async function listen(app: FastifyInstance, { host, port }: Listen): Promise<number> {
  const { server } = app
  const at = (address: string) =>
    new Promise<void>((resolve, reject) => {
      server.once('error', reject)
      server.listen({ host: address, port, backlog: BACKLOG }, () => {
        server.off('error', reject)
        resolve()
      })
    })
  if (host !== null) await at(host)
  else {
    await at('::').catch((error: NodeJS.ErrnoException) => {
      if (error.code !== 'EAFNOSUPPORT' && error.code !== 'EADDRNOTAVAIL') throw error
      return at('0.0.0.0')
    })
  }
  return (server.address() as AddressInfo).port
}

/** The part of undici's `request` that `reply.from` calls: what it gives is sent by the exchange, when and where it may be. */
function throughExchange({ forward }: ServerOptions): Dispatcher['request'] {
  type Done = (error: Error | null, answer?: unknown) => void
  const request = ({ headers }: { headers: Carrier }, done: Done) => {
    const exchange = headers[EXCHANGE]
    const stream = { destroy: () => exchange.abort?.(new Error('the client is gone')) }
    forward(exchange, (head) => done(null, { ...head, body: stream })).catch(done)
  }
  return request as unknown as Dispatcher['request']
}

function answerFrom(exchange: Exchange, reply: FastifyReply, { failed }: ServerOptions): void {
  reply.from('/', {
    getUpstream: () => 'http://upstream',
    queryString: () => '',
    rewriteRequestHeaders: () => ({ [EXCHANGE]: exchange }) as IncomingHttpHeaders,
    // What is repeated is not for it to say: by itself it sends each GET that LangFlow answers with 503 again.
    retryDelay: () => null,
    rewriteHeaders: (headers) => passedBackHeaders(headers, exchange.chunked(headers)),
    onResponse(_, reply, { statusCode }) {
      reply.hijack()
      exchange.begin(statusCode, reply.getHeaders() as OutgoingHttpHeaders)
    },
    onError(reply, { error: { cause } }) {
      // Such a status is passed on as it is.
      if (cause === undefined) return
      reply.hijack()
      if (!(cause instanceof Refusal) && !exchange.gone) failed(cause)
      exchange.refuse(cause instanceof Refusal ? cause : failedItself())
    },
  })
}

function noSchema(): never {
  throw new Error('no route may have a schema: its compiler is left out of this server')
}

function refusalOf(code: string | undefined): Refusal {
  switch (code) {
    case 'HPE_HEADER_OVERFLOW':
      return new Refusal(431, `the request line and the headers are longer than ${MAX_HEADER_BYTES} bytes`)
    case 'ERR_HTTP_REQUEST_TIMEOUT':
      return new Refusal(408, 'the request took too long to arrive')
    default:
      return new Refusal(400, 'this is no HTTP request')
  }
}
