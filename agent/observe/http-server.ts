import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import { type Clock, systemClock } from '../clock.ts'
import { formatListen, type Listen } from '../config/values.ts'
import { FatalError } from '../exit.ts'
import type { AgentStatus, Check, ReplicaRow, StatusSource } from './agent-status.ts'
import { ConnectionLimiter, MAX_HEAD_BYTES, type Refusal } from './connection-limiter.ts'
import { PAGE_POLICY, renderPage } from './page/page.ts'
import type { Exposition } from './prometheus.ts'
import { redactText } from './redact.ts'

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
  const limiter = new ConnectionLimiter({ http: answering(routesOf(source, metrics)), clock, refusal })
  try {
    const bound = await limiter.listen(host, port)
    return { address: bound.address, port: bound.port, close: () => limiter.close() }
  } catch (error) {
    throw new FatalError(noAddress(options.listen, error as NodeJS.ErrnoException), { cause: error })
  }
}

interface Answer {
  readonly status: number
  readonly type: string
  readonly body: string
  readonly headers?: Readonly<Record<string, string>>
}

type Routes = ReadonlyMap<string, (query: URLSearchParams) => Answer | Promise<Answer>>

const TEXT = 'text/plain; charset=utf-8'
const JSON_TYPE = 'application/json; charset=utf-8'

/** Every route of the contract; all are GET and HEAD, none changes anything. */
function routesOf(source: StatusSource, metrics: Exposition): Routes {
  const jsonOfRows = oncePerRound(jsonText)
  const page = oncePerRound((rows) => redactText(renderPage(rows)))
  const policy = { 'content-security-policy': PAGE_POLICY, 'referrer-policy': 'no-referrer' }
  return new Map<string, (query: URLSearchParams) => Answer | Promise<Answer>>([
    ['/livez', () => probe(source.live() ? null : "the agent's own loop is stuck")],
    ['/readyz', (query) => readiness(source, query.has('verbose'), query.getAll('exclude'))],
    ['/frontz', () => probe(source.frontFault())],
    ['/workloadz', () => probe(source.launcherAnswers() ? null : 'the launcher does not answer')],
    ['/leader', () => json(200, leaderOf(source.status()))],
    ['/status', () => json(200, source.status())],
    ['/replicas', async () => ({ status: 200, type: JSON_TYPE, body: jsonOfRows(await source.replicas()) })],
    [
      '/',
      async () => ({
        status: 200,
        type: 'text/html; charset=utf-8',
        body: page(await source.replicas()),
        headers: policy,
      }),
    ],
    ['/metrics', async () => ({ status: 200, type: metrics.contentType, body: await metrics.expose() })],
  ])
}

/** An HTTP server that does not listen itself: a `ConnectionLimiter` hands it each connection. */
function answering(routes: Routes): Server {
  const server = createServer((request, response) => {
    void answer(request, routes)
      .catch(() => json(500, { error: 'the status cannot be told' }))
      .then((answered) => send(response, answered))
  })
  return server.on('clientError', ({ code }: NodeJS.ErrnoException, socket) => {
    if (socket.writable && code !== 'ECONNRESET') socket.end(refusal('no http'))
    else socket.destroy()
  })
}

async function answer({ method, headers, url = '' }: IncomingMessage, routes: Routes): Promise<Answer> {
  const [path = '', query] = url.split('?', 2)
  const route = routes.get(path)
  if (route === undefined)
    return json(404, { error: `no such page: there are ${[...routes.keys()].join(', ')}` })
  if (method !== 'GET' && method !== 'HEAD')
    return {
      ...json(405, { error: 'nothing can be changed here: use GET or HEAD' }),
      headers: { allow: 'GET, HEAD' },
    }
  if (headers['transfer-encoding'] !== undefined || Number(headers['content-length'] ?? 0) !== 0)
    return json(400, { error: 'send the request without a body' })
  return route(new URLSearchParams(query))
}

function send(response: ServerResponse, { status, type, body, headers }: Answer): void {
  response
    .writeHead(status, {
      'content-type': type,
      'content-length': Buffer.byteLength(body),
      'x-content-type-options': 'nosniff',
      'cache-control': 'no-store',
      // A connection is for one request: see `ConnectionLimiter`.
      connection: 'close',
      ...headers,
    })
    .end(body)
}

/** Of the same round of answers the text is written once, however many ask for it. */
function oncePerRound(
  write: (rows: readonly ReplicaRow[]) => string,
): (rows: readonly ReplicaRow[]) => string {
  const written = new WeakMap<readonly ReplicaRow[], string>()
  return (rows) => {
    const text = written.get(rows) ?? write(rows)
    written.set(rows, text)
    return text
  }
}

function json(status: number, value: unknown): Answer {
  return { status, type: JSON_TYPE, body: jsonText(value) }
}

function jsonText(value: unknown): string {
  return `${redactText(JSON.stringify(value))}\n`
}

/** @param problem in one sentence; `null`: there is none */
function probe(problem: string | null): Answer {
  return { status: problem === null ? 200 : 503, type: TEXT, body: `${problem ?? 'ok'}\n` }
}

/** Exactly these four fields, in this order: other programs read them. */
function leaderOf({ lease }: AgentStatus): object {
  return { holder: lease.holder ?? '', self: lease.self, epoch: lease.epoch, since: lease.since }
}

/** The only check that can be left out: then a follower that could take over is ready as well. */
const EXCLUDABLE = 'leadership'

/** In the words of kube-apiserver's own `/readyz`, where what is excluded and unknown only earns a warning as well. */
function readiness(source: StatusSource, verbose: boolean, excluded: readonly string[]): Answer {
  const anyRole = excluded.includes(EXCLUDABLE)
  const ok = anyRole ? source.couldServe() : source.ready()
  if (ok && !verbose) return probe(null)
  const { checks } = source.status()
  const lines = checks.map((check) => checkLine(check, anyRole && (ok || check.name === EXCLUDABLE)))
  const foreign = excluded.filter((name) => name !== EXCLUDABLE)
  if (foreign.length > 0)
    lines.push(`warn: some health checks cannot be excluded: no matches for ${quoted(foreign)}`)
  lines.push(`readyz check ${ok ? 'passed' : 'failed'}`)
  return { status: ok ? 200 : 503, type: TEXT, body: `${lines.join('\n')}\n` }
}

/** @param waived not required, because the client also accepts a follower that could take over */
function checkLine(check: Check, waived: boolean): string {
  if (check.ok) return `[+]${check.name} ok`
  return waived
    ? `[+]${check.name} excluded: ok`
    : `[-]${check.name} failed: ${check.detail.replace(/\s+/g, ' ')}`
}

/** Shown with nothing in it but what a check's name can consist of: a terminal or a page may display it. */
function quoted(names: readonly string[]): string {
  return names.map((name) => `"${name.replace(/[^\w.-]/g, '?').slice(0, 40)}"`).join(',')
}

const REFUSALS: Readonly<Record<Refusal | 'no http', readonly [status: string, error: string]>> = {
  'too long': [
    '431 Request Header Fields Too Large',
    `the request line and the headers are longer than ${MAX_HEAD_BYTES} bytes`,
  ],
  'too late': ['408 Request Timeout', 'the request took too long to arrive'],
  'no http': ['400 Bad Request', 'this is no HTTP request'],
}

/** The text of an answer where there is no request to answer; the connection ends with it. */
function refusal(why: keyof typeof REFUSALS): string {
  const [status, error] = REFUSALS[why]
  const { type, body } = json(0, { error })
  const head = [
    `HTTP/1.1 ${status}`,
    `Content-Type: ${type}`,
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
