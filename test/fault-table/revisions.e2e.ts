import assert from 'node:assert/strict'
import { createServer } from 'node:net'
import { describe } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { freePort } from '../harness/free-port.ts'
import { listening } from '../harness/listening.ts'
import { ask, askStatus } from '../harness/replica.ts'
import { until } from '../harness/wait.ts'
import { atMost, type FaultScene, faultTests, SLACK_MS, seconds } from './scene.ts'

const { fault } = faultTests()

const PROBE_MS = 1_000
const ASKED_TWICE_MS = 11_000
/** The limit of a first start, and the time until the stop is confirmed. */
const GIVEN_UP_MS = 62_000
/** The first pause before a refused start is repeated, one minute, and the handover. */
const AGAIN_MS = 75_000

/** Probes as the kubelet does, and counts the answers with 200. */
function probed(port: number, stop: AbortSignal): Promise<number> {
  const asking = async () => {
    let ready = 0
    while (!stop.aborted) {
      const { status } = await ask(port, '/readyz?exclude=leadership').catch(() => ({ status: 0 }))
      if (status === 200) ready++
      await sleep(PROBE_MS)
    }
    return ready
  }
  return asking()
}

/** Starts two replicas of the old revision. Returns the options of replicas of others. */
async function oldRevision(scene: FaultScene) {
  const names = ['a1', 'a2', 'b', 'c'] as const
  const ports = new Map<string, number>()
  for (const name of names) ports.set(name, await freePort())
  const port = (name: string) => ports.get(name) ?? assert.fail(name)
  const peers = names.map((name) => `localhost:${port(name)}`).join()
  const of = (name: string, revision: string) => ({
    flags: [`--listen=127.0.0.1:${port(name)}`, `--peers=${peers}`],
    env: { POD_TEMPLATE_HASH: revision },
  })
  await scene.leader('a1', of('a1', 'old'))
  await scene.follower('a2', of('a2', 'old'))
  return { port, of }
}

const proven = (scene: FaultScene, revision: string) =>
  until(`revision ${revision} is proven`, async () => {
    const { stdout } = await scene.kubectl('get', 'lease', '-o', 'jsonpath={.items[*].metadata.annotations}')
    return JSON.parse(JSON.parse(stdout)['langflow-leader/revisions']).proven[0] === revision
  })

/** Rolls out a newer revision whose stand-in for LangFlow has these options, and then a corrected revision. */
async function rollout(scene: FaultScene, workload: readonly string[], withinMs: number): Promise<string> {
  const stop = new AbortController()
  scene.atEnd(async () => stop.abort())
  const { port, of } = await oldRevision(scene)
  const b = await scene.pod('b', { ...of('b', 'new'), workload })
  const failedReady = probed(port('b'), stop.signal)
  const taken = await scene.takenBy('b')
  const back = await scene.watch.next('an old holder', ({ holder }) => /^a/.test(holder), taken.index)
  const tookMs = back.at - taken.at
  atMost(tookMs, withinMs)
  assert.equal(back.epoch, taken.epoch + 1)
  await until('an old replica serves', async () => (await ask(port(back.holder), '/readyz')).status === 200)
  const { reason } = await b.agent.event('stepped_down')
  assert.match(String(reason), /^the first start of revision new failed: LangFlow /)
  await sleep(ASKED_TWICE_MS)
  const { couldTakeOver, unable, problem, onTrial } = await askStatus(port('b'))
  assert.deepEqual([couldTakeOver, problem], [false, unable])
  assert.match(unable ?? '', /^the first start of revision new failed .*: no replica hands over to it/s)
  assert.notEqual(onTrial?.failed ?? null, null)
  assert.equal(scene.watch.last().epoch, back.epoch)

  const c = await scene.pod('c', of('c', 'fixed'))
  await c.agent.event('serving')
  assert.equal(scene.watch.last().epoch, back.epoch + 1)
  await proven(scene, 'fixed')
  stop.abort()
  assert.equal(await failedReady, 0, 'the failed revision was Ready')
  assert.equal(b.agent.events().filter((event) => event === 'acquired').length, 1)
  return `led again ${seconds(tookMs)} after the grant`
}

describe('revisions', { concurrency: 2 }, () => {
  fault('LangFlow of a newer revision exits after its grant', (scene) =>
    rollout(scene, ['exit=1'], 2_000 + SLACK_MS),
  )

  fault('LangFlow of a newer revision is never healthy after its grant', (scene) =>
    rollout(scene, ['unhealthy=1000000'], GIVEN_UP_MS),
  )

  fault('LangFlow of a newer revision is not started, because its port is taken', async (scene, t) => {
    const { of } = await oldRevision(scene)
    const server = createServer()
    const port = await listening(t, server)
    const b = await scene.pod('b', { ...of('b', 'new'), port })
    const refused = await scene.takenBy('b')
    const back = await scene.watch.next('an old holder', ({ holder }) => /^a/.test(holder), refused.index)
    server.close()
    const again = await scene.watch.next(
      'the new holder',
      ({ holder }) => holder === 'b',
      back.index,
      AGAIN_MS,
    )
    atMost(again.at - refused.at, AGAIN_MS)
    await b.agent.find('serving', ({ event, epoch }) => event === 'serving' && epoch === again.epoch)
    await proven(scene, 'new')
    return `led again ${seconds(back.at - refused.at)} after the grant; the new one tried again after ${seconds(again.at - back.at)}`
  })
})
