import assert from 'node:assert/strict'
import { utimesSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:http'
import { join } from 'node:path'
import { describe, test } from 'node:test'
import { podAge } from '../../agent/commands/agent-command.ts'
import { listening } from '../harness/listening.ts'
import { FAST } from '../harness/replica.ts'
import { EmbeddedScene } from '../harness/scene.ts'
import { temporaryDirectory } from '../harness/temporary-directory.ts'
import { VirtualClock } from '../harness/virtual-clock.ts'

test('an agent that cannot listen ends with exit code 1', async (t) => {
  const port = await listening(t, createServer())
  const stage = await EmbeddedScene.open(t)
  const a = await stage.replica('a', { flags: [...FAST, `--listen=127.0.0.1:${port}`] })
  assert.equal((await a.exited).code, 1)
})

describe("a pod's age", () => {
  test('survives a restart of the agent and a change of the wall clock', async () => {
    const path = temporaryDirectory()
    const clock = new VirtualClock()
    podAge(path, clock)
    clock.wallAhead += 3_600_000
    await clock.pass(90_000)
    assert.equal(podAge(path, clock)(), 90_000)
  })

  test('continues by the wall clock after a restart of the machine', () => {
    const path = temporaryDirectory()
    const clock = new VirtualClock()
    writeFileSync(join(path, 'born'), JSON.stringify({ bootId: 'an earlier one', boot: 5 }))
    const bornAt = clock.now().wall / 1000 - 90
    utimesSync(join(path, 'born'), bornAt, bornAt)
    assert.equal(podAge(path, clock)(), 90_000)
  })

  test('is unknown if its file cannot be written or is invalid', () => {
    const path = temporaryDirectory()
    writeFileSync(join(path, 'born'), '')
    const clock = new VirtualClock()
    for (const at of ['/proc/nowhere', path]) assert.equal(podAge(at, clock)(), null)
  })
})
