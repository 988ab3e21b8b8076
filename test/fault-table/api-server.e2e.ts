import assert from 'node:assert/strict'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { ACCOUNT } from '../harness/control-plane.ts'
import { Refusals } from '../harness/faults/refusals.ts'
import { mono } from '../harness/wait.ts'
import {
  confirmedDead,
  DEAD_MS,
  DOUBT_MS,
  type FaultScene,
  faultTests,
  type LinkedPod,
  OUTAGE_MS,
  plain,
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
  assert.ok(took <= 2_500, `${took} ms from the release to the next holder`)
  return `${frozen === 0 ? 'never frozen' : 'frozen once'}, the same process; then a clean handover, next holder ${took} ms after the release`
}

/** The next line from now on that reports the end of the outage. */
function restored(pod: LinkedPod, from: number) {
  return pod.agent.find('the end of the outage', (line) => /can be reached again/.test(line.msg), from)
}

describe('an API server', { concurrency: 3 }, () => {
  quickFault('the API server hangs for 12 s', async (scene) => {
    const [a, b] = await scene.pods()
    const { at: renewed } = await scene.renewal(a)
    const began = mono()
    scene.plane.pause()
    await a.container.event('workload_frozen')
    const acted = scene.lastBeat('a') - renewed
    assert.ok(
      Math.abs(acted - DOUBT_MS) <= SLACK_MS,
      `LangFlow was frozen ${acted} ms after the last renewal`,
    )
    await sleep(Math.max(0, began + OUTAGE_MS - mono()))
    scene.plane.resume()
    await a.container.event('workload_thawed')
    const from = a.agent.lines.findIndex(({ event }) => event === 'doubt')
    await a.agent.event('serving', from)
    const back = mono() - began
    const beats = scene.beats('a')
    assert.equal(scene.processes('a').size, 1)
    assert.ok(!b.agent.events().includes('acquired'))
    const pauses = beats.map(({ mono: at }, n) => at - (beats[n - 1]?.mono ?? at))
    assert.deepEqual(scene.beats('b'), [])
    return `frozen ${seconds(acted)} after the last renewal, for ${seconds(Math.max(...pauses))}; serving again ${seconds(back - OUTAGE_MS)} after the API server continued`
  })

  second('the API server hangs for 60 s', async (scene) => {
    const [a, b] = await scene.pods()
    const last = scene.watch.last().at
    scene.plane.pause()
    const dead = (await confirmedDead(a)) - last
    assert.ok(dead <= DEAD_MS, `LangFlow was dead only ${dead} ms after the last renewal`)
    const acted = scene.lastBeat('a') - last
    await sleep(Math.max(0, last + 60_000 - mono()))
    scene.plane.resume()
    const resumed = mono()
    const next = await Promise.any(
      [a, b].map(({ agent }) =>
        agent.find('a new term', (line) => line.event === 'serving' && Number(line.epoch) > 1),
      ),
    )
    const first = scene.firstBeat(next.identity, next.epoch) - resumed
    return `acted until ${seconds(acted)}, confirmed dead ${seconds(dead)} after the last renewal; a replica acted ${seconds(first)} after the API server continued`
  })

  describe('an API server that breaks', { concurrency: 1 }, () => {
    fault('the right to the Lease is missing for a while', async (scene) => {
      const [a, b] = await scene.pods()
      const { stdout } = await scene.kubectl('get', 'rolebinding', '--output=json')
      await scene.kubectl('delete', 'rolebinding', '--all')
      const warning = await a.agent.find('the missing right', ({ level }) => level === 'warn')
      assert.match(warning.msg, /may not "(update|watch|get)"|"(update|watch|get)"/)
      await sleep(6_000)
      const from = a.agent.lines.length
      const { items } = JSON.parse(stdout)
      for (const { kind, apiVersion, metadata, roleRef, subjects } of items)
        await scene.apply({ kind, apiVersion, metadata: { name: metadata.name }, roleRef, subjects })
      await restored(a, from)
      await b.watching()
      return `“${plain(warning.msg)}”; ${await continues(scene, a, b)}`
    })

    for (const [name, codes] of [
      ['the API server answers 429', [429]],
      ['the API server answers 5xx', [500, 503, 504]],
    ] as const) {
      fault(name, async (scene, t) => {
        const [a, b] = await scene.pods()
        const refusals = await Refusals.open(scene)
        t.after(() => refusals.close())
        for (const code of codes) {
          const from = a.agent.lines.length
          await refusals.begin(code)
          await a.agent.find(`${code}`, ({ msg }) => msg.includes(`${code}`), from)
          await sleep(4_000)
          await refusals.end()
          await restored(a, from)
        }
        return `${refusals.count} renewals refused; ${await continues(scene, a, b)}`
      })
    }

    fault('the API server loses etcd for a while', async (scene) => {
      const [a, b] = await scene.pods()
      await scene.plane.stopEtcd()
      const warning = await a.agent.find('the outage', ({ level }) => level === 'warn')
      const from = a.agent.lines.length
      await scene.plane.startEtcd()
      await restored(a, from)
      await b.watching()
      return `“${plain(warning.msg)}”; ${await continues(scene, a, b)}`
    })

    fault('the watch history is compacted', async (scene) => {
      const [a, b] = await scene.pods()
      await scene.plane.stopApiServer('SIGKILL')
      await scene.plane.compact()
      const from = a.agent.lines.length
      await scene.plane.startApiServer()
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
    const back = await a.agent.find(
      'the end of the outage',
      ({ msg }) => /can be reached again/.test(msg),
      from,
    )
    scene.assertUndisturbed(a, b)
    return `“${plain(warning.msg)}”; renewed again ${Date.parse(back.time) - Date.parse(warning.time)} ms later`
  })

  second('the certificate authority changes', async (scene) => {
    const [a, b] = await scene.pods()
    const from = a.agent.lines.length
    await scene.plane.stopApiServer()
    await scene.plane.startApiServer({ newCertificate: true })
    await a.agent.find('the end of the outage', ({ msg }) => /can be reached again/.test(msg), from)
    await b.watching()
    assert.ok(!a.agent.events().includes('lost') && !b.agent.events().includes('acquired'))
    assert.equal(scene.processes('a').size, 1)
    a.agent.signal('SIGTERM')
    await b.agent.event('serving')
    return 'the same process and term continued; then a clean handover'
  })
})
