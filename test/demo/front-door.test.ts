import assert from 'node:assert/strict'
import { once } from 'node:events'
import { createServer, type RequestListener, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { afterEach, test } from 'node:test'
import { systemClock } from '../../agent/clock.ts'
import { FrontDoor } from '../../agent/demo/front-door.ts'
import { Gates, type Place } from '../../agent/demo/gates.ts'
import { Patience } from '../../agent/demo/patience.ts'
import { SteadyClient } from '../../agent/demo/steady-client.ts'
import { FatalError } from '../../agent/exit.ts'

const undo: (() => void)[] = []
afterEach(() => {
  for (const one of undo.splice(0).reverse()) one()
})

function until<T>(what: string, look: () => T | null | undefined): Promise<T> {
  return new Patience(systemClock, new AbortController().signal, () => {}).until(what, 10_000, look)
}

async function serve(answer: RequestListener): Promise<{ server: Server; port: number }> {
  const server = createServer(answer).listen(0, '127.0.0.1')
  await once(server, 'listening')
  undo.push(() => {
    server.close()
    server.closeAllConnections()
  })
  return { server, port: (server.address() as AddressInfo).port }
}

async function open(route: () => Place | null): Promise<FrontDoor> {
  const door = new FrontDoor(route)
  await door.listen({ host: '127.0.0.1', port: 0 })
  undo.push(() => door.close())
  return door
}

/** A replica made of two servers, whose gate a test opens and closes. */
async function makeReplica(name: string) {
  const state = { ready: false, connections: 0 }
  const agent = await serve((_, response) => response.writeHead(state.ready ? 200 : 503).end())
  const workload = await serve(async (request, response) => {
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

test('nobody is ready: 503', async () => {
  const door = await open(() => null)
  const answer = await fetch(door.url)
  assert.equal(answer.status, 503)
  assert.match(await answer.text(), /no replica is ready/)
})

test('a request goes on as it is, and the answer names the replica', async () => {
  const { place, state } = await makeReplica('replica-a')
  const door = await open(() => place)
  const answer = await fetch(`${door.url}/flow?x=1`, { method: 'POST', body: 'hello' })
  assert.equal(answer.status, 200)
  assert.equal(await answer.text(), 'POST /flow?x=1 hello')
  assert.equal(answer.headers.get('x-replica'), 'replica-a')
  assert.equal(answer.headers.get('x-from'), 'replica-a')
  // An idle connection would keep a drain waiting.
  await until('the connection to close', () => state.connections === 0 || null)
})

test('a replica that is gone is 502, at once', async () => {
  const { place, workload } = await makeReplica('replica-a')
  workload.server.close()
  const answer = await fetch((await open(() => place)).url)
  assert.equal(answer.status, 502)
  assert.match(await answer.text(), /replica-a: ECONNREFUSED/)
})

test('the gates are followed from one replica to the next', async () => {
  const [a, b] = [await makeReplica('replica-a'), await makeReplica('replica-b')]
  const gates = new Gates([a.place, b.place], systemClock)
  gates.start()
  undo.push(() => gates.stop())
  const door = await open(() => gates.current())

  a.state.ready = true
  await until('the first gate', () => gates.isOpen('replica-a') || null)
  assert.equal((await fetch(door.url)).headers.get('x-replica'), 'replica-a')
  a.state.ready = false
  await until('the closed gate', () => !gates.isOpen('replica-a') || null)
  assert.equal((await fetch(door.url)).status, 503)
  b.state.ready = true
  await until('the second gate', () => gates.isOpen('replica-b') || null)
  assert.equal((await fetch(door.url)).headers.get('x-replica'), 'replica-b')
})

test('a steady client measures the gap from the last good answer to the first of the next', async () => {
  const [a, b] = [await makeReplica('replica-a'), await makeReplica('replica-b')]
  let place: Place | null = a.place
  const door = await open(() => place)
  const { host, port } = door
  const client = new SteadyClient({
    host,
    port,
    path: '/',
    sender: ({ headers }) => headers['x-replica'],
    clock: systemClock,
  })
  client.start()
  undo.push(() => client.stop())
  await until('an answer', () => client.requests.find(({ replica }) => replica === 'replica-a'))
  const closedAt = systemClock.mono()
  place = null
  await until('five failures', () => client.failed >= 5 || null)
  assert.equal(client.gap('replica-a', 'replica-b', closedAt), null)
  const openedAt = systemClock.mono()
  place = b.place
  const gap = await until('the end of the gap', () => client.gap('replica-a', 'replica-b', closedAt))
  // What was under way when it closed may have been answered a little later.
  const lastAt = client.requests.findLast(({ replica }) => replica === 'replica-a')?.endedAt ?? 0
  assert.ok(gap.gapMs >= openedAt - lastAt, `${gap.gapMs} ms, closed for ${openedAt - lastAt} ms`)
  assert.ok(gap.failed >= 5)
})

test('a taken port is one sentence that says what to change', async () => {
  const { port } = await serve(() => {})
  const door = new FrontDoor(() => null)
  await assert.rejects(door.listen({ host: '127.0.0.1', port }), (error) => {
    assert.ok(error instanceof FatalError)
    assert.match(
      error.message,
      new RegExp(`127\\.0\\.0\\.1:${port} \\(the port is in use\\): give another --listen`),
    )
    return true
  })
})
