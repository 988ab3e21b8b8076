import assert from 'node:assert/strict'
import { describe, type TestContext, test } from 'node:test'
import { type Service, serviceAt } from '../../../agent/cli/drill/langflow-service.ts'
import { reply, type Script, ScriptedServer } from '../../kube/scripted-server.ts'

async function serve(t: TestContext, script: Script) {
  const server = await ScriptedServer.start(script)
  t.after(() => server[Symbol.asyncDispose]())
  return server
}

async function open(t: TestContext, script: Script) {
  const server = await serve(t, script)
  return { server, service: serviceAt(new URL(`${server.url}/lf/`), 'echo', 'sk-1') }
}

const ask = (service: Service, number = 1) => service.ask(number, new AbortController().signal)

describe('without a flow', () => {
  test('only the answer 200 counts as good, and nothing is stored', async (t) => {
    const answers: [number, string, string | null][] = [
      [200, '{"status":"ok"}', null],
      [503, '{"status":"ok"}', 'status 503'],
    ]
    for (const [code, body, problem] of answers) {
      const server = await serve(t, (_, response) => response.writeHead(code).end(body))
      const service = serviceAt(new URL(`${server.url}/lf`), null, null)
      assert.equal(await ask(service), problem)
      assert.equal(server.requests[0]?.url.pathname, '/lf/health')
      assert.equal(service.messages, null)
    }
  })
})

describe('with a flow', () => {
  test('each attempt runs the flow once, in the session of the drill and over a new connection', async (t) => {
    const { server, service } = await open(t, (_, response) => reply(response, 200, {}))
    assert.deepEqual([await ask(service, 1), await ask(service, 2)], [null, null])
    const bodies = server.requests.map(({ body }) => JSON.parse(body))
    const [first] = server.requests
    assert.deepEqual(
      [first?.method, first?.url.pathname, first?.url.search],
      ['POST', '/lf/api/v1/run/echo', ''],
    )
    assert.equal(first?.headers['x-api-key'], 'sk-1')
    assert.equal(bodies[0].session_id, bodies[1].session_id)
    assert.match(bodies[1].input_value, new RegExp(`^${bodies[1].session_id} message 2\\.$`))
    assert.equal(server.connections, 2)
  })

  test('an attempt fails if its connection is refused or closed', async (t) => {
    const { server, service } = await open(t, ({ socket }) => void socket.destroy())
    await assert.rejects(ask(service))
    await server[Symbol.asyncDispose]()
    await assert.rejects(ask(service), { code: 'ECONNREFUSED' })
  })

  test('a response that is not a list of messages is an error of one sentence', async (t) => {
    for (const body of [{}, 'ok', null]) {
      const { service } = await open(t, (_, response) => reply(response, 200, body as object))
      await assert.rejects(service.messages!.kept(), { message: /monitor\/messages is not a list/ })
    }
  })

  test('the stored messages are read page by page, and identified by the numbers in their texts', async (t) => {
    const stored: string[] = []
    const { server, service } = await open(t, ({ method, body, url }, response) => {
      if (method === 'POST') {
        const { input_value } = JSON.parse(body)
        // LangFlow stores both the message and the answer.
        stored.unshift(input_value, `You said: ${input_value}`)
        return reply(response, 200, {})
      }
      const offset = Number(url.searchParams.get('offset'))
      const page = stored.slice(offset, offset + Number(url.searchParams.get('limit')))
      reply(response, 200, [
        ...page.map((text) => ({ text, sender: 'User' })),
        ...(offset === 0 ? [{ text: null }] : []),
      ])
    })
    for (let number = 1; number <= 150; number++) await ask(service, number)
    const kept = await service.messages?.kept()
    assert.deepEqual(
      [...(kept ?? [])].sort((a, b) => a - b),
      Array.from({ length: 150 }, (_, i) => i + 1),
    )
    const asked = server.requests.filter(({ method }) => method === 'GET')
    assert.deepEqual(
      asked.map(({ url }) => url.searchParams.get('offset')),
      ['0', '200'],
    )
    const sessions = new Set(asked.map(({ url }) => url.searchParams.get('session_id')))
    assert.deepEqual([...sessions], [JSON.parse(server.requests[0]?.body ?? '').session_id])
  })

  test('its session is deleted', async (t) => {
    const { server, service } = await open(t, ({ method }, response) => {
      if (method === 'DELETE') return void response.writeHead(204).end()
      reply(response, 200, {})
    })
    await ask(service)
    await service.messages?.forget()
    const session = JSON.parse(server.requests[0]?.body ?? '').session_id
    const deleted = server.requests.filter(({ method }) => method === 'DELETE')
    assert.deepEqual(
      deleted.map(({ url }) => url.pathname),
      [`/lf/api/v1/monitor/messages/session/${session}`],
    )
  })

  test('it is an error if LangFlow does not list or delete the messages', async (t) => {
    const { service } = await open(t, (_, response) => reply(response, 403, { detail: 'no' }))
    const refused = { code: 'not_served', message: /: status 403$/ }
    await assert.rejects(service.messages!.kept(), refused)
    await assert.rejects(service.messages!.forget(), refused)
  })
})
