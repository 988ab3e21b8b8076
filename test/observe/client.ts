import type { Socket } from 'node:net'
import { text } from 'node:stream/consumers'
import type { TestContext } from 'node:test'
import type { Clock } from '../../agent/clock.ts'
import { type HttpServer, startHttpServer } from '../../agent/observe/http-server.ts'
import type { Exposition } from '../../agent/observe/prometheus.ts'
import { open } from '../harness/connection.ts'
import type { Replica } from './replica.ts'

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
