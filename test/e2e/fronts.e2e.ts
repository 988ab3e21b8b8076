import assert from 'node:assert/strict'
import { execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { accessSync, constants, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { delimiter, join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { promisify } from 'node:util'
import { DEPLOY } from '../deploy/manifests.ts'
import { freePort } from '../harness/free-port.ts'
import { until } from '../harness/wait.ts'

const run = promisify(execFile)
/** Debian installs servers in sbin directories, which may be missing from PATH. */
const PLACES = [...(process.env.PATH ?? '').split(delimiter), '/usr/sbin', '/usr/local/sbin']

/** The timeout of a request, since a frozen LangFlow never answers. */
const ANSWER_WITHIN_MS = 2_000

/** The arguments that check a file, and that run the program with it. */
const PROGRAMS = {
  haproxy: [
    ['-c', '-f'],
    ['-db', '-f'],
  ],
  nginx: [
    ['-t', '-c'],
    ['-g', 'daemon off; error_log stderr;', '-c'],
  ],
} as const

/** Load balancers for --traffic=readiness, and for --traffic=front. */
const TO_LEADER = ['haproxy/haproxy.cfg', 'nginx/nginx.conf'] as const
const TO_FRONTS = ['haproxy/haproxy-front.cfg', 'nginx/nginx-front.conf'] as const

/** Starts a real HAProxy or nginx with its file of deploy/examples before two replicas on loopback. Throws if it rejects the file. */
async function open(t: TestContext, example: string, backends: readonly Stub[]) {
  const name = example.split('/')[0] as keyof typeof PROGRAMS
  const program = find(name)
  const [check, start] = PROGRAMS[name]
  const directory = mkdtempSync(join(tmpdir(), `${name}-`))
  t.after(() => rmSync(directory, { recursive: true }))
  const file = join(directory, 'front.conf')
  const port = await freePort()
  // Regular expressions in the file escape the dots of addresses.
  let text = readFileSync(join(DEPLOY, 'examples', example), 'utf8').replaceAll('\\.', '.')
  for (const [i, backend] of backends.entries()) {
    const address = `10.0.0.1${i + 1}`
    text = text
      .replaceAll(
        RegExp(`${address}:(?:7860|8091) port 8090`, 'g'),
        `127.0.0.1:${backend.port} port ${backend.httpPort}`,
      )
      .replaceAll(`${address}:8090`, `127.0.0.1:${backend.httpPort}`)
      .replaceAll(RegExp(`${address}:(?:7860|8091)`, 'g'), `127.0.0.1:${backend.port}`)
  }
  text = text
    .replace('bind :7860', `bind 127.0.0.1:${port}`)
    .replace('listen 7860', `listen 127.0.0.1:${port}`)
    .replace('/run/nginx.pid', join(directory, 'pid'))
  writeFileSync(file, text)
  await run(program, [...check, file])
  const child = spawn(program, [...start, file], { stdio: 'ignore' })
  t.after(async () => {
    if (child.exitCode === null && child.kill('SIGTERM')) await once(child, 'exit')
  })
  const ask = async (path: string, body?: string) => {
    const signal = AbortSignal.timeout(ANSWER_WITHIN_MS)
    const init = body === undefined ? { signal } : { signal, method: 'POST', body }
    const response = await fetch(`http://127.0.0.1:${port}${path}`, init)
    return { status: response.status, text: await response.text() }
  }
  await until(`${name} answers`, () => ask('/').then(Boolean, () => false))
  return ask
}

function find(program: string): string {
  const found = PLACES.map((place) => join(place, program)).find((path) => {
    try {
      accessSync(path, constants.X_OK)
      return true
    } catch {
      return false
    }
  })
  if (found !== undefined) return found
  throw new Error(`${program} is not installed: apt-get install haproxy nginx-light`)
}

/** An agent, and LangFlow or the front beside it, with the behaviour that a load balancer sees. */
interface Stub {
  readonly port: number
  readonly httpPort: number
  ready: boolean
  /** LangFlow accepts connections but answers no request. */
  frozen: boolean
  /** Number of requests that LangFlow or the front received. */
  asked: number
  /** Number of health checks that the agent received. */
  checked: number
}

async function listening(t: TestContext, server: Server): Promise<number> {
  await once(server.listen(0, '127.0.0.1'), 'listening')
  t.after(() => {
    server.closeAllConnections()
    server.close()
  })
  return (server.address() as AddressInfo).port
}

async function stub(t: TestContext, name: string): Promise<Stub & { close(): void }> {
  const self = { ready: false, frozen: true, asked: 0, checked: 0 }
  const langflow = createServer(async (request, response) => {
    self.asked += 1
    if (self.frozen) return
    let body = ''
    for await (const part of request) body += part
    response.statusCode = Number(new URL(request.url as string, 'http://a').searchParams.get('code') ?? 200)
    response.end(JSON.stringify({ name, method: request.method, body }))
  })
  const agent = createServer(({ url }, response) => {
    self.checked += 1
    response.writeHead(self.ready && (url === '/readyz' || url === '/frontz') ? 200 : 503).end()
  })
  const close = () => {
    langflow.closeAllConnections()
    langflow.close()
  }
  return Object.assign(self, {
    close,
    port: await listening(t, langflow),
    httpPort: await listening(t, agent),
  })
}

for (const kind of TO_LEADER) {
  test(`deploy/examples/${kind}: all requests go to the leader, and its answers arrive unchanged`, async (t) => {
    const [a, b] = [await stub(t, 'a'), await stub(t, 'b')]
    Object.assign(a, { ready: true, frozen: false })
    const ask = await open(t, kind, [a, b])
    const answers = async (name: string) => {
      const { text } = await ask('/run?code=200', 'hello')
      return text === JSON.stringify({ name, method: 'POST', body: 'hello' })
    }
    const found = (name: string) => answers(name).catch(() => false)
    await until('a health check of the follower', async () => {
      await found('a')
      return b.checked > 0
    })
    await until('an answer of the leader', () => found('a'))
    const unasked = b.asked
    for (let i = 0; i < 20; i++) assert.ok(await answers('a'))
    for (const code of [401, 404, 429, 500, 502, 503]) {
      const before = a.asked
      assert.deepEqual(await ask(`/run?code=${code}`, 'once'), {
        status: code,
        text: JSON.stringify({ name: 'a', method: 'POST', body: 'once' }),
      })
      assert.equal(a.asked - before, 1)
    }
    assert.equal(b.asked, unasked)

    // The leader is in doubt, and the follower takes over.
    Object.assign(a, { ready: false, frozen: true })
    Object.assign(b, { frozen: false, ready: true })
    await until('an answer of the new leader', () => found('b'))
    const before = a.asked
    for (let i = 0; i < 20; i++) assert.ok(await answers('b'))
    assert.equal(a.asked, before)

    b.ready = false
    await until('503 while no replica is ready', async () => (await ask('/run')).status === 503)
    const [asked, nobody] = [b.asked, await ask('/run')]
    assert.deepEqual([nobody.status, b.asked], [503, asked])
  })
}

for (const kind of TO_FRONTS) {
  test(`deploy/examples/${kind}: requests go to all fronts, and none fails if one is gone`, async (t) => {
    const [a, b] = [await stub(t, 'a'), await stub(t, 'b')]
    for (const one of [a, b]) Object.assign(one, { ready: true, frozen: false })
    const ask = await open(t, kind, [a, b])
    const answer = async () => {
      const { status, text } = await ask('/run', 'hello')
      return { status, name: status === 200 ? (JSON.parse(text) as { name: string }).name : '' }
    }
    await until('a request at each front', async () => {
      await answer()
      return a.asked > 0 && b.asked > 0
    })
    // Error answers of a front are passed on and not retried, since the front has already held the request.
    for (const code of [404, 502, 503]) {
      const before = a.asked + b.asked
      assert.equal((await ask(`/run?code=${code}`, 'once')).status, code)
      assert.equal(a.asked + b.asked - before, 1)
    }
    b.ready = false
    b.close()
    for (let i = 0; i < 20; i++) assert.deepEqual(await answer(), { status: 200, name: 'a' })
  })
}
