import fastify, { type FastifyInstance, type FastifyReply } from 'fastify'
import { type Clock, systemClock } from '../clock.ts'
import { formatListen, type Listen } from '../config/values.ts'
import { FatalError } from '../exit.ts'
import type { StatusSource } from './agent-status.ts'
import { ConnectionLimiter, MAX_HEAD_BYTES, type Refusal } from './connection-limiter.ts'
import { addRoutes } from './http-routes.ts'
import type { Exposition } from './prometheus.ts'

export interface HttpServerOptions {
  readonly listen: Listen
  readonly source: StatusSource
  readonly metrics: Exposition
  readonly clock?: Clock
}

export interface HttpServer {
  /** What it is bound to, e.g. `::`. */
  readonly address: string
  readonly port: number
  /** Resolves once nothing listens and no connection is open; never waits for a client. */
  close(): Promise<void>
}

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
  const { source, metrics, clock = systemClock } = options
  const server = createServer()
  addRoutes(server, source, metrics)
  await server.ready()
  const limiter = new ConnectionLimiter({ http: server.server, clock, refusal })
  try {
    const bound = await limiter.listen(host, port)
    const close = async () => {
      await limiter.close()
      await server.close()
    }
    return { address: bound.address, port: bound.port, close }
  } catch (error) {
    await server.close()
    throw new FatalError(noAddress(options.listen, error as NodeJS.ErrnoException), { cause: error })
  }
}

function createServer(): FastifyInstance {
  return fastify({
    logger: false,
    // No route has a schema; without these the compilers, a tenth of the agent's memory, are loaded all the same.
    schemaController: { compilersFactory: { buildValidator: noSchema, buildSerializer: noSchema } },
    frameworkErrors: malformed,
    clientErrorHandler(error, socket) {
      if (socket.writable && error.code !== 'ECONNRESET') socket.end(refusal('no http'))
      else socket.destroy()
    },
  })
}

function noSchema(): never {
  throw new Error('no route may have a schema: its compiler is left out of this server')
}

/** Answers a request whose path cannot be decoded: no route, and no hook, ever sees it. */
function malformed(_error: Error, _request: unknown, reply: unknown): void {
  const json = 'application/json; charset=utf-8'
  const body = `${JSON.stringify({ error: 'the path is malformed' })}\n`
  const answer = (reply as FastifyReply).code(400).header('connection', 'close')
  answer.header('x-content-type-options', 'nosniff').type(json).send(body)
}

const REFUSALS: Readonly<Record<Refusal | 'no http', readonly [status: string, error: string]>> = {
  'too long': [
    '431 Request Header Fields Too Large',
    `the request line and the headers are longer than ${MAX_HEAD_BYTES} bytes`,
  ],
  'too late': ['408 Request Timeout', 'the request took too long to arrive'],
  'no http': ['400 Bad Request', 'this is no HTTP request'],
}

/** What is sent where there is no request to answer; the connection ends with it. */
function refusal(why: keyof typeof REFUSALS): string {
  const [status, error] = REFUSALS[why]
  const body = `${JSON.stringify({ error })}\n`
  const head = [
    `HTTP/1.1 ${status}`,
    'Content-Type: application/json; charset=utf-8',
    `Content-Length: ${body.length}`,
    'X-Content-Type-Options: nosniff',
    'Connection: close',
  ]
  return `${head.join('\r\n')}\r\n\r\n${body}`
}

function isWithoutIPv6(error: unknown): boolean {
  const cause = error instanceof FatalError ? (error.cause as NodeJS.ErrnoException) : undefined
  return cause?.code === 'EAFNOSUPPORT' || cause?.code === 'EADDRNOTAVAIL'
}

const CAUSES: Readonly<Record<string, string>> = {
  EADDRINUSE: 'another program has the port; stop it or choose another port with --listen',
  EACCES: 'not permitted; choose a port from 1024 with --listen',
  EADDRNOTAVAIL: 'this machine does not have the address; choose another with --listen',
}

function noAddress(where: Listen, { code = '', message }: NodeJS.ErrnoException): string {
  const cause = CAUSES[code] ?? `${message}; choose another address with --listen`
  return `cannot listen on ${formatListen(where)}: ${cause}`
}
