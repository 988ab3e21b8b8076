import assert from 'node:assert/strict'
import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { test } from 'node:test'
import { systemClock } from '../../agent/clock.ts'
import { HealthProbe, type ProbedState } from '../../agent/supervisor/health-probe.ts'
import { freePort } from '../harness/free-port.ts'

const ASKED: Record<ProbedState, string[]> = {
  healthy: ['/health'],
  served: ['/health', '/health_check'],
  starting: ['/health_check'],
}

/** `/health` has this status; `/health_check` answers 500, as it does without a database. */
const CASES: [state: ProbedState, status: number, givenUp: boolean, what: string][] = [
  ['healthy', 200, false, 'is not given up for its database, which every replica would miss'],
  ['healthy', 500, true, 'is given up once it does not answer several times in a row'],
  ['served', 200, false, 'is not given up for its database either, and not healthy without it'],
  ['served', 500, true, 'is given up once it does not answer several times in a row'],
  ['starting', 500, false, 'may fail any number of times'],
]

for (const [state, status, givenUp, what] of CASES) {
  test(`a LangFlow that is ${state} ${what}`, async (t) => {
    const asked = new Set<string>()
    const server = createServer(({ url = '' }, response) => {
      asked.add(url)
      response.writeHead(url === '/health' ? status : 500).end()
    }).listen(0, '127.0.0.1')
    await once(server, 'listening')
    const { port } = server.address() as AddressInfo
    const told: string[] = []
    const done = Promise.withResolvers<void>()
    const tell = (outcome: string) => {
      if (told.push(outcome) === 5 || outcome !== 'probed') done.resolve()
    }
    const probe = new HealthProbe(
      {
        target: { origin: `http://127.0.0.1:${port}`, port },
        healthIntervalMs: 5,
        healthTimeoutMs: 5_000,
        healthFailures: 3,
      },
      systemClock,
      { healthy: () => tell('healthy'), unhealthy: () => tell('unhealthy'), probed: () => tell('probed') },
    )
    t.after(() => {
      server.closeAllConnections()
      server.close()
    })
    probe.start(state)
    await done.promise
    probe.stop()
    assert.equal(
      told.join(' '),
      givenUp ? 'probed probed probed unhealthy' : 'probed probed probed probed probed',
    )
    assert.deepEqual([...asked].sort(), ASKED[state])
  })
}

test('one that was given up, and that nobody ends, is healthy again once it answers', async (t) => {
  let status = 500
  const server = createServer((_, response) => response.writeHead(status).end()).listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  const told: string[] = []
  const done = Promise.withResolvers<void>()
  const probe = new HealthProbe(
    {
      target: { origin: `http://127.0.0.1:${port}`, port },
      healthIntervalMs: 5,
      healthTimeoutMs: 5_000,
      healthFailures: 3,
    },
    systemClock,
    {
      healthy: () => {
        told.push('healthy')
        done.resolve()
      },
      unhealthy: () => {
        if (told.push('unhealthy') === 2) status = 200
      },
      probed: () => {},
    },
  )
  t.after(() => {
    server.closeAllConnections()
    server.close()
  })
  probe.start('healthy')
  await done.promise
  probe.stop()
  assert.deepEqual(told, ['unhealthy', 'unhealthy', 'healthy'])
})

test('a LangFlow that answers nothing hangs, and one that refuses does not', async (t) => {
  const server = createServer(() => {}).listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  t.after(() => {
    server.closeAllConnections()
    server.close()
  })
  const hangs = async (to: number) => {
    const done = Promise.withResolvers<boolean>()
    const probe = new HealthProbe(
      {
        target: { origin: `http://127.0.0.1:${to}`, port: to },
        ...{ healthIntervalMs: 5, healthTimeoutMs: 50, healthFailures: 2 },
      },
      systemClock,
      { healthy: () => {}, unhealthy: (_, silent) => done.resolve(silent ?? false), probed: () => {} },
    )
    probe.start('healthy')
    return done.promise.finally(() => probe.stop())
  }
  assert.deepEqual([await hangs(port), await hangs(await freePort())], [true, false])
})
