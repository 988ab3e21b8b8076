import assert from 'node:assert/strict'
import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { test } from 'node:test'
import { systemClock } from '../../agent/clock.ts'
import { HealthProbe, type ProbedState } from '../../agent/supervisor/health.ts'

interface Case {
  readonly title: string
  readonly state: ProbedState
  /** The status of `/health`; `/health_check` answers 500, as it does without a database. */
  readonly health: number
  readonly told: RegExp
  readonly asked: readonly string[]
}

const CASES: Case[] = [
  {
    title: 'one that is healthy is not given up for its database, which every replica would miss',
    state: 'healthy',
    health: 200,
    told: /^(probed ){5}$/,
    asked: ['/health'],
  },
  {
    title: 'one that is healthy is given up once it does not answer several times in a row',
    state: 'healthy',
    health: 500,
    told: /^(probed ){3}unhealthy $/,
    asked: ['/health'],
  },
  {
    title: 'one that served is not given up for its database either, and not healthy without it',
    state: 'served',
    health: 200,
    told: /^(probed ){5}$/,
    asked: ['/health', '/health_check'],
  },
  {
    title: 'one that served is given up once it does not answer at all',
    state: 'served',
    health: 500,
    told: /^(probed ){3}unhealthy $/,
    asked: ['/health', '/health_check'],
  },
  {
    title: 'one that starts may fail any number of times',
    state: 'starting',
    health: 500,
    told: /^(probed ){5}$/,
    asked: ['/health_check'],
  },
]

for (const { title, state, health, told, asked } of CASES) {
  test(title, async (t) => {
    const paths = new Set<string>()
    const server = createServer(({ url = '' }, response) => {
      paths.add(url)
      response.writeHead(url === '/health' ? health : 500).end()
    }).listen(0, '127.0.0.1')
    await once(server, 'listening')
    let heard = ''
    const done = Promise.withResolvers<void>()
    const tell = (what: string) => {
      heard += `${what} `
      if (heard.length >= 'probed '.length * 5 || what !== 'probed') done.resolve()
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
    probe.start(state)
    await done.promise
    probe.stop()
    assert.match(heard, told)
    assert.deepEqual([...paths].sort(), asked)
  })
}
