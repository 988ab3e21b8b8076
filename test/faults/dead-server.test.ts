import assert from 'node:assert/strict'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, type TestContext, test } from 'node:test'
import type { Replica } from '../support/replica.ts'
import { LEASE, mono, Stage } from '../support/stage.ts'
import { TcpProxy } from '../support/tcp-proxy.ts'
import { until } from '../support/until.ts'

const RETRY_MS = 2_000
const LEASE_MS = 15_000
/** The next connection leads to the dead server as well. */
const AGAIN = 1

/** A replica with the default timings, over a link of its own. */
async function linked(t: TestContext, stage: Stage, identity: string): Promise<[Replica, TcpProxy]> {
  const { port } = new URL(stage.api.url)
  const link = await TcpProxy.open(Number(port))
  t.after(() => link.close())
  const kubeconfig = join(stage.dir, `${identity}.linked`)
  writeFileSync(kubeconfig, stage.api.kubeconfig(identity).replaceAll(`:${port}/`, `:${link.port}/`))
  return [await stage.replica(identity, { kubeconfig, flags: [] }), link]
}

const renewals = (stage: Stage) => stage.api.lease(LEASE)?.spec?.renewTime

/** Monotonic ms of the leader's next renewal. */
async function renewal(stage: Stage): Promise<number> {
  const before = renewals(stage)
  await until('a renewal', async () => renewals(stage) !== before)
  return mono()
}

describe('an API server that loses its power while others answer', { concurrency: 3 }, () => {
  test('is noticed by a follower in time for a planned handover', async (t) => {
    const stage = await Stage.open(t)
    const [a] = await linked(t, stage, 'a')
    await a.event('serving')
    const [b, link] = await linked(t, stage, 'b')
    await b.event('standby_ready')
    await renewal(stage)
    link.strand(AGAIN)
    a.signal('SIGTERM')
    const [released, acquired] = await Promise.all([a.event('released'), b.event('acquired')])
    const took = Date.parse(acquired.time) - Date.parse(released.time)
    t.diagnostic(`${took} ms after the release`)
    assert.ok(took <= 3 * RETRY_MS, `${took} ms after the release`)
    await b.event('serving')
  })

  test('is noticed by a follower that was not told of the last renewal of a crashed leader', async (t) => {
    const stage = await Stage.open(t)
    const [a] = await linked(t, stage, 'a')
    await a.event('serving')
    const [b, link] = await linked(t, stage, 'b')
    await b.event('standby_ready')
    await renewal(stage)
    link.strand(AGAIN)
    const last = await renewal(stage)
    const { pid } = a
    for (const one of [a.launcherPid(), a.workloadPid(), pid]) process.kill(one, 'SIGKILL')
    await until('the next holder', async () => stage.holder() === 'b')
    const took = mono() - last
    t.diagnostic(`${Math.round(took)} ms after the last renewal`)
    assert.ok(took <= LEASE_MS + 5_500, `${took} ms after the last renewal`)
    await b.event('serving')
  })

  test('costs a leader neither its term nor a doubt', async (t) => {
    const stage = await Stage.open(t)
    const [a, link] = await linked(t, stage, 'a')
    await a.event('serving')
    const from = await renewal(stage)
    link.strand(AGAIN)
    const took = (await renewal(stage)) - from
    t.diagnostic(`no renewal for ${Math.round(took)} ms`)
    assert.ok(took <= 3 * RETRY_MS, `no renewal for ${took} ms`)
    assert.ok(!a.events().includes('doubt'))
  })
})
