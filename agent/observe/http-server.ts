import { setImmediate } from 'node:timers/promises'
import fastify, { type FastifyInstance, type FastifyReply, type FastifyRequest } from 'fastify'
import { type Clock, systemClock } from '../clock.ts'
import type { Listen } from '../config/values.ts'
import type { Fault } from '../fault.ts'
import { listenOn } from '../processes/port.ts'
import { rawResponse } from '../raw-response.ts'
import { redactText } from '../redaction.ts'
import type { AgentStatus, Check, ReplicaRow } from '../status/agent-status.ts'
import { limitConnections } from './connection-limiter.ts'
import { PAGE_POLICY, pageOf } from './page.ts'
import type { Exposition } from './prometheus.ts'

export interface StatusSource {
  status(): AgentStatus
  /** This replica first, then its peers, each asked less than a second ago. */
  replicas(): Promise<readonly ReplicaRow[]>
  /** False if the agent's election loop is stuck: `/livez`. An API server outage never makes it false. */
  live(): boolean
  ready(): boolean
  /** `/readyz?exclude=leadership`: whether this replica could take over, or serves. */
  couldServe(): boolean
  frontFault(): Fault
  launcherAnswers(): boolean
  /** The answer to a holder's sealed request for consent. `null`: it is not signed. The only request with an effect. */
  consent(sealed: string): string | null
}

export type HttpServer = Awaited<ReturnType<typeof startHttpServer>>

/** Carries a sealed request for consent, which thus needs no body. */
export const CONSENT_HEADER = 'langflow-leader-consent'
const MAX_HEAD_BYTES = 8 * 1024

export async function startHttpServer(
  listen: Listen,
  source: StatusSource,
  metrics: Exposition,
  clock: Clock = systemClock,
) {
  // No route has a schema. The compilers would take a tenth of the agent's memory.
  const noCompiler = () => {
    throw new Error('no route may have a schema')
  }
  const server = fastify({
    logger: false,
    http: { maxHeaderSize: MAX_HEAD_BYTES },
    schemaController: { compilersFactory: { buildValidator: noCompiler, buildSerializer: noCompiler } },
    clientErrorHandler: (_, socket) => socket.end(rawResponse(400, 'this is not an HTTP request')),
  })
  const end = limitConnections(server.server, clock)
  // The Lease is renewed between two turns of the event loop, so one request is answered in each. The kubelet's probes do
  // not wait behind it: they are cheap, and three late ones would end the traffic to LangFlow.
  let turn = Promise.resolve()
  server.addHook('onRequest', async ({ routeOptions }) => {
    if (URGENT.has(routeOptions.url ?? '')) return
    turn = turn.then(() => setImmediate())
    await turn
  })
  addRoutes(server, source, metrics)
  await server.ready()
  const bound = await listenOn(server.server, listen, '--listen')
  // An error, such as a lack of file descriptors for a connection, ends nothing: other connections may be accepted.
  server.server.on('error', () => {})
  const close = async () => {
    const closed = new Promise((resolve) => server.server.close(resolve))
    end()
    await closed
    await server.close()
  }
  return { ...bound, close }
}

const CONSENT = '/consent'
const URGENT: ReadonlySet<string> = new Set([CONSENT, '/livez', '/readyz', '/frontz', '/workloadz'])

const TEXT = 'text/plain; charset=utf-8'

type Handler = (request: FastifyRequest, reply: FastifyReply) => FastifyReply | Promise<FastifyReply>

function send(reply: FastifyReply, code: number, type: string, body: string): FastifyReply {
  return reply.code(code).type(type).send(body)
}

function json(reply: FastifyReply, code: number, value: unknown): FastifyReply {
  return send(reply, code, 'application/json; charset=utf-8', `${redactText(JSON.stringify(value))}\n`)
}

function addRoutes(server: FastifyInstance, source: StatusSource, metrics: Exposition): void {
  const routes: Readonly<Record<string, Handler>> = {
    '/livez': (_, reply) => probe(reply, source.live() ? null : "the agent's election loop is stuck"),
    '/readyz': ({ query }, reply) => {
      const { ok, text } = readiness(source, query as Readonly<Record<string, string | string[]>>)
      return send(reply, ok ? 200 : 503, TEXT, text)
    },
    '/frontz': (_, reply) => probe(reply, source.frontFault()),
    '/workloadz': (_, reply) =>
      probe(reply, source.launcherAnswers() ? null : 'the launcher does not answer'),
    '/leader': (_, reply) => {
      const { holder, self, epoch, since } = source.status().lease
      return json(reply, 200, { holder: holder ?? '', self, epoch, since })
    },
    '/status': (_, reply) => json(reply, 200, source.status()),
    '/replicas': async (_, reply) => json(reply, 200, await source.replicas()),
    '/': async (_, reply) => {
      reply.header('content-security-policy', PAGE_POLICY).header('referrer-policy', 'no-referrer')
      return send(reply, 200, 'text/html; charset=utf-8', pageOf(await source.replicas()))
    },
    '/metrics': async (_, reply) => send(reply, 200, metrics.contentType, await metrics.expose()),
  }
  for (const [url, handler] of Object.entries(routes)) server.get(url, handler)
  const error = `not found: the endpoints are ${Object.keys(routes).join(', ')}`
  server.setNotFoundHandler((_, reply) => json(reply, 404, { error }))
  server.addHook('onRequest', (request, reply, done) => {
    reply.header('x-content-type-options', 'nosniff').header('cache-control', 'no-store')
    const { method, routeOptions } = request
    if (method === 'GET' || method === 'HEAD' || routeOptions.url === CONSENT) return done()
    reply.header('allow', 'GET, HEAD')
    json(reply, 405, { error: 'all endpoints only support GET and HEAD' })
  })
  // Answered before any body is read.
  const onRequest = async ({ headers }: FastifyRequest, reply: FastifyReply) => {
    const answer = source.consent(String(headers[CONSENT_HEADER]))
    return send(reply, answer === null ? 401 : 200, TEXT, answer ?? 'the request is not signed\n')
  }
  server.post(CONSENT, { onRequest }, async () => {})
  server.setErrorHandler((_, __, reply) => json(reply, 500, { error: 'the agent cannot read its status' }))
}

function probe(reply: FastifyReply, fault: Fault): FastifyReply {
  return send(reply, fault === null ? 200 : 503, TEXT, `${fault ?? 'ok'}\n`)
}

/** The only check that can be left out. In that case, a follower that could take over is ready as well. */
const EXCLUDABLE = 'leadership'

function readiness(source: StatusSource, query: Readonly<Record<string, string | string[]>>) {
  const anyRole = [query.exclude ?? []].flat().includes(EXCLUDABLE)
  const ok = anyRole ? source.couldServe() : source.ready()
  if (ok && !('verbose' in query)) return { ok, text: 'ok\n' }
  const { checks } = source.status()
  const lines = checks.map((check) => line(check, anyRole && (ok || check.name === EXCLUDABLE)))
  return { ok, text: `${lines.join('')}readyz check ${ok ? 'passed' : 'failed'}\n` }
}

/** @param waived not required, because the client also accepts a follower that could take over */
function line({ name, ok, detail }: Check, waived: boolean): string {
  if (ok) return `[+]${name} ok\n`
  return waived ? `[+]${name} excluded: ok\n` : `[-]${name} failed: ${detail.replace(/\s+/g, ' ')}\n`
}
