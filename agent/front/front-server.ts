import { readFileSync } from 'node:fs'
import {
  createServer as createHttpServer,
  type IncomingMessage,
  type Server,
  ServerResponse,
} from 'node:http'
import type { Socket } from 'node:net'
import { type Clock, pause } from '../clock.ts'
import type { Arrival } from './exchange.ts'
import { MAX_HEADER_BYTES } from './headers.ts'
import { type Budget, type Garbage, UnfinishedHeads } from './memory.ts'
import { faultOf, Refusal } from './refusal.ts'
import { endOnceStalled, Tunnel } from './streams.ts'

const HEADERS_TIMEOUT_MS = 20_000
/**
 * Longer than the keep-alive of load balancers, of which the longest common one is 60 s. The side that closes first
 * risks losing a request.
 */
const KEEP_ALIVE_MS = 75_000
const CHECK_CONNECTIONS_EVERY_MS = 5_000
const BOUND_HEADS_EVERY_MS = 250
/**
 * Limit for one connection. A client that sends more without waiting loses the connection, because Node creates a
 * request for all the data that it has read.
 */
const MAX_IN_FLIGHT = 64
/** Interval between two checks whether a client that has closed its side still reads. */
const STILL_READS_MS = 200
/** Time that a client has to close a connection that was ended here. */
const LAST_WORDS_MS = 2_000
/** How long an answer with a length may make no progress after its client has closed its side. */
const STALLED_MS = 10_000
/** Files that a front needs beside those of its connections. */
const OWN_FILES = 64

export interface ServerOptions {
  readonly arrived: (arrival: Arrival) => void
  readonly budget: Budget
  readonly garbage: Garbage
  /** A connection was closed because `most` are open. */
  readonly dropped: (most: number) => void
  readonly clock: Clock
}

/**
 * Returns a function that checks whether a request exceeds the limit of its connection, and in that case ends the
 * connection.
 */
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
    // The kernel keeps the data that follows. Beside a single request it is read, so that the front notices if the
    // client disconnects. Node resumes the socket after each request.
    if (count > 1) queueMicrotask(() => (underWay.get(socket) as number) > 1 && socket.pause())
    if (count <= MAX_IN_FLIGHT) return true
    stopParsing(socket)
    socket.destroy()
    return false
  }
}

/**
 * Node creates requests from all the data that it has read in one piece, even if the connection has ended: some 1,600,
 * at 15 µs each.
 */
function stopParsing(socket: Socket & { parser?: { onIncoming: () => number } | null }): void {
  // The parser then stops as after an upgrade: the data that follows is not HTTP.
  if (socket.parser) socket.parser.onIncoming = () => 2
}

/**
 * The client has closed its side. A half-closed client still reads. A client that is gone resets the connection after a
 * write, and the next write fails. So the front writes `100 Continue` twice: each HTTP/1.1 client must be able to skip
 * it. An HTTP/1.0 client need not, and counts as gone. In the middle of an answer, nothing else may be written. If that
 * answer has no length, the front ends it, because it may be silent for long. If it has a length, the front ends it
 * after a time without progress.
 */
async function halfClosed(socket: Socket, answer: ServerResponse | undefined, clock: Clock): Promise<void> {
  if (answer?.headersSent && answer.chunkedEncoding) socket.end()
  else if (answer?.headersSent) await endOnceStalled(socket, STALLED_MS, clock)
  if (answer?.req.httpVersionMinor === 0 && !answer.headersSent) socket.destroy()
  if (answer?.req.httpVersionMinor !== 1) return
  for (let i = 0; i < 2; i++) {
    await pause(clock, STILL_READS_MS)
    if (answer.headersSent || answer.closed) return
    answer.writeContinue()
  }
}

/** Accepts every method, path and body unchanged. */
export function createServer(options: ServerOptions): Server {
  const server = createHttpServer({
    keepAliveTimeout: KEEP_ALIVE_MS,
    requestTimeout: 0,
    maxHeaderSize: MAX_HEADER_BYTES,
    // Of a body that waits, Node keeps this much plus one read. With Node's own 64 KiB it would be twice as much.
    highWaterMark: 16 * 1024,
    headersTimeout: HEADERS_TIMEOUT_MS,
    connectionsCheckingInterval: CHECK_CONNECTIONS_EVERY_MS,
    // No other protocol is offered: such requests are answered as if they had not asked for an upgrade.
    shouldUpgradeCallback: ({ headers }) => headers.upgrade?.toLowerCase() === 'websocket',
  })
  const [, files = Number.POSITIVE_INFINITY] =
    /^Max open files +(\d+)/m.exec(readFileSync('/proc/self/limits', 'latin1')) ?? []
  // Each connection needs a second file, to LangFlow. If waiting clients took all files, none of their requests could
  // be sent on.
  server.maxConnections = Math.max(1, Math.floor((Number(files) - OWN_FILES) / 2))
  // Node would drop the headers beyond 1,000 without an error.
  server.maxHeadersCount = 0
  Object.assign(server, { httpAllowHalfOpen: true })
  server.on('drop', () => options.dropped(server.maxConnections))
  const answers = new WeakMap<Socket, ServerResponse>()
  server.on('connection', (socket: Socket) =>
    socket.once('end', () => void halfClosed(socket, answers.get(socket), options.clock)),
  )
  server.on('clientError', (error: NodeJS.ErrnoException, socket: Socket) =>
    refuseConnection(socket, error.code, answers.get(socket), options.clock),
  )
  const heads = new UnfinishedHeads()
  server.on('connection', (socket: Socket) => heads.connected(socket))
  const bounding = setInterval(() => heads.bound(), BOUND_HEADS_EVERY_MS).unref()
  server.once('close', () => clearInterval(bounding))
  listenForRequests(server, answers, heads, options)
  return server
}

function listenForRequests(
  server: Server,
  answers: WeakMap<Socket, ServerResponse>,
  heads: UnfinishedHeads,
  { arrived, budget, garbage, clock }: ServerOptions,
): void {
  const takes = bounded()
  const arrive = (arrival: Arrival) => {
    const { request, response } = arrival
    const { socket } = request
    heads.ended(socket)
    // Another request may be in progress on the connection.
    response.once('close', () => answers.has(socket) || heads.answered(socket))
    const fault = faultOf(arrival) ?? budget.refuses(request, response)
    if (fault !== null) {
      response.writeHead(fault.status, { ...fault.allHeaders, connection: 'close' }).end(fault.body)
      return
    }
    const answer = () => {
      answers.set(socket, response)
      // The next request may already be in progress.
      response.once('finish', () => answers.get(socket) === response && answers.delete(socket))
      arrived(arrival)
    }
    // If a client pipelines requests, they are still processed one after the other.
    if (response.socket === null) response.once('socket', answer)
    else answer()
  }
  for (const [event, expectsContinue] of [
    ['request', false],
    ['checkContinue', true],
  ] as const)
    server.on(event, (request, response) => {
      if (takes(request, response)) arrive({ request, response, expectsContinue, tunnel: null })
    })
  server.on('checkExpectation', (request, response) => {
    if (takes(request, response)) response.writeHead(417).end()
  })
  server.on('upgrade', (request, socket: Socket, head) => {
    // Node lets a client request another protocol while an answer is in progress.
    if (answers.has(socket)) {
      socket.destroy()
      return
    }
    const tunnel = new Tunnel(socket, head, garbage, clock)
    arrive({ request, response: answerOn(socket, request, clock), expectsContinue: false, tunnel })
  })
  server.on('connect', (_, socket: Socket) => {
    if (answers.has(socket)) socket.destroy()
    else endWith(new Refusal(405, 'CONNECT is not supported').wholeAnswer, socket, clock)
  })
}

/** Node creates no response for an upgrade request, and therefore reports no end of it either. */
function answerOn(socket: Socket, request: IncomingMessage, clock: Clock): ServerResponse {
  const response = new ServerResponse(request)
  response.shouldKeepAlive = false
  response.assignSocket(socket)
  response.once('finish', () => {
    response.detachSocket(socket)
    response.emit('close')
    endWith('', socket, clock)
  })
  return response
}

/** Reads the connection to its end. Unread data would reset it, and the client might never see its answer. */
function endWith(answer: string, socket: Socket, clock: Clock): void {
  socket
    .on('error', () => {})
    .resume()
    .end(answer)
  void endOnceStalled(socket, LAST_WORDS_MS, clock)
}

function refuseConnection(
  socket: Socket,
  code: string | undefined,
  answer: ServerResponse | undefined,
  clock: Clock,
): void {
  // The data after a request is not read for now, so a timeout of the parser does not mean a slow head.
  if (code === 'ERR_HTTP_REQUEST_TIMEOUT' && answer !== undefined) return
  // Nothing else may be written in the middle of an answer.
  if (socket.writable && code !== 'ECONNRESET' && !answer?.headersSent)
    endWith(refusalOf(code).wholeAnswer, socket, clock)
  else socket.destroy()
}

function refusalOf(code: string | undefined): Refusal {
  switch (code) {
    case 'HPE_HEADER_OVERFLOW':
      return new Refusal(431, `the request line and the headers are longer than ${MAX_HEADER_BYTES} bytes`)
    case 'ERR_HTTP_REQUEST_TIMEOUT':
      return new Refusal(408, 'the request took too long to arrive')
    default:
      return new Refusal(400, 'this is not an HTTP request')
  }
}
