import assert from 'node:assert/strict'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { ACCOUNT } from '../harness/control-plane.ts'
import { FAULTS } from '../harness/faults/catalogue.ts'
import { mono } from '../harness/wait.ts'
import {
  atMost,
  confirmedDead,
  DEAD_MS,
  DOUBT_MS,
  type FaultScene,
  faultTests,
  type LinkedPod,
  LONG_DOUBT,
  OUTAGE_MS,
  SLACK_MS,
  seconds,
} from './scene.ts'

/** Each group has its own API server, because a fault of the API server affects all of its cases. */
const [{ quickFault }, { fault: second }, { fault }] = [faultTests(), faultTests(), faultTests()]

/** Asserts that the leader lost nothing, and that a clean handover works immediately. */
async function continues(scene: FaultScene, a: LinkedPod, b: LinkedPod): Promise<string> {
  assert.ok(!a.agent.events().includes('lost') && !a.container.events().includes('workload_stopped'))
  assert.equal(scene.processes('a').size, 1)
  const frozen = a.agent.events().filter((event) => event === 'workload_frozen').length
  a.agent.signal('SIGTERM')
  // The test's watch may have ended with the API server, so the times are from the logs.
  const released = await a.agent.event('released')
  const acquired = await b.agent.event('acquired')
  await b.agent.event('serving')
  assert.equal(acquired.code, 'released')
  const took = Date.parse(acquired.time) - Date.parse(released.time)
  atMost(took, 2_500)
  return `frozen ${frozen} times, same process; handover ${took} ms`
}

function restored(pod: LinkedPod, from: number) {
  return pod.agent.find('the end of the outage', (line) => /can be reached again/.test(line.msg), from)
}

describe('an API server', { concurrency: 3 }, () => {
  quickFault('the API server hangs for 12 s', async (scene) => {
    scene.timings = LONG_DOUBT
    const [a, b] = await scene.pods()
    const { at: renewed } = await scene.renewal(a)
    const began = mono()
    const resume = await scene.hit(FAULTS.api['API server hangs'])
    await a.container.event('workload_frozen')
    const acted = scene.lastBeat('a') - renewed
    atMost(Math.abs(acted - DOUBT_MS), SLACK_MS)
    await sleep(Math.max(0, began + OUTAGE_MS - mono()))
    await resume()
    await a.container.event('workload_thawed')
    const from = a.agent.lines.findIndex(({ event }) => event === 'doubt')
    await a.agent.event('serving', from)
    const back = mono() - began
    const beats = scene.beats('a')
    assert.equal(scene.processes('a').size, 1)
    assert.ok(!b.agent.events().includes('acquired'))
    const pauses = beats.map(({ mono: at }, n) => at - (beats[n - 1]?.mono ?? at))
    assert.deepEqual(scene.beats('b'), [])
    return `frozen at ${seconds(acted)}, for ${seconds(Math.max(...pauses))}; serving ${seconds(back - OUTAGE_MS)} after the outage`
  })

  second('the API server hangs for 60 s', async (scene) => {
    const [a, b] = await scene.pods()
    const last = scene.watch.last().at
    const resume = await scene.hit(FAULTS.api['API server hangs'])
    const dead = (await confirmedDead(a)) - last
    atMost(dead, DEAD_MS)
    const acted = scene.lastBeat('a') - last
    await sleep(Math.max(0, last + 60_000 - mono()))
    await resume()
    const resumed = mono()
    const next = await Promise.any(
      [a, b].map(({ agent }) =>
        agent.find('a new term', (line) => line.event === 'serving' && Number(line.epoch) > 1),
      ),
    )
    const first = scene.firstBeat(next.identity, next.epoch) - resumed
    return `acted until ${seconds(acted)}, dead ${seconds(dead)}; a replica acted ${seconds(first)} after the outage`
  })

  describe('an API server that breaks', { concurrency: 1 }, () => {
    fault('the right to the Lease is missing for a while', async (scene) => {
      const [a, b] = await scene.pods()
      const before = a.agent.lines.length
      const heal = await scene.hit(FAULTS.api['permission for the Lease is revoked'])
      const warning = await a.agent.find('the missing right', ({ level }) => level === 'warn', before)
      assert.match(warning.msg, /"(update|watch|get)"/)
      await sleep(6_000)
      const from = a.agent.lines.length
      await heal()
      await restored(a, from)
      await b.watching()
      return continues(scene, a, b)
    })

    for (const [name, codes] of [
      ['the API server answers 429', { 429: 0 }],
      ['the API server answers 5xx', { 500: 0.25, 503: 0.5, 504: 0.75 }],
    ] as const) {
      fault(name, async (scene) => {
        const [a, b] = await scene.pods()
        for (const [code, degree] of Object.entries(codes)) {
          const from = a.agent.lines.length
          const heal = await scene.hit(FAULTS.api['writes of the Lease are rejected'], a, degree)
          await a.agent.find(code, ({ msg }) => msg.includes(code), from)
          await sleep(4_000)
          await heal()
          await restored(a, from)
        }
        return continues(scene, a, b)
      })
    }

    fault('the watch history is compacted', async (scene) => {
      const [a, b] = await scene.pods()
      const heal = await scene.hit(FAULTS.api['API server restarts with a compacted history'])
      const from = a.agent.lines.length
      await heal()
      await restored(a, from)
      await b.watching()
      return continues(scene, a, b)
    })
  })
})

describe('credentials', { concurrency: 2 }, () => {
  fault('the token expires', async (scene) => {
    const { namespace } = scene
    const tokenFile = join(scene.dir, 'token')
    scene.tokenFile = tokenFile
    writeFileSync(tokenFile, await scene.plane.expiringToken(namespace, ACCOUNT, 10))
    const [a, b] = await scene.pods()
    const warning = await a.agent.find('a refusal', ({ level, msg }) => level === 'warn' && /401/.test(msg))
    const from = a.agent.lines.indexOf(warning)
    writeFileSync(tokenFile, await scene.plane.serviceAccountToken(namespace, ACCOUNT))
    const back = await restored(a, from)
    scene.assertUndisturbed(a, b)
    return `401; renewed ${Date.parse(back.time) - Date.parse(warning.time)} ms later`
  })

  second('the certificate authority changes', async (scene) => {
    const [a, b] = await scene.pods()
    const from = a.agent.lines.length
    await scene.plane.stopApiServer()
    await scene.plane.startApiServer({ newCertificate: true })
    await restored(a, from)
    await b.watching()
    assert.ok(!a.agent.events().includes('lost') && !b.agent.events().includes('acquired'))
    assert.equal(scene.processes('a').size, 1)
    a.agent.signal('SIGTERM')
    await b.agent.event('serving')
    return 'undisturbed; then a clean handover'
  })
})
