import type { AddressInfo, Server, Socket } from 'node:net'
import fastify, { type FastifyInstance, type FastifyReply } from 'fastify'
import { formatListen, type Listen } from '../config/address.ts'
import { FatalError } from '../exit.ts'
import type { Exposition } from './prometheus.ts'
import { addRoutes } from './routes.ts'
import type { StatusSource } from './status.ts'

export interface HttpServerOptions {
  readonly listen: Listen
  readonly source: StatusSource
  readonly metrics: Exposition
}

export interface HttpServer {
  /** What it is bound to, e.g. `::`. */
  readonly address: string
  readonly port: number
  /** Resolves once nothing listens and no connection is open; never waits for a client. */
  close(): Promise<void>
}

/** Whoever can reach the port may hold connections open; these bounds keep them from costing much. */
const MAX_CONNECTIONS = 512
const MAX_HEADER_BYTES = 8 * 1024
const HEADERS_TIMEOUT_MS = 5000
const REQUEST_TIMEOUT_MS = 10_000
const IDLE_TIMEOUT_MS = 10_000
const KEEP_ALIVE_MS = 5000
const SWEEP_MS = 1000

/**
 * Starts answering. Without a host it listens on every address, IPv4 and IPv6, or only IPv4 where the machine has no
 * IPv6. Rejects with a `FatalError` where the address cannot be had.
 */
export async function startHttpServer(options: HttpServerOptions): Promise<HttpServer> {
  const { host, port } = options.listen
  if (host !== null) return listen(options, host, port)
  try {
    return await listen(options, '::', port)
  } catch (error) {
    if (!isWithoutIPv6(error)) throw error
    return listen(options, '0.0.0.0', port)
  }
}

async function listen(options: HttpServerOptions, host: string, port: number): Promise<HttpServer> {
  const server = createServer()
  addRoutes(server, options.source, options.metrics)
  try {
    await server.listen({ host, port, ipv6Only: false })
  } catch (error) {
    await server.close()
    throw new FatalError(refusal(options.listen, error as NodeJS.ErrnoException), { cause: error })
  }
  const bound = server.server.address() as AddressInfo
  return { address: bound.address, port: bound.port, close: () => server.close() }
}

function createServer(): FastifyInstance {
  const server = fastify({
    logger: false,
    // No route has a schema; without these the compilers, a tenth of the agent's memory, are loaded all the same.
    schemaController: { compilersFactory: { buildValidator: noSchema, buildSerializer: noSchema } },
    forceCloseConnections: true,
    requestTimeout: REQUEST_TIMEOUT_MS,
    connectionTimeout: IDLE_TIMEOUT_MS,
    keepAliveTimeout: KEEP_ALIVE_MS,
    http: {
      maxHeaderSize: MAX_HEADER_BYTES,
      headersTimeout: HEADERS_TIMEOUT_MS,
      connectionsCheckingInterval: SWEEP_MS,
    },
    frameworkErrors: malformed,
    clientErrorHandler(error, socket) {
      refuse(socket, error.code)
    },
  })
  boundConnections(server.server)
  return server
}

function noSchema(): never {
  throw new Error('no route may have a schema: its compiler is left out of this server')
}

/** Answers a request whose path cannot be decoded: no route, and no hook, ever sees it. */
function malformed(_error: Error, _request: unknown, reply: unknown): void {
  const json = 'application/json; charset=utf-8'
  const body = `${JSON.stringify({ error: 'the path is malformed' })}\n`
  ;(reply as FastifyReply).code(400).header('x-content-type-options', 'nosniff').type(json).send(body)
}

/** Makes room for a new connection by ending the oldest: a crowd of idle ones cannot lock out a probe. */
function boundConnections(server: Server): void {
  const open = new Set<Socket>()
  server.on('connection', (socket) => {
    open.add(socket)
    socket.once('close', () => open.delete(socket))
    const [oldest] = open
    if (open.size > MAX_CONNECTIONS && oldest !== undefined) {
      open.delete(oldest)
      oldest.destroy()
    }
  })
}

/** Answers what is no HTTP request, and ends its connection. */
function refuse(socket: Socket, code: string): void {
  if (!socket.writable || code === 'ECONNRESET') return void socket.destroy()
  const [status, error] =
    code === 'HPE_HEADER_OVERFLOW'
      ? ['431 Request Header Fields Too Large', `the headers are longer than ${MAX_HEADER_BYTES} bytes`]
      : code === 'ERR_HTTP_REQUEST_TIMEOUT'
        ? ['408 Request Timeout', 'the request took too long to arrive']
        : ['400 Bad Request', 'this is no HTTP request']
  const body = `${JSON.stringify({ error })}\n`
  const head = [
    `HTTP/1.1 ${status}`,
    'Content-Type: application/json; charset=utf-8',
    `Content-Length: ${body.length}`,
    'X-Content-Type-Options: nosniff',
    'Connection: close',
  ]
  socket.end(`${head.join('\r\n')}\r\n\r\n${body}`, () => socket.destroy())
}

function isWithoutIPv6(error: unknown): boolean {
  const cause = error instanceof FatalError ? (error.cause as NodeJS.ErrnoException) : undefined
  return cause?.code === 'EAFNOSUPPORT' || cause?.code === 'EADDRNOTAVAIL'
}

function refusal(where: Listen, { code, message }: NodeJS.ErrnoException): string {
  const address = formatListen(where)
  switch (code) {
    case 'EADDRINUSE':
      return `cannot listen on ${address}: another program has the port; stop it or choose another port with --listen`
    case 'EACCES':
      return `cannot listen on ${address}: not permitted; choose a port from 1024 with --listen`
    case 'EADDRNOTAVAIL':
      return `cannot listen on ${address}: this machine does not have the address; choose another with --listen`
    default:
      return `cannot listen on ${address}: ${message}; choose another address with --listen`
  }
}
