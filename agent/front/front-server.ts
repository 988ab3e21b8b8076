import { readFileSync } from 'node:fs'
import type { IncomingMessage, Server } from 'node:http'
import { createServer as createHttpServer, ServerResponse } from 'node:http'
import type { Socket } from 'node:net'
import type { Clock } from '../clock.ts'
import { stopParser } from '../observe/connection-limiter.ts'
import { rawResponse } from '../raw-response.ts'
import type { Arrival } from './exchange.ts'
import type { FailedBecause } from './front-messages.ts'
import { MAX_HEADER_BYTES } from './headers.ts'
import { JoiningRequest } from './memory.ts'
import { Refusal } from './refusal.ts'
import { endOnceStalled, Tunnel } from './streams.ts'

const HEADERS_TIMEOUT_MS = 20_000
/** The longest common one of load balancers is 60 s. The side that closes first risks losing a request. */
const KEEP_ALIVE_MS = 75_000
const CHECK_CONNECTIONS_EVERY_MS = 5_000
const LAST_WORDS_MS = 2_000
const OWN_FILES = 64
/** With the longest head, 16 KiB, that each may leave unfinished, these take 64 MiB. */
const MAX_CONNECTIONS = 4_096

export type FrontServer = Server<typeof JoiningRequest>

const FORWARDED_TARGET = /^(\*$|\/|https?:\/\/)[!-~]*$/i

export interface ServerOptions {
  readonly arrived: (arrival: Arrival) => void
  readonly failed: (reason: FailedBecause) => void
  readonly dropped: (most: number) => void
  readonly clock: Clock
}

export function createServer(options: ServerOptions): FrontServer {
  const server = createHttpServer({
    IncomingMessage: JoiningRequest,
    keepAliveTimeout: KEEP_ALIVE_MS,
    requestTimeout: 0,
    maxHeaderSize: MAX_HEADER_BYTES,
    // Of a body that waits, Node keeps this much plus one read.
    highWaterMark: 16 * 1024,
    headersTimeout: HEADERS_TIMEOUT_MS,
    connectionsCheckingInterval: CHECK_CONNECTIONS_EVERY_MS,
    shouldUpgradeCallback: isHandshake,
  })
  const [, files = Number.POSITIVE_INFINITY] =
    /^Max open files +(\d+)/m.exec(readFileSync('/proc/self/limits', 'latin1')) ?? []
  // Each connection needs a second file, to LangFlow.
  const pairs = Math.floor((Number(files) - OWN_FILES) / 2)
  server.maxConnections = Math.min(MAX_CONNECTIONS, Math.max(1, pairs))
  // Node would drop headers without an error.
  server.maxHeadersCount = 0
  // Node writes a head in this encoding if it sends the head before the body.
  server.on('connection', (socket: Socket) => socket.setDefaultEncoding('latin1'))
  server.on('drop', () => options.dropped(server.maxConnections))
  listenForRequests(server, options)
  return server
}

function listenForRequests(server: FrontServer, { arrived, failed, clock }: ServerOptions): void {
  const answers = new WeakMap<Socket, ServerResponse>()
  server.on('clientError', (error: NodeJS.ErrnoException, socket: Socket) =>
    refuseConnection(socket, error.code, answers.get(socket), clock),
  )
  const arrive = (arrival: Arrival) => {
    const { request, response } = arrival
    const { socket } = request
    answers.set(socket, response)
    response.once('finish', () => answers.delete(socket))
    const fault = faultOf(request)
    if (fault === null) {
      arrived(arrival)
      return
    }
    if (fault.reason !== null) failed(fault.reason)
    response.writeHead(fault.status, { ...fault.headers, connection: 'close' }).end(fault.body)
  }
  for (const [event, expectsContinue] of [
    ['request', false],
    ['checkContinue', true],
  ] as const)
    server.on(event, (request, response) => {
      const before = answers.get(request.socket)
      if (before === undefined) arrive({ request, response, expectsContinue, tunnel: null })
      else refusePipelined(request.socket, before)
    })
  server.on('upgrade', (request, socket: Socket, head) => {
    // Node lets a client request another protocol while an answer is in progress. A client must wait for the answer.
    if (answers.has(socket) || head.length > 0) {
      socket.destroy()
      return
    }
    const tunnel = new Tunnel(socket, clock)
    arrive({ request, response: answerOn(socket, request, clock), expectsContinue: false, tunnel })
  })
}

/** The connection ends with the current answer: Node would make some 1,600 requests from one read. */
function refusePipelined(socket: Socket, before: ServerResponse): void {
  stopParser(socket)
  queueMicrotask(() => socket.pause())
  before.once('finish', () => socket.destroySoon())
}

/** Node creates no response for an upgrade, and reports no end of it. */
function answerOn(socket: Socket, request: JoiningRequest, clock: Clock): ServerResponse {
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

/** Unread data would reset the connection, and the client might never see its answer. */
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
  if (socket.writable && code !== 'ECONNRESET' && !answer?.headersSent)
    endWith(rawRefusal(code), socket, clock)
  else socket.destroy()
}

function rawRefusal(code: string | undefined): string {
  if (code === 'HPE_HEADER_OVERFLOW')
    return rawResponse(431, `the request line and the headers are longer than ${MAX_HEADER_BYTES} bytes`)
  if (code === 'ERR_HTTP_REQUEST_TIMEOUT') return rawResponse(408, 'the request took too long to arrive')
  return rawResponse(400, 'this is not an HTTP request')
}

function faultOf({ httpVersionMajor, rawHeaders, url = '' }: IncomingMessage): Refusal | null {
  if (httpVersionMajor !== 1) return new Refusal(505, 'only HTTP/1.0 and HTTP/1.1 are supported')
  const hosts = rawHeaders.filter((name, i) => i % 2 === 0 && name.toLowerCase() === 'host')
  if (hosts.length > 1) return new Refusal(400, 'this request cannot be forwarded: it has more than one Host')
  if (!FORWARDED_TARGET.test(url))
    return new Refusal(400, 'this request cannot be forwarded: its path is missing or not ASCII')
  return null
}

function isHandshake({ method, httpVersionMinor, headers }: IncomingMessage): boolean {
  return (
    headers.upgrade?.toLowerCase() === 'websocket' &&
    method === 'GET' &&
    httpVersionMinor === 1 &&
    headers['transfer-encoding'] === undefined &&
    Number(headers['content-length'] ?? 0) === 0
  )
}
