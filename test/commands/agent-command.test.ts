import assert from 'node:assert/strict'
import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { describe, test } from 'node:test'
import { FAST } from '../harness/replica.ts'
import { EmbeddedScene } from '../harness/scene.ts'

/** Nothing that waits for something else may keep a process that cannot start. */
const AT_ONCE_MS = 10_000

describe('an agent', () => {
  test('that cannot listen says what to change, and ends', async (t) => {
    const taken = createServer()
    await once(taken.listen(0, '127.0.0.1'), 'listening')
    t.after(() => taken.close())
    const { port } = taken.address() as AddressInfo
    const stage = await EmbeddedScene.open(t)
    const from = performance.now()
    const a = await stage.replica('a', { flags: [...FAST, `--listen=127.0.0.1:${port}`] })
    assert.equal((await a.exited).code, 1)
    assert.ok(performance.now() - from < AT_ONCE_MS)
    assert.doesNotMatch(a.output.join('\n'), /no launcher has connected/)
  })
})
