import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import type { HttpOptions, HttpOutcome } from './fixtures/attacks.ts'
import { HostileScene, skip } from './hostile-scene.ts'

const get = (path: string, more = '') => `GET ${path} HTTP/1.1\r\nHost: x\r\n${more}\r\n`
const LARGE = 'a'.repeat(1024 * 1024)
const MANY = get('/metrics').repeat(2000)
const FOR_MS = 2000

const ATTACKS: [what: string, attack: string, connections: number, text: string, statuses: string[]][] = [
  ['a thousand clients that ask for /status', 'requests', 1000, get('/status'), ['200']],
  ['a thousand clients that ask for /metrics', 'requests', 1000, get('/metrics'), ['200']],
  ['a thousand clients that send a byte every 100 ms', 'slowly', 1000, 'GET /status HTTP/1.1\r\nX: ', []],
  [
    'two hundred clients that send headers of a megabyte',
    'pour',
    200,
    get('/status', `X: ${LARGE}\r\n`),
    ['400'],
  ],
  ['one client that pipelines thousands of requests', 'pour', 1, MANY, ['200']],
  ['two hundred clients that pipeline thousands of requests', 'pour', 200, MANY, ['200']],
]

describe('hostile HTTP clients', { skip }, () => {
  test('neither delay renewals nor disturb LangFlow', async (t) => {
    const hostile = await HostileScene.open(t)
    const port = hostile.leader.httpPort
    for (const [what, attack, connections, text, statuses] of ATTACKS) {
      await t.test(what, async () => {
        const options: HttpOptions = { port, connections, text, forMs: FOR_MS }
        const outcome = await hostile.assertNoEffect(() => hostile.attack<HttpOutcome>(attack, options))
        const { peak, made, answers } = outcome
        t.diagnostic(`${what}: ${peak} open at once of ${made} made, ${answers} answers`)
        assert.ok(peak >= connections, `${peak} were open at once`)
        assert.deepEqual(outcome.statuses, statuses)
      })
    }

    await t.test("do not delay the agent's end", async () => {
      const { leader, follower } = hostile
      const crowd = hostile
        .attack('slowly', { port, connections: 500, forMs: 60_000, text: 'GET /status HTTP/1.1\r\nX: ' })
        .catch(() => {})
      const began = performance.now()
      await leader.stop()
      await crowd
      t.diagnostic(`the handover and the agent's end took ${Math.round(performance.now() - began)} ms`)
      assert.deepEqual(await leader.agent.exited, { code: 0, signal: null })
      await follower.agent.event('serving')
      assert.equal(hostile.holder(), 'b')
    })
  })
})
