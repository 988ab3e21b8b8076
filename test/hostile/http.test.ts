import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import type { HttpOptions, HttpOutcome } from './fixtures/attacks.ts'
import { HostileScene, skip } from './hostile-scene.ts'

const get = (path: string, more = '') => `GET ${path} HTTP/1.1\r\nHost: x\r\n${more}\r\n`
const THOUSAND = { connections: 1000, forMs: 2000 }
const LARGE = 'a'.repeat(1024 * 1024)
const MANY = get('/metrics').repeat(2000)

const ATTACKS: [what: string, attack: string, options: Omit<HttpOptions, 'port'>, statuses: string[]][] = [
  ['a thousand that ask for /status', 'requests', { ...THOUSAND, text: get('/status') }, ['200']],
  ['a thousand that ask for /metrics', 'requests', { ...THOUSAND, text: get('/metrics') }, ['200']],
  ['a thousand that close after asking', 'halfClosed', { ...THOUSAND, text: get('/status') }, ['200']],
  [
    'a thousand that say a byte now and then',
    'slowly',
    { ...THOUSAND, text: 'GET /status HTTP/1.1\r\nX: ' },
    [],
  ],
  ['a thousand that send half a request and close', 'halfClosed', { ...THOUSAND, text: 'GET /sta' }, []],
  [
    'giant headers',
    'pour',
    { ...THOUSAND, connections: 200, text: get('/status', `X: ${LARGE}\r\n`) },
    ['431'],
  ],
  [
    'one that sends requests without reading an answer first',
    'pour',
    { connections: 1, forMs: 2000, text: MANY },
    ['200'],
  ],
  ['two hundred of those', 'pour', { ...THOUSAND, connections: 200, text: MANY }, ['200']],
  ['a hundred of those that never read', 'deaf', { ...THOUSAND, connections: 100, text: MANY }, []],
]

describe('hostile HTTP clients', { skip }, () => {
  test('do not cost the election its turn', async (t) => {
    const hostile = await HostileScene.open(t)
    const port = hostile.leader.httpPort
    for (const [what, attack, options, statuses] of ATTACKS) {
      await t.test(what, async () => {
        const outcome = await hostile.unnoticed(() =>
          hostile.attack<HttpOutcome>(attack, { port, ...options }),
        )
        const { peak, made, answers } = outcome
        t.diagnostic(`${what}: ${peak} open at once of ${made} made, ${answers} answers`)
        assert.ok(peak >= options.connections, `${peak} were open at once`)
        assert.deepEqual(outcome.statuses, statuses)
      })
    }

    await t.test('do not hold up the end of an agent', async () => {
      const { leader, follower } = hostile
      const crowd = hostile
        .attack('slowly', { port, connections: 500, forMs: 60_000, text: 'GET /status HTTP/1.1\r\nX: ' })
        .catch(() => {})
      const began = performance.now()
      await leader.stop()
      await crowd
      t.diagnostic(`handed over and ended in ${Math.round(performance.now() - began)} ms`)
      assert.deepEqual(await leader.agent.exited, { code: 0, signal: null })
      await follower.agent.event('serving')
      assert.equal(hostile.scene.holder(), 'b')
    })
  })
})
