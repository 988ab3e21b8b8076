import assert from 'node:assert/strict'
import { once } from 'node:events'
import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { describe, type TestContext, test } from 'node:test'
import { EmbeddedScene } from '../harness/scene.ts'
import { until } from '../harness/wait.ts'
import { type Backend, FRONTS, Front, type FrontKind } from './front.ts'

/** An agent and its LangFlow, as far as a front sees them. */
interface Stub extends Backend {
  ready: boolean
  /** Of LangFlow: accepts, and answers nobody. */
  frozen: boolean
  /** How many requests came to LangFlow. */
  asked: number
  /** How many came to the agent. */
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

async function stub(t: TestContext, name: string): Promise<Stub> {
  const self = { ready: false, frozen: true, asked: 0, checked: 0 }
  const langflow = createServer(async (request, response) => {
    self.asked += 1
    if (self.frozen) return
    let body = ''
    for await (const part of request) body += part
    response.statusCode = Number(new URL(request.url as string, 'http://a').searchParams.get('code') ?? 200)
    response.end(JSON.stringify({ name, method: request.method, body }))
  })
  const agent = createServer((_, response) => {
    self.checked += 1
    response.writeHead(self.ready ? 200 : 503).end()
  })
  return Object.assign(self, { port: await listening(t, langflow), httpPort: await listening(t, agent) })
}

async function opened(t: TestContext, kind: FrontKind, backends: [Backend, Backend]): Promise<Front> {
  const front = await Front.start(kind, backends)
  t.after(() => front.close())
  return front
}

for (const kind of FRONTS) {
  describe(`deploy/examples/${kind}`, () => {
    test('requests go to the leader, and a crash and a handover move them', async (t) => {
      const scene = await EmbeddedScene.open(t)
      const [a, b] = await scene.pair()
      const front = await opened(t, kind, [a, b])
      const served = async () => {
        const { status, text } = await front.ask('/who')
        return status === 200 ? (JSON.parse(text) as { replica: string }).replica : String(status)
      }
      await until('the leader is found', async () => (await served()) === 'a')
      for (let i = 0; i < 20; i++) assert.equal(await served(), 'a')
      process.kill(a.workloadPid(), 'SIGKILL')
      await b.event('serving')
      await until('requests have moved', async () => (await served()) === 'b')
      for (let i = 0; i < 20; i++) assert.equal(await served(), 'b')
      await b.stop()
      await until('requests have moved back', async () => (await served()) === 'a')
    })

    test('a LangFlow that is frozen is never used, and what LangFlow answers comes through as it is', async (t) => {
      const [a, b] = [await stub(t, 'a'), await stub(t, 'b')]
      Object.assign(a, { ready: true, frozen: false })
      const front = await opened(t, kind, [a, b])
      const answers = async (name: string) => {
        const { text } = await front.ask('/run?code=200', { method: 'POST', body: 'hello' })
        return text === JSON.stringify({ name, method: 'POST', body: 'hello' })
      }
      const found = (name: string) => answers(name).catch(() => false)
      await until('the other one is known', async () => {
        await found('a')
        return b.checked > 0
      })
      await until('the leader is found', () => found('a'))
      const unasked = b.asked
      for (let i = 0; i < 20; i++) assert.ok(await answers('a'))
      for (const code of [401, 404, 429, 500, 502, 503]) {
        const before = a.asked
        assert.deepEqual(await front.ask(`/run?code=${code}`, { method: 'POST', body: 'once' }), {
          status: code,
          text: JSON.stringify({ name: 'a', method: 'POST', body: 'once' }),
        })
        assert.equal(a.asked - before, 1)
      }
      assert.equal(b.asked, unasked)

      // The leader is in doubt, and the other one takes over.
      Object.assign(a, { ready: false, frozen: true })
      Object.assign(b, { frozen: false, ready: true })
      await until('requests have moved', () => found('b'))
      const before = a.asked
      for (let i = 0; i < 20; i++) assert.ok(await answers('b'))
      assert.equal(a.asked, before)

      b.ready = false
      await until('nobody is asked', async () => (await front.ask('/run')).status === 503)
      const [asked, nobody] = [b.asked, await front.ask('/run')]
      assert.deepEqual([nobody.status, b.asked], [503, asked])
    })
  })
}
