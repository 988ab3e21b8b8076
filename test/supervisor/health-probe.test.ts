import assert from 'node:assert/strict'
import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { type TestContext, test } from 'node:test'
import { systemClock } from '../../agent/clock.ts'
import { HealthProbe } from '../../agent/supervisor/health-probe.ts'

/** Asks a LangFlow whose database is away; tells how often each path was asked when `until` has come true. */
async function ask(
  t: TestContext,
  patience: Parameters<HealthProbe['start']>[0],
  until: RegExp,
  health = 200,
) {
  const asked: string[] = []
  const server = createServer(({ url = '' }, response) => {
    asked.push(url)
    response.writeHead(url === '/health' ? health : 500).end()
  }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  const done = Promise.withResolvers<string>()
  const told: string[] = []
  const tell = (what: string) => {
    told.push(what)
    if (until.test(told.join(' '))) done.resolve(told.join(' '))
  }
  const probe = new HealthProbe(
    {
      origin: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
      intervalMs: 5,
      timeoutMs: 5_000,
      failures: 3,
      clock: systemClock,
    },
    { healthy: () => tell('healthy'), unhealthy: () => tell('unhealthy'), probed: () => tell('probed') },
  )
  t.after(() => {
    probe.stop()
    server.closeAllConnections()
    server.close()
  })
  probe.start(patience)
  return { told: await done.promise, asked: new Set(asked) }
}

test('one that was healthy is not given up for its database, which every replica would miss', async (t) => {
  const { told, asked } = await ask(t, 'healthy', /(probed ){5}/)
  assert.doesNotMatch(told, /healthy/)
  assert.deepEqual([...asked], ['/health'])
})

test('one whose failures count is not given up for its database either, and not healthy without it', async (t) => {
  const { told, asked } = await ask(t, 'failures count', /(probed ){5}/)
  assert.doesNotMatch(told, /healthy/)
  assert.deepEqual([...asked].sort(), ['/health', '/health_check'])
})

test('one whose failures count is given up once it does not answer at all', async (t) => {
  const { told } = await ask(t, 'failures count', /unhealthy/, 500)
  assert.equal(told, 'probed probed probed unhealthy')
})

test('one that starts has as many failures as it takes', async (t) => {
  const { told, asked } = await ask(t, 'until healthy', /(probed ){5}/)
  assert.doesNotMatch(told, /healthy/)
  assert.deepEqual([...asked], ['/health_check'])
})
