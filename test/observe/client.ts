import { once } from 'node:events'
import http from 'node:http'
import { connect, type Socket } from 'node:net'
import { text } from 'node:stream/consumers'
import type { TestContext } from 'node:test'
import type { Clock } from '../../agent/clock.ts'
import { type HttpServer, startHttpServer } from '../../agent/observe/http-server.ts'
import type { Exposition } from '../../agent/observe/prometheus.ts'
import type { Replica } from './replica.ts'

export interface Answer {
  readonly status: number
  readonly headers: http.IncomingHttpHeaders
  readonly body: string
}

/** Serves a replica on a free port of the loopback interface until the test ends. */
export async function serve(
  t: TestContext,
  replica: Replica,
  { clock, metrics = replica.metrics }: { clock?: Clock; metrics?: Exposition } = {},
): Promise<HttpServer> {
  const listen = { host: '127.0.0.1', port: 0 }
  const server = await startHttpServer(listen, replica, metrics, clock)
  t.after(() => server.close())
  return server
}

/** One request on a connection of its own. */
export async function ask(
  { port }: { port: number },
  path: string,
  options: http.RequestOptions & { body?: string } = {},
): Promise<Answer> {
  const { body, ...rest } = options
  const request = http.request({ host: '127.0.0.1', port, path, agent: false, ...rest })
  request.end(body)
  const [response] = (await once(request, 'response')) as [http.IncomingMessage]
  return { status: response.statusCode!, headers: response.headers, body: await text(response) }
}

/** Opens a connection and sends nothing. */
export async function open(t: TestContext, { port }: { port: number }): Promise<Socket> {
  const socket = connect(port, '127.0.0.1')
  t.after(() => socket.destroy())
  socket.on('error', () => {})
  await once(socket, 'connect')
  return socket
}

/** Resolves once the connection is gone, in order or by a reset. */
export function closed(socket: Socket): Promise<void> {
  return new Promise((resolve) => socket.once('close', () => resolve()))
}

/** Sends raw bytes. Resolves to the whole response when the server ends the connection. */
export async function sendRaw(t: TestContext, server: { port: number }, bytes: string): Promise<string> {
  const socket = await open(t, server)
  socket.write(bytes)
  return text(socket)
}
