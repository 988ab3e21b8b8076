import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { type AddressInfo, createServer } from 'node:net'
import { networkInterfaces } from 'node:os'
import { describe, type TestContext, test } from 'node:test'
import { canConnect } from '../../agent/workload/reach.ts'
import { freePort } from '../support/free-port.ts'

/** Far longer than loopback takes. */
const LONG_MS = 20_000
const SHORT_MS = 150
const addresses = Object.values(networkInterfaces()).flatMap((held) => held ?? [])
const missing = addresses.some(({ address }) => address === '::1')
  ? false
  : 'SKIPPED: this machine has no IPv6'

async function listening(t: TestContext, host: string): Promise<number> {
  const server = createServer((socket) => socket.on('error', () => {}).resume()).listen(0, host)
  t.after(() => server.close())
  await once(server, 'listening')
  return (server.address() as AddressInfo).port
}

/** A port whose connections nobody accepts: the kernel does, until the queue is full. */
async function deafPort(t: TestContext): Promise<number> {
  const script = `
    const server = require('net').createServer().listen({ port: 0, host: '127.0.0.1', backlog: 1 }, () => {
      require('fs').writeSync(1, String(server.address().port))
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0)
    })`
  const child = spawn(process.execPath, ['-e', script], { stdio: ['ignore', 'pipe', 'inherit'] })
  t.after(() => child.kill('SIGKILL'))
  const [port] = await once(child.stdout, 'data')
  return Number(port)
}

describe('whether something accepts connections at an address', () => {
  for (const host of ['127.0.0.1', '::1']) {
    test(`is told of ${host}`, { skip: host === '::1' && missing }, async (t) => {
      assert.equal(await canConnect({ host, port: await listening(t, host) }, LONG_MS), null)
    })
  }

  test('is told of a name, whichever of its addresses comes first', async (t) => {
    const port = await listening(t, '127.0.0.1')
    assert.equal(await canConnect({ host: 'localhost', port }, LONG_MS), null)
  })

  test('is denied by the code of the error where nobody listens', async () => {
    const port = await freePort()
    for (const host of ['127.0.0.1', 'localhost']) {
      assert.equal(await canConnect({ host, port }, LONG_MS), 'ECONNREFUSED')
    }
  })

  test('is denied where there is no answer in time', async (t) => {
    const port = await deafPort(t)
    let problem: string | null = null
    for (let queued = 0; problem === null && queued < 10; queued++) {
      problem = await canConnect({ host: '127.0.0.1', port }, SHORT_MS)
    }
    assert.equal(problem, 'no answer')
  })

  test('is found out without leaving a connection open', async (t) => {
    const server = createServer().listen(0, '127.0.0.1')
    t.after(() => server.close())
    await once(server, 'listening')
    const accepted = once(server, 'connection')
    const { port } = server.address() as AddressInfo
    assert.equal(await canConnect({ host: '127.0.0.1', port }, LONG_MS), null)
    const [socket] = await accepted
    socket.resume()
    await once(socket, 'close')
  })
})
