import fastify, { type FastifyInstance, type FastifyReply, type FastifyRequest } from 'fastify'
import { type Clock, systemClock } from '../clock.ts'
import type { Listen } from '../config/values.ts'
import { redactText } from '../redaction.ts'
import type { AgentStatus, Check, ReplicaRow } from '../status/agent-status.ts'
import { ConnectionLimiter } from './connection-limiter.ts'
import { PAGE_POLICY, renderPage } from './page/page.ts'
import type { Exposition } from './prometheus.ts'

export interface StatusSource {
  status(): AgentStatus
  /**
   * This replica first, then its peers, each asked now or less than a second ago. The same array until the next round.
   */
  replicas(): Promise<readonly ReplicaRow[]>
  /** False if the agent's election loop is stuck: `/livez`. An API server outage never makes it false. */
  live(): boolean
  /** `/readyz`: whether this is the leader with a healthy LangFlow and an open gate. */
  ready(): boolean
  /** `/readyz?exclude=leadership`: whether this replica could take over, or serves. */
  couldServe(): boolean
  /**
   * `/frontz`: why no client should be sent to this replica's front, in one sentence. `null`: it takes and forwards
   * requests.
   */
  frontFault(): string | null
  /** `/workloadz`: whether the launcher answers. */
  launcherAnswers(): boolean
}

export interface HttpServerOptions {
  readonly listen: Listen
  readonly source: StatusSource
  readonly metrics: Exposition
  readonly clock?: Clock
}

export type HttpServer = Awaited<ReturnType<typeof startHttpServer>>

/** Starts answering. Rejects with a `FatalError` if the address is not available. */
export async function startHttpServer(options: HttpServerOptions) {
  const { source, metrics, clock = systemClock } = options
  const server = createServer()
  addRoutes(server, source, metrics)
  await server.ready()
  const limiter = new ConnectionLimiter(server.server, clock)
  try {
    const { address, port } = await limiter.listen(options.listen)
    const close = async () => {
      await limiter.close()
      await server.close()
    }
    return { address, port, close }
  } catch (error) {
    await server.close()
    throw error
  }
}

const MAX_HEAD_BYTES = 8 * 1024

function createServer(): FastifyInstance {
  return fastify({
    logger: false,
    http: { maxHeaderSize: MAX_HEAD_BYTES },
    // No route has a schema. Without these settings, the compilers, a tenth of the agent's memory, would be loaded
    // anyway.
    schemaController: { compilersFactory: { buildValidator: noSchema, buildSerializer: noSchema } },
    frameworkErrors: malformed,
    clientErrorHandler(error, socket) {
      if (socket.writable && error.code !== 'ECONNRESET') socket.end(refusal(error.code))
      else socket.destroy()
    },
  })
}

function noSchema(): never {
  throw new Error('no route may have a schema: its compiler is left out of this server')
}

/** Answers a request whose path cannot be decoded. Such a request reaches no route and no hook. */
function malformed(_error: Error, _request: unknown, reply: unknown): void {
  const answer = (reply as FastifyReply).header('connection', 'close')
  json(answer.header('x-content-type-options', 'nosniff'), 400, { error: 'the path is malformed' })
}

/** The text of an answer without a request object. The connection ends with it. */
function refusal(code: string): string {
  const [status, error] =
    code === 'HPE_HEADER_OVERFLOW'
      ? [
          '431 Request Header Fields Too Large',
          `the request line and the headers are longer than ${MAX_HEAD_BYTES} bytes`,
        ]
      : ['400 Bad Request', 'this is not an HTTP request']
  const body = jsonText({ error })
  const head = [
    `HTTP/1.1 ${status}`,
    `Content-Type: ${JSON_TYPE}`,
    `Content-Length: ${body.length}`,
    'X-Content-Type-Options: nosniff',
    'Connection: close',
  ]
  return `${head.join('\r\n')}\r\n\r\n${body}`
}

const TEXT = 'text/plain; charset=utf-8'
const JSON_TYPE = 'application/json; charset=utf-8'

type Handler = (request: FastifyRequest, reply: FastifyReply) => FastifyReply | Promise<FastifyReply>

function send(reply: FastifyReply, code: number, type: string, body: string): FastifyReply {
  return reply.code(code).type(type).send(body)
}

function json(reply: FastifyReply, code: number, value: unknown): FastifyReply {
  return send(reply, code, JSON_TYPE, jsonText(value))
}

function jsonText(value: unknown): string {
  return `${redactText(JSON.stringify(value))}\n`
}

type Rows = readonly ReplicaRow[]
const jsonOfRows = new WeakMap<Rows, string>()
const pages = new WeakMap<Rows, string>()
const pageText = (rows: Rows) => redactText(renderPage(rows))

/** Writes the text of one round of answers once, for any number of clients. */
function once(written: WeakMap<Rows, string>, write: (rows: Rows) => string, rows: Rows): string {
  const text = written.get(rows) ?? write(rows)
  written.set(rows, text)
  return text
}

/** Adds every route of the contract. All are GET and HEAD, and none changes anything. */
function addRoutes(server: FastifyInstance, source: StatusSource, metrics: Exposition): void {
  const routes: Readonly<Record<string, Handler>> = {
    '/livez': (_, reply) => probe(reply, source.live(), "the agent's election loop is stuck"),
    '/readyz': (request, reply) => {
      const query = request.query as Record<string, string | string[] | undefined>
      const excluded = [query.exclude ?? []].flat()
      const { ok, text } = readiness(source, 'verbose' in query, excluded)
      return send(reply, ok ? 200 : 503, TEXT, text)
    },
    '/frontz': (_, reply) => {
      const fault = source.frontFault()
      return probe(reply, fault === null, fault ?? '')
    },
    '/workloadz': (_, reply) => probe(reply, source.launcherAnswers(), 'the launcher does not answer'),
    '/leader': (_, reply) => json(reply, 200, leaderOf(source.status())),
    '/status': (_, reply) => json(reply, 200, source.status()),
    '/replicas': async (_, reply) =>
      send(reply, 200, JSON_TYPE, once(jsonOfRows, jsonText, await source.replicas())),
    '/': async (_, reply) => {
      const page = once(pages, pageText, await source.replicas())
      reply.header('content-security-policy', PAGE_POLICY).header('referrer-policy', 'no-referrer')
      return send(reply, 200, 'text/html; charset=utf-8', page)
    },
    '/metrics': async (_, reply) => send(reply, 200, metrics.contentType, await metrics.expose()),
  }
  for (const [url, handler] of Object.entries(routes)) server.get(url, handler)
  server.setNotFoundHandler((_, reply) => notFound(reply))
  server.addHook('onRequest', (request, reply, done) => {
    // A connection is for one request: see `ConnectionLimiter`.
    reply.header('connection', 'close')
    reply.header('x-content-type-options', 'nosniff').header('cache-control', 'no-store')
    if (request.method !== 'GET' && request.method !== 'HEAD') {
      if (!Object.hasOwn(routes, request.url.split('?', 1)[0]!)) return void notFound(reply)
      reply.header('allow', 'GET, HEAD')
      return void json(reply, 405, { error: 'this endpoint only supports GET and HEAD' })
    }
    done()
  })
  server.setErrorHandler<Error & { statusCode?: number }>((error, _, reply) => {
    const code = error.statusCode ?? 500
    json(reply, code, { error: code < 500 ? error.message : 'the agent cannot read its status' })
  })
}

function probe(reply: FastifyReply, ok: boolean, problem: string): FastifyReply {
  return ok ? send(reply, 200, TEXT, 'ok\n') : send(reply, 503, TEXT, `${problem}\n`)
}

/** Exactly these four fields, in this order: other programs read them. */
function leaderOf({ lease }: AgentStatus): object {
  return { holder: lease.holder ?? '', self: lease.self, epoch: lease.epoch, since: lease.since }
}

function notFound(reply: FastifyReply): FastifyReply {
  return json(reply, 404, {
    error:
      'not found: the endpoints are /, /livez, /readyz, /frontz, /workloadz, /leader, /status, /replicas and /metrics',
  })
}

/** The only check that can be left out. In that case, a follower that could take over is ready as well. */
const EXCLUDABLE = 'leadership'

/** In the format of kube-apiserver's own `/readyz`. */
function readiness(source: StatusSource, verbose: boolean, excluded: readonly string[]) {
  const anyRole = excluded.includes(EXCLUDABLE)
  const ok = anyRole ? source.couldServe() : source.ready()
  if (ok && !verbose) return { ok, text: 'ok\n' }
  const { checks } = source.status()
  const lines = checks.map((check) => line(check, anyRole && (ok || check.name === EXCLUDABLE)))
  lines.push(`readyz check ${ok ? 'passed' : 'failed'}`)
  return { ok, text: `${lines.join('\n')}\n` }
}

/** @param waived not required, because the client also accepts a follower that could take over */
function line(check: Check, waived: boolean): string {
  if (check.ok) return `[+]${check.name} ok`
  return waived
    ? `[+]${check.name} excluded: ok`
    : `[-]${check.name} failed: ${check.detail.replace(/\s+/g, ' ')}`
}
