import assert from 'node:assert/strict'
import { describe } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { LEASE } from '../harness/scene.ts'
import { mono, until } from '../harness/wait.ts'
import {
  confirmedDead,
  DEAD_MS,
  DOUBT_MS,
  type FaultScene,
  faultTests,
  LEASE_MS,
  SLACK_MS,
  seconds,
} from './scene.ts'

const fault = faultTests({ audit: true })

function conflicts(scene: FaultScene): number {
  return scene.plane
    .requests({ namespace: scene.namespace, verb: 'update' })
    .filter(({ code }) => code === 409).length
}

describe('the network', { concurrency: 5 }, () => {
  fault('a planned stop is cut off, another takes over, and the link heals', async (scene) => {
    const [a, b] = await scene.pods()
    const request = fetch(`http://127.0.0.1:${a.port}/slow=60000`).then(
      () => 'answered',
      () => 'cut',
    )
    a.agent.signal('SIGTERM')
    await a.agent.event('draining')
    a.link.partition()
    const taken = await scene.takenBy('b')
    await b.agent.event('serving')
    await a.link.heal()
    // Whatever was held back arrives now, while the old leader ends.
    assert.equal((await a.agent.exited).code, 0)
    await scene.watch.next('the new holder’s next renewals', ({ index }) => index >= taken.index + 3, 0)
    const holders = scene.watch.versions.slice(taken.index).map(({ holder }) => holder)
    assert.deepEqual([...new Set(holders)], ['b'])
    assert.ok(!a.agent.events().includes('released'))
    assert.equal(await request, 'cut')
    return `silent for ${seconds(scene.firstBeat('b') - scene.lastBeat('a'))} between the two; ${holders.length} records later still the new holder’s`
  })

  fault('in doubt with --on-doubt=stop, and the link heals while stopping', async (scene) => {
    const [a, b] = await scene.pods({ flags: ['--on-doubt=stop'], workload: ['ignore-term'] })
    a.link.partition()
    await a.agent.event('doubt')
    const doubt = mono()
    // Only so much later is the stop well under way.
    await sleep(2_000)
    await a.link.heal()
    await a.container.event('workload_stopped')
    const next = await scene.watch.next('a release or a takeover', ({ holder }) => holder !== 'a', 1)
    assert.ok(scene.lastBeat('a') < next.at, 'the Lease was given up before the stop')
    await b.agent.event('serving')
    return `LangFlow dead ${seconds(scene.lastBeat('a') - doubt)} after the doubt; ${next.holder === '' ? 'released' : 'taken over'} ${seconds(next.at - scene.lastBeat('a'))} later`
  })

  fault('a renewal commits and its reply is lost', async (scene) => {
    const [a, b] = await scene.pods()
    const acknowledged = await scene.renewal(a)
    a.link.flow({ toClient: 'hold' })
    const committed = await scene.watch.next('the last renewal', () => true, acknowledged.index + 1)
    const dead = (await confirmedDead(a)) - acknowledged.at
    const taken = await scene.takenBy('b', committed.index)
    await b.agent.event('serving')
    const acted = scene.lastBeat('a') - acknowledged.at
    assert.ok(acted <= DOUBT_MS + SLACK_MS, `acted ${acted} ms after the last acknowledged renewal`)
    assert.ok(dead <= DEAD_MS, `dead ${dead} ms after it`)
    assert.ok(taken.at - committed.at >= LEASE_MS)
    return `acted until ${seconds(acted)}, dead ${seconds(dead)} after the last acknowledged renewal had committed; the next holder came ${seconds(taken.at - committed.at)} after the one whose reply was lost`
  })

  fault('a renewal’s reply is late, and nothing follows it', async (scene) => {
    const [a, b] = await scene.pods()
    const { index } = await scene.renewal(a)
    a.link.flow({ toClient: 'hold' })
    const committed = await scene.watch.next('the last renewal', () => true, index + 1)
    await sleep(4_000)
    // The reply goes through, the next renewal does not.
    a.link.flow({ toServer: 'hold', toClient: 'pass' })
    const dead = (await confirmedDead(a)) - committed.at
    const taken = await scene.takenBy('b', committed.index)
    await b.agent.event('serving')
    const last = scene.recordBefore(taken)
    assert.equal(last.index, committed.index, 'a later renewal had committed')
    const acted = scene.lastBeat('a') - committed.at
    assert.ok(acted <= DOUBT_MS + SLACK_MS, `acted ${acted} ms after the last renewal committed`)
    assert.ok(acted > DOUBT_MS - 2_500, 'the late reply was not taken at all')
    assert.ok(dead <= DEAD_MS, `dead ${dead} ms after it`)
    return `acted until ${seconds(acted)}, dead ${seconds(dead)} after that renewal had committed; the next holder came after ${seconds(taken.at - committed.at)}`
  })

  fault('the link is cut while stopping', async (scene) => {
    const [a, b] = await scene.pods({ workload: ['ignore-term'] })
    a.agent.signal('SIGTERM')
    await a.agent.event('draining')
    const cut = scene.watch.last()
    a.link.partition()
    const next = await scene.watch.next('the next holder', ({ holder }) => holder !== 'a', cut.index)
    assert.equal(next.holder, 'b', 'released although the stop was not confirmed')
    await b.agent.event('serving')
    const last = scene.recordBefore(next)
    await a.link.heal()
    assert.equal((await a.agent.exited).code, 0)
    assert.equal(scene.watch.last().holder, 'b')
    return `never released; taken over ${seconds(next.at - last.at)} after the last renewal, ${seconds(scene.firstBeat('b') - scene.lastBeat('a'))} after LangFlow’s last sign of life`
  })

  fault('renewals succeed, and their replies are lost', async (scene) => {
    const [a, b] = await scene.pods()
    for (let n = 0; n < 3; n++) {
      const { index } = await scene.renewal(a)
      a.link.flow({ toClient: 'hold' })
      await scene.watch.next('the renewal', () => true, index + 1)
      a.link.reset()
      a.link.flow({ toClient: 'pass' })
    }
    await scene.renewal(a)
    scene.assertUndisturbed(a, b)
    return `${conflicts(scene)} conflicts for 3 lost replies: it reads the Lease before it writes again; the same process and term went on`
  })

  fault('a renewal is answered by a conflict, and nobody else holds the Lease', async (scene) => {
    const [a, b] = await scene.pods()
    for (let n = 1; n <= 3; n++) {
      const { index } = await scene.renewal(a)
      a.agent.signal('SIGSTOP')
      await scene.kubectl('annotate', '--overwrite', 'lease', LEASE, `example.com/edit=${n}`)
      await scene.watch.next('the edit', () => true, index + 1)
      // Only so much later is its next renewal due: what it does first when it goes on.
      await sleep(2_500)
      a.agent.signal('SIGCONT')
    }
    await scene.renewal(a)
    assert.ok(conflicts(scene) > 0, 'no renewal met the edit')
    scene.assertUndisturbed(a, b)
    return `${conflicts(scene)} conflicts for 3 edits; the same process and term went on`
  })

  fault('watches are truncated', async (scene) => {
    const [a, b] = await scene.pods()
    const opened = () =>
      scene.plane.requests({ namespace: scene.namespace, verb: 'watch', userAgent: '(b)' }).length
    for (const cut of ['truncate', 'reset'] as const) {
      for (let n = 0; n < 5; n++) {
        const before = opened()
        b.link[cut]()
        await until('another watch', async () => opened() > before)
      }
    }
    a.agent.signal('SIGTERM')
    const { took } = await scene.handedOver(a, b)
    assert.ok(took <= 300, `taken ${took} ms after the release`)
    return `${opened()} watches; then a clean handover, next holder ${Math.round(took)} ms after the release`
  })
})
