import { once } from 'node:events'
import type { Server as HttpServer } from 'node:http'
import type { AddressInfo, Server } from 'node:net'
import type { TestContext } from 'node:test'

/** Lets a server listen on a loopback port, by default a free one, with its connections until the test ends. Returns the port. */
export async function listening(
  t: Pick<TestContext, 'after'>,
  server: Server | HttpServer,
  port = 0,
): Promise<number> {
  await once(server.listen(port, '127.0.0.1'), 'listening')
  t.after(() => {
    if ('closeAllConnections' in server) server.closeAllConnections()
    server.close()
  })
  return (server.address() as AddressInfo).port
}
