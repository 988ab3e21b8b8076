import assert from 'node:assert/strict'
import { once } from 'node:events'
import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { afterEach, test } from 'node:test'
import { mono } from '../../support/stage.ts'
import { tally } from './calls.ts'
import { Client } from './client.ts'
import { type Place, Routes } from './routes.ts'
import { eventually } from './wait.ts'

const WITHIN_MS = 5_000
const ended: (() => Promise<unknown>)[] = []

afterEach(async () => {
  for (const end of ended.splice(0).reverse()) await end()
})

/** A replica in one server: `/readyz`, and a flow that says what it heard. */
async function replica(name: string) {
  const state = { ready: false, flow: 'well' as 'well' | 'broken' | 'cut' }
  const server = createServer((request, response) => {
    if (request.url === '/readyz') {
      response.writeHead(state.ready ? 200 : 503).end()
    } else if (state.flow === 'cut') {
      request.socket.destroy()
    } else {
      request.on('data', (chunk) => response.write(chunk))
      response.writeHead(state.flow === 'well' ? 200 : 500)
      request.on('end', () => response.end())
    }
  }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  ended.push(() => closed(server))
  const { port } = server.address() as AddressInfo
  return { state, server, place: { name, httpPort: port, port } satisfies Place }
}

async function closed(server: Server): Promise<void> {
  server.closeAllConnections()
  if (server.listening) await new Promise((resolve) => server.close(resolve))
}

function routesTo(...places: Place[]): Routes {
  const routes = new Routes(places)
  ended.push(() => routes.close())
  return routes
}

function clientOf(routes: Routes): Client {
  const client = new Client(routes, 'key')
  ended.push(() => client.stop())
  return client
}

const leadsTo = (routes: Routes, name: string | undefined) =>
  eventually(`the route leads to ${name}`, WITHIN_MS, () => routes.route?.name === name)

test('the route leads to whoever is ready, and to nobody where nobody is', async () => {
  const [a, b] = [await replica('a'), await replica('b')]
  const routes = routesTo(a.place, b.place)
  a.state.ready = true
  await leadsTo(routes, 'a')
  a.state.ready = false
  await leadsTo(routes, undefined)
  b.state.ready = true
  await leadsTo(routes, 'b')
  await closed(b.server)
  await leadsTo(routes, undefined)
})

test('a route that is held stays where it is, while the closed gate is still seen', async () => {
  const a = await replica('a')
  const routes = routesTo(a.place)
  a.state.ready = true
  await leadsTo(routes, 'a')
  const since = mono()
  routes.hold()
  a.state.ready = false
  await eventually('the gate is seen to be closed', WITHIN_MS, () => routes.closedMs(since) > 0)
  assert.equal(routes.route?.name, 'a')
  routes.release()
  assert.equal(routes.route, undefined)
})

test('each request ends as a call, with the reason where it failed', async () => {
  const a = await replica('a')
  const routes = routesTo(a.place)
  const client = clientOf(routes)
  const failed = (why: string) =>
    eventually(why, WITHIN_MS, () => client.calls.some(({ failure }) => failure === why))
  await failed('nobody was ready')
  a.state.ready = true
  await eventually('a good answer', WITHIN_MS, () => client.answered(0, 'a') > 0)
  a.state.flow = 'broken'
  await failed('status 500')
  a.state.flow = 'cut'
  await failed('connection cut')
  routes.hold()
  await closed(a.server)
  await failed('connection refused')
  await client.stop()
  const { sent, failed: count, nobodyReady } = tally(client.calls, 0)
  assert.equal(sent - count, client.answered(0))
  assert.ok(nobodyReady > 0 && nobodyReady < count)
})
