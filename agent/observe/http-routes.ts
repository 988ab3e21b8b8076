import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import type { AgentStatus, Check, ReplicaRow, StatusSource } from './agent-status.ts'
import { redactText } from './log.ts'
import { PAGE_POLICY, renderPage } from './page/page.ts'
import type { Exposition } from './prometheus.ts'

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

/** However many ask within a second, what they are shown is written once. */
function once(written: WeakMap<Rows, string>, write: (rows: Rows) => string, rows: Rows): string {
  const text = written.get(rows) ?? write(rows)
  written.set(rows, text)
  return text
}

/** Adds every route of the contract; all are GET and HEAD, none changes anything. */
export function addRoutes(server: FastifyInstance, source: StatusSource, metrics: Exposition): void {
  const routes: Readonly<Record<string, Handler>> = {
    '/livez': (_, reply) => probe(reply, source.live(), "the agent's own loop is stuck"),
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
      return void json(reply, 405, { error: 'nothing can be changed here: use GET or HEAD' })
    }
    if (hasBody(request)) return void json(reply, 400, { error: 'send the request without a body' })
    done()
  })
  server.setErrorHandler<Error & { statusCode?: number }>((error, _, reply) => {
    const code = error.statusCode ?? 500
    json(reply, code, { error: code < 500 ? error.message : 'the status cannot be told' })
  })
}

function probe(reply: FastifyReply, ok: boolean, problem: string): FastifyReply {
  return ok ? send(reply, 200, TEXT, 'ok\n') : send(reply, 503, TEXT, `${problem}\n`)
}

/** Exactly these four fields, in this order: other programs read them. */
function leaderOf({ lease }: AgentStatus): object {
  return { holder: lease.holder ?? '', self: lease.self, epoch: lease.epoch, since: lease.since }
}

function hasBody({ headers }: FastifyRequest): boolean {
  return headers['transfer-encoding'] !== undefined || Number(headers['content-length'] ?? 0) !== 0
}

function notFound(reply: FastifyReply): FastifyReply {
  return json(reply, 404, {
    error:
      'no such page: there are /, /livez, /readyz, /frontz, /workloadz, /leader, /status, /replicas and /metrics',
  })
}

/** The only check that can be left out: then a follower that could take over is ready as well. */
const EXCLUDABLE = 'leadership'

/** In the words of kube-apiserver's own `/readyz`, where what is excluded and unknown only earns a warning as well. */
function readiness(source: StatusSource, verbose: boolean, excluded: readonly string[]) {
  const anyRole = excluded.includes(EXCLUDABLE)
  const ok = anyRole ? source.couldServe() : source.ready()
  if (ok && !verbose) return { ok, text: 'ok\n' }
  const { checks } = source.status()
  const lines = checks.map((check) => line(check, anyRole && (ok || check.name === EXCLUDABLE)))
  const foreign = excluded.filter((name) => name !== EXCLUDABLE)
  if (foreign.length > 0)
    lines.push(`warn: some health checks cannot be excluded: no matches for ${quoted(foreign)}`)
  lines.push(`readyz check ${ok ? 'passed' : 'failed'}`)
  return { ok, text: `${lines.join('\n')}\n` }
}

/** `waived`: not required, because whoever asks also wants a follower that could take over. */
function line(check: Check, waived: boolean): string {
  if (check.ok) return `[+]${check.name} ok`
  return waived
    ? `[+]${check.name} excluded: ok`
    : `[-]${check.name} failed: ${check.detail.replace(/\s+/g, ' ')}`
}

/** Shown with nothing in it but what a check's name can consist of, for whoever displays it. */
function quoted(names: readonly string[]): string {
  return names.map((name) => `"${name.replace(/[^\w.-]/g, '?').slice(0, 40)}"`).join(',')
}
