import assert from 'node:assert/strict'
import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { createServer, type RequestListener, type ServerResponse } from 'node:http'
import { createServer as createSecureServer } from 'node:https'
import { type AddressInfo, createServer as createTcpServer, type Server } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, type TestContext, test } from 'node:test'
import { askHealth } from '../../agent/workload/health-request.ts'
import { hasOpenssl, makeCertificate } from '../support/certificate.ts'
import { freePort } from '../support/free-port.ts'

/** Far longer than loopback takes. */
const LONG_MS = 20_000
const SHORT_MS = 100
const missing = hasOpenssl() ? false : 'SKIPPED: install openssl to test TLS'

async function portOf(t: TestContext, server: Server): Promise<number> {
  t.after(() => server.close())
  await once(server.listen(0, '127.0.0.1'), 'listening')
  return (server.address() as AddressInfo).port
}

/** The origin of a LangFlow that answers like this. */
async function answering(t: TestContext, answer: RequestListener): Promise<string> {
  const server = createServer(answer)
  t.after(() => server.closeAllConnections())
  return `http://127.0.0.1:${await portOf(t, server)}`
}

const status = (code: number) => (_: unknown, response: ServerResponse) =>
  response.writeHead(code, { 'content-type': 'application/json' }).end('{"status":"ok"}')

describe('LangFlow’s health', () => {
  test('is good where /health_check is answered with 200', async (t) => {
    const asked: (string | undefined)[] = []
    const origin = await answering(t, (request, response) => {
      asked.push(`${request.method} ${request.url}`)
      status(200)(request, response)
    })
    assert.equal(await askHealth(origin, LONG_MS), null)
    assert.equal(await askHealth(`${origin}/`, LONG_MS), null)
    assert.deepEqual(asked, ['GET /health_check', 'GET /health_check'])
  })

  test('is bad with any other status', async (t) => {
    for (const code of [500, 503, 404, 302, 204]) {
      assert.equal(await askHealth(await answering(t, status(code)), LONG_MS), `/health_check: ${code}`)
    }
  })

  test('is bad where there is no answer in time, which is told in whole milliseconds', async (t) => {
    const origin = await answering(t, () => {})
    assert.equal(await askHealth(origin, SHORT_MS), '/health_check: no answer within 0.1 s')
    assert.equal(await askHealth(origin, 99.0004), '/health_check: no answer within 0.1 s')
  })

  test('is bad where nobody listens', async () => {
    const origin = `http://127.0.0.1:${await freePort()}`
    assert.equal(await askHealth(origin, LONG_MS), '/health_check: ECONNREFUSED')
  })

  test('is bad where the connection ends before the answer, or what answers speaks no HTTP', async (t) => {
    const ending = await portOf(
      t,
      createTcpServer((socket) => socket.end()),
    )
    assert.equal(await askHealth(`http://127.0.0.1:${ending}`, LONG_MS), '/health_check: ECONNRESET')
    const ssh = await portOf(
      t,
      createTcpServer((socket) => socket.on('error', () => {}).end('SSH-2.0-x\r\n')),
    )
    assert.match((await askHealth(`http://127.0.0.1:${ssh}`, LONG_MS)) ?? '', /^\/health_check: HPE_[A-Z_]+$/)
  })

  test('is bad where the answer is cut off, or does not end in time', async (t) => {
    const cutOff = await answering(t, (_, response) => {
      response.writeHead(200, { 'content-length': 100 })
      response.write('{"status":', () => response.destroy())
    })
    assert.equal(await askHealth(cutOff, LONG_MS), '/health_check: no whole answer')
    const chunked = await answering(t, (_, response) => {
      response.writeHead(200)
      response.write('{"status":', () => response.destroy())
    })
    assert.equal(await askHealth(chunked, LONG_MS), '/health_check: no whole answer')
    const endless = await answering(t, (_, response) => void response.writeHead(200).write('{"status":'))
    assert.equal(await askHealth(endless, SHORT_MS), '/health_check: no answer within 0.1 s')
  })

  test('is asked on a connection of its own each time', async (t) => {
    const ports = new Set<number | undefined>()
    const origin = await answering(t, (request, response) => {
      ports.add(request.socket.remotePort)
      status(200)(request, response)
    })
    for (let time = 0; time < 3; time++) await askHealth(origin, LONG_MS)
    assert.equal(ports.size, 3)
  })

  test('is asked over TLS whatever the certificate: it is this pod’s own', { skip: missing }, async (t) => {
    const dir = mkdtempSync(join(tmpdir(), 'health-request-'))
    t.after(() => rmSync(dir, { recursive: true }))
    const certificate = makeCertificate(dir, 'langflow')
    const good = await portOf(t, createSecureServer(certificate, status(200)))
    assert.equal(await askHealth(`https://127.0.0.1:${good}`, LONG_MS), null)
    const bad = await portOf(t, createSecureServer(certificate, status(500)))
    assert.equal(await askHealth(`https://127.0.0.1:${bad}`, LONG_MS), '/health_check: 500')
  })
})
