import { once } from 'node:events'
import http from 'node:http'
import { connect, type Socket } from 'node:net'
import { text } from 'node:stream/consumers'
import type { TestContext } from 'node:test'

export interface Answer {
  readonly status: number
  readonly headers: http.IncomingHttpHeaders
  readonly body: string
}

/** One request on a connection of its own. */
export async function ask(
  { port }: { port: number },
  path: string,
  options: http.RequestOptions & { body?: string | Buffer } = {},
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
