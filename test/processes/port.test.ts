import assert from 'node:assert/strict'
import { once } from 'node:events'
import { type AddressInfo, connect, createServer, type Server } from 'node:net'
import { test } from 'node:test'
import { isPortFree, openConnections, parseSockets } from '../../agent/processes/port.ts'

async function listening(host: string): Promise<{ server: Server; port: number }> {
  const server = createServer().listen(0, host)
  await once(server, 'listening')
  return { server, port: (server.address() as AddressInfo).port }
}

async function closed(server: Server): Promise<void> {
  server.close()
  await once(server, 'close')
}

for (const host of ['127.0.0.1', '0.0.0.0', '::1', '::']) {
  test(`a port is taken while something listens on ${host}, and free afterwards`, async (t) => {
    const { server, port } = await listening(host).catch((error: NodeJS.ErrnoException) => {
      if (error.code !== 'EADDRNOTAVAIL' && error.code !== 'EAFNOSUPPORT') throw error
      return { server: undefined, port: 0 }
    })
    if (!server) return t.skip('SKIPPED: this machine has no IPv6')
    assert.equal(isPortFree(port), false)
    await closed(server)
    assert.equal(isPortFree(port), true)
  })
}

test('open connections are counted, and only those of the server’s end', async () => {
  const { server, port } = await listening('127.0.0.1')
  assert.equal(openConnections(port), 0)
  const clients = []
  for (let n = 1; n <= 2; n++) {
    const accepted = once(server, 'connection')
    clients.push(connect(port, '127.0.0.1'))
    await accepted
    assert.equal(openConnections(port), n)
  }
  assert.equal(openConnections(clients[0]!.localPort!), 1)
  for (const client of clients) client.destroy()
  await closed(server)
  assert.equal(openConnections(port), 0)
})

const SOCKETS = `  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:1EB4 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 4711 1 0 100 0 0 10 0
  10: 00000000000000000000000001000000:0050 00000000000000000000000000000000:0000 01 00000000:00000000 00:00000000 00000000     0        0 12 1 0
1100: 0100007F:8050 0100007F:1EB4 06 00000000:00000000 03:00000E5B 00000000     0        0 0 3 0000000000000000
`

test('/proc/net/tcp is parsed for one local port, with addresses of both lengths', () => {
  assert.deepEqual(parseSockets(SOCKETS, 7860), [
    { ends: '0100007F:1EB4 00000000:0000', state: '0A', inode: '4711' },
  ])
  assert.deepEqual(parseSockets(SOCKETS, 80), [
    { ends: `${'0'.repeat(24)}01000000:0050 ${'0'.repeat(32)}:0000`, state: '01', inode: '12' },
  ])
})
