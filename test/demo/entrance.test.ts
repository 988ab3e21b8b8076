import assert from 'node:assert/strict'
import { once } from 'node:events'
import { createServer, type RequestListener } from 'node:http'
import type { AddressInfo } from 'node:net'
import { type TestContext, test } from 'node:test'
import { systemClock } from '../../agent/clock.ts'
import { until } from '../harness/wait.ts'
import { SteadyClient } from './client.ts'
import { Entrance } from './entrance.ts'

async function serve(t: TestContext, answer: RequestListener) {
  const server = createServer(answer).listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.after(() => {
    server.close()
    server.closeAllConnections()
  })
  return { server, port: (server.address() as AddressInfo).port }
}

/** A replica made of two servers, whose gate a test opens and closes. */
async function makeReplica(t: TestContext, name: string) {
  const state = { ready: false, connections: 0 }
  const agent = await serve(t, (_, response) => response.writeHead(state.ready ? 200 : 503).end())
  const workload = await serve(t, async (request, response) => {
    let body = ''
    for await (const chunk of request) body += chunk
    response.writeHead(200, { 'x-from': name }).end(`${request.method} ${request.url} ${body}`)
  })
  workload.server.on('connection', (socket) => {
    state.connections++
    socket.on('close', () => state.connections--)
  })
  return { state, place: { name, agentPort: agent.port, port: workload.port }, workload }
}

async function openEntrance(t: TestContext) {
  const [a, b] = [await makeReplica(t, 'replica-a'), await makeReplica(t, 'replica-b')]
  const entrance = new Entrance()
  const end = new AbortController()
  t.after(() => {
    end.abort()
    entrance.close()
  })
  await entrance.open({ host: '127.0.0.1', port: 0 }, [a.place, b.place], end.signal)
  const gate = async ({ state, place }: typeof a, ready: boolean) => {
    state.ready = ready
    await until(`the gate of ${place.name}`, async () => entrance.isOpenTo(place.name) === ready)
  }
  return { a, b, entrance, gate, signal: end.signal }
}

test('the entrance passes requests on to whoever is ready, and says who answered', async (t) => {
  const { a, b, entrance, gate } = await openEntrance(t)
  const refused = await fetch(entrance.url)
  assert.equal(refused.status, 503)
  assert.match(await refused.text(), /no replica is ready/)

  await gate(a, true)
  const answer = await fetch(`${entrance.url}/flow?x=1`, { method: 'POST', body: 'hello' })
  assert.equal(await answer.text(), 'POST /flow?x=1 hello')
  assert.deepEqual(
    [answer.status, answer.headers.get('x-replica'), answer.headers.get('x-from')],
    [200, 'replica-a', 'replica-a'],
  )
  // An idle connection would keep a drain waiting.
  await until('the connection to close', async () => a.state.connections === 0)

  await gate(a, false)
  assert.equal((await fetch(entrance.url)).status, 503)
  await gate(b, true)
  assert.equal((await fetch(entrance.url)).headers.get('x-replica'), 'replica-b')

  b.workload.server.close()
  const gone = await fetch(entrance.url)
  assert.equal(gone.status, 502)
  assert.match(await gone.text(), /replica-b: ECONNREFUSED/)
})

test('a steady client measures the gap from the last good answer to the first of the next', async (t) => {
  const { a, b, entrance, gate, signal } = await openEntrance(t)
  await gate(a, true)
  const client = new SteadyClient(({ headers }) => headers['x-replica'])
  client.start(entrance.url, signal)
  const answers = (name: string) => client.requests.filter(({ replica }) => replica === name)
  await until('an answer', async () => answers('replica-a').length > 0)
  const closedAt = systemClock.mono()
  await gate(a, false)
  await until('five failures', async () => client.failed >= 5)
  assert.equal(client.gap('replica-a', 'replica-b', closedAt), null)
  const openedAt = systemClock.mono()
  await gate(b, true)
  await until('the next answer', async () => answers('replica-b').length > 0)
  const gap = client.gap('replica-a', 'replica-b', closedAt)
  const lastAt = answers('replica-a').at(-1)!.endedAt
  assert.ok(gap!.gapMs >= openedAt - lastAt, `${gap!.gapMs} ms, closed for ${openedAt - lastAt} ms`)
  assert.ok(gap!.failed >= 5)
})
