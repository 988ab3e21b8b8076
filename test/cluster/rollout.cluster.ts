import assert from 'node:assert/strict'
import { rollOut } from './rollout.ts'
import { scenariosOn } from './scenario.ts'

/** A switchover to a stand-in that starts in a second, and the probes and controllers around it. */
const SWITCHOVER_MS = 6_000

const scenario = scenariosOn()

scenario('a rollout of deploy/base replaces every pod with one handover', async (one, t) => {
  await one.settled()
  const rollout = await rollOut(one, 2)
  t.diagnostic(JSON.stringify(rollout))
  assert.notEqual(rollout.allNewMs, null)
  assert.equal(rollout.handovers, 1)
  assert.ok(rollout.awayMs < SWITCHOVER_MS)
})
