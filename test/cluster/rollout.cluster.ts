import assert from 'node:assert/strict'
import { after, before } from 'node:test'
import { Installation } from './installation.ts'
import { Kube } from './kube.ts'
import { rollOut } from './rollout.ts'
import { scenario } from './scenario.ts'

/** A switchover to a stand-in that starts in a second, and the probes and controllers around it. */
const SWITCHOVER_MS = 6_000

const kube = new Kube()
let base: Installation

before(async () => {
  base = await Installation.start(kube)
})
after(async () => {
  await base?.close()
  await kube.close()
})

scenario(
  'a rollout of deploy/base replaces every pod with one handover',
  () => base,
  async (one, t) => {
    await one.settled()
    const rollout = await rollOut(one, 2)
    t.diagnostic(JSON.stringify(rollout))
    assert.notEqual(rollout.allNewMs, null)
    assert.equal(rollout.handovers, 1)
    assert.ok(rollout.awayMs < SWITCHOVER_MS)
  },
)
