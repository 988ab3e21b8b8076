import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import type { HttpOptions, HttpOutcome } from './fixtures/attacks.ts'
import { HostileScene, skip } from './hostile-scene.ts'

const get = (path: string, more = '') => `GET ${path} HTTP/1.1\r\nHost: x\r\n${more}\r\n`
const LARGE = 'a'.repeat(1024 * 1024)
const MANY = get('/metrics').repeat(2000)
const FOR_MS = 2000

const ATTACKS: [what: string, attack: string, connections: number, text: string, statuses: string[]][] = [
  ['a thousand that ask for /status', 'requests', 1000, get('/status'), ['200']],
  ['a thousand that ask for /metrics', 'requests', 1000, get('/metrics'), ['200']],
  ['a thousand that close after asking', 'halfClosed', 1000, get('/status'), ['200']],
  ['a thousand that say a byte now and then', 'slowly', 1000, 'GET /status HTTP/1.1\r\nX: ', []],
  ['a thousand that send half a request and close', 'halfClosed', 1000, 'GET /sta', []],
  ['giant headers', 'pour', 200, get('/status', `X: ${LARGE}\r\n`), ['431']],
  ['one that sends requests without reading an answer first', 'pour', 1, MANY, ['200']],
  ['two hundred of those', 'pour', 200, MANY, ['200']],
  ['a hundred of those that never read', 'deaf', 100, MANY, []],
]

describe('hostile HTTP clients', { skip }, () => {
  test('do not cost the election its turn', async (t) => {
    const hostile = await HostileScene.open(t)
    const port = hostile.leader.httpPort
    for (const [what, attack, connections, text, statuses] of ATTACKS) {
      await t.test(what, async () => {
        const options: HttpOptions = { port, connections, text, forMs: FOR_MS }
        const outcome = await hostile.unnoticed(() => hostile.attack<HttpOutcome>(attack, options))
        const { peak, made, answers } = outcome
        t.diagnostic(`${what}: ${peak} open at once of ${made} made, ${answers} answers`)
        assert.ok(peak >= connections, `${peak} were open at once`)
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
      assert.equal(hostile.holder(), 'b')
    })
  })
})
