import assert from 'node:assert/strict'
import { execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { accessSync, constants, readFileSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:http'
import { delimiter, join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { promisify } from 'node:util'
import { DEPLOY } from '../deploy/manifests.ts'
import { freePort } from '../harness/free-port.ts'
import { listening } from '../harness/listening.ts'
import { temporaryDirectory } from '../harness/temporary-directory.ts'
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

/** Load balancers, and whether they are for --traffic=front, so that each ready replica gets requests. */
const EXAMPLES = [
  ['haproxy/haproxy.cfg', false],
  ['nginx/nginx.conf', false],
  ['haproxy/haproxy-front.cfg', true],
  ['nginx/nginx-front.conf', true],
] as const

/** Starts a real HAProxy or nginx with its file of deploy/examples before two replicas on loopback. Throws if it rejects the file. */
async function open(t: TestContext, example: string, backends: readonly Stub[]) {
  const name = example.split('/')[0] as keyof typeof PROGRAMS
  const program = find(name)
  const [check, start] = PROGRAMS[name]
  const directory = temporaryDirectory()
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

for (const [example, toAll] of EXAMPLES)
  test(`deploy/examples/${example}: requests go to ready replicas only, once, and answers arrive unchanged`, async (t) => {
    const [a, b] = [await stub(t, 'a'), await stub(t, 'b')]
    Object.assign(a, { ready: true, frozen: false })
    Object.assign(b, { ready: toAll, frozen: !toAll })
    const ask = await open(t, example, [a, b])
    const answers = async (name: string) => {
      const { text } = await ask('/run?code=200', 'hello').catch(() => ({ text: '' }))
      return text === JSON.stringify({ name, method: 'POST', body: 'hello' })
    }
    /** Sends requests of which all must be answered by one replica, and none must reach the other. */
    const onlyTo = async (name: string, other: typeof a) => {
      await until(`an answer of ${name}`, () => answers(name))
      const unasked = other.asked
      for (let i = 0; i < 20; i++) assert.ok(await answers(name))
      assert.equal(other.asked, unasked)
    }
    if (toAll) await until('a request at each front', async () => (await answers('b')) && a.asked > 0)
    else {
      await until('a health check of the follower', async () => (await answers('a')) && b.checked > 0)
      await onlyTo('a', b)
    }

    // An error answer is passed on and not retried.
    for (const code of [401, 404, 429, 500, 502, 503]) {
      const before = a.asked + b.asked
      assert.equal((await ask(`/run?code=${code}`, 'once')).status, code)
      assert.equal(a.asked + b.asked - before, 1)
    }

    // The other one takes over, or is left.
    Object.assign(a, { ready: false, frozen: true })
    Object.assign(b, { ready: true, frozen: false })
    if (toAll) a.close()
    await onlyTo('b', a)
  })
