import assert from 'node:assert/strict'
import { describe } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { FAULTS } from '../harness/faults/catalogue.ts'
import { hold } from '../harness/held-connections.ts'
import { LEASE } from '../harness/scene.ts'
import { mono, until } from '../harness/wait.ts'
import {
  AT_ONCE_MS,
  atMost,
  confirmedDead,
  DEAD_MS,
  DOUBT_MS,
  EDITS,
  type FaultScene,
  faultTests,
  LEASE_MS,
  SLACK_MS,
  seconds,
} from './scene.ts'

const { fault, quickFault } = faultTests({ audit: true })

function conflicts(scene: FaultScene): number {
  return scene.plane
    .requests({ namespace: scene.namespace, verb: 'update' })
    .filter(({ code }) => code === 409).length
}

describe('the network', { concurrency: 4 }, () => {
  quickFault('the link is cut during a stop, and heals after a takeover', async (scene) => {
    const [a, b] = await scene.pods()
    const request = await hold('request', `http://127.0.0.1:${a.port}`)
    a.agent.signal('SIGTERM')
    await a.agent.event('draining')
    const heal = await scene.hit(FAULTS.link['link is a black hole'], a)
    const taken = await scene.takenBy('b')
    await b.agent.event('serving')
    await heal()
    // The bytes that the link held arrive now, while the old leader ends.
    assert.equal((await a.agent.exited).code, 0)
    await scene.watch.next('the new holder’s next renewals', ({ index }) => index >= taken.index + 3, 0)
    const holders = scene.watch.versions.slice(taken.index).map(({ holder }) => holder)
    assert.deepEqual([...new Set(holders)], ['b'])
    assert.ok(!a.agent.events().includes('released'))
    assert.doesNotMatch(await request.ended, /^HTTP/)
    return `silent for ${seconds(scene.firstBeat('b') - scene.lastBeat('a'))}; ${holders.length} later records, all of the new holder`
  })

  quickFault('a renewal commits and its reply is lost', async (scene) => {
    const [a, b] = await scene.pods()
    const acknowledged = await scene.renewal(a)
    await scene.hit(FAULTS.link['replies are held back'], a)
    const committed = await scene.watch.next('the last renewal', () => true, acknowledged.index + 1)
    const dead = (await confirmedDead(a)) - acknowledged.at
    const taken = await scene.takenBy('b', committed.index)
    await b.agent.event('serving')
    const acted = scene.lastBeat('a') - acknowledged.at
    atMost(acted, DOUBT_MS + SLACK_MS)
    atMost(dead, DEAD_MS)
    assert.ok(taken.at - committed.at >= LEASE_MS)
    return `acted until ${seconds(acted)}, dead ${seconds(dead)}; next holder ${seconds(taken.at - committed.at)} after the lost reply’s renewal`
  })

  fault('a renewal’s reply is late, and no later one arrives', async (scene) => {
    const [a, b] = await scene.pods()
    const { index } = await scene.renewal(a)
    await scene.hit(FAULTS.link['replies are held back'], a)
    const committed = await scene.watch.next('the last renewal', () => true, index + 1)
    await sleep(4_000)
    // The late reply passes; the next renewal doesn't.
    await scene.hit(FAULTS.link['requests are held back'], a)
    a.link.flow({ toClient: 'pass' })
    const dead = (await confirmedDead(a)) - committed.at
    const taken = await scene.takenBy('b', committed.index)
    await b.agent.event('serving')
    const last = scene.recordBefore(taken)
    assert.equal(last.index, committed.index, 'a later renewal committed')
    const acted = scene.lastBeat('a') - committed.at
    atMost(acted, DOUBT_MS + SLACK_MS)
    assert.ok(acted > DOUBT_MS - 2_500, "the late reply didn't count as a renewal")
    atMost(dead, DEAD_MS)
    return `acted until ${seconds(acted)}, dead ${seconds(dead)}, next holder ${seconds(taken.at - committed.at)}`
  })

  fault('the link is cut during a stop, and stays cut', async (scene) => {
    const [a, b] = await scene.pods({ workload: ['ignore-term'] })
    a.agent.signal('SIGTERM')
    await a.agent.event('draining')
    const cut = scene.watch.last()
    const heal = await scene.hit(FAULTS.link['link is a black hole'], a)
    const next = await scene.watch.next('the next holder', ({ holder }) => holder !== 'a', cut.index)
    assert.equal(next.holder, 'b', 'the Lease was released before the stop was confirmed')
    await b.agent.event('serving')
    const last = scene.recordBefore(next)
    await heal()
    assert.equal((await a.agent.exited).code, 0)
    assert.equal(scene.watch.last().holder, 'b')
    return `never released; next holder ${seconds(next.at - last.at)}; silent for ${seconds(scene.firstBeat('b') - scene.lastBeat('a'))}`
  })

  fault('renewals succeed, and their replies are lost', async (scene) => {
    const [a, b] = await scene.pods()
    for (let n = 0; n < 3; n++) {
      const { index } = await scene.renewal(a)
      const heal = await scene.hit(FAULTS.link['replies are lost after the commit'], a)
      await scene.watch.next('the renewal', () => true, index + 1)
      await heal()
    }
    await scene.renewal(a)
    scene.assertUndisturbed(a, b)
    return `${conflicts(scene)} conflicts for 3 lost replies; undisturbed`
  })

  fault('a renewal conflicts, but no other replica leads', async (scene) => {
    const [a, b] = await scene.pods()
    for (let n = 0; n < 3; n++) {
      const { index } = await scene.renewal(a)
      const thaw = await scene.hit(FAULTS.agent['agent is frozen'], a)
      await scene.hit(FAULTS.lease['Lease is annotated'])
      await scene.watch.next('the edit', () => true, index + 1)
      // After 2.5 s, the next renewal is due, and is the first request after the thaw.
      await sleep(2_500)
      await thaw()
    }
    await scene.renewal(a)
    assert.ok(conflicts(scene) > 0, 'no renewal conflicted with an edit')
    scene.assertUndisturbed(a, b)
    return `${conflicts(scene)} conflicts for 3 edits; undisturbed`
  })

  fault('watches are truncated', async (scene) => {
    const [a, b] = await scene.pods()
    const opened = () =>
      scene.plane.requests({ namespace: scene.namespace, verb: 'watch', userAgent: '(b)' }).length
    for (const cut of ['watch is truncated', 'connections are reset'] as const) {
      for (let n = 0; n < 5; n++) {
        const before = opened()
        await scene.hit(FAULTS.link[cut], b)
        await until('another watch', async () => opened() > before)
      }
    }
    a.agent.signal('SIGTERM')
    const { took } = await scene.handedOver(a, b)
    atMost(took, 300)
    return `${opened()} watches; handover ${Math.round(took)} ms`
  })
})

const HANDED_OVER_MS = 6_000
const NOTICED_MS = 5_500
/** A live watch reports a release sooner. The follower checks a dead one after at least one retry period. */
const LIVE_WATCH_MS = 1_000

function requestsOf(scene: FaultScene): number {
  return scene.plane.requests({ namespace: scene.namespace, userAgent: '(b)' }).length
}

describe('an API server that loses power', { concurrency: 4 }, () => {
  fault('the follower’s API server loses power before a handover to a cold standby', async (scene) => {
    const [a, b] = await scene.pods()
    const before = requestsOf(scene)
    await scene.nextRecord(2)
    assert.equal(requestsOf(scene), before, 'a healthy follower sent requests')
    await scene.hit(FAULTS.link['API server loses its power'], b)
    a.agent.signal('SIGTERM')
    const { released, took, acted } = await scene.handedOver(a, b)
    assert.ok(
      took > LIVE_WATCH_MS,
      `b took the Lease ${took} ms after the release: the dead connection reported the release`,
    )
    atMost(took, HANDED_OVER_MS)
    return `handover ${seconds(took)}; acted ${seconds(acted - released - took)} later`
  })

  fault('the follower’s API server loses power before a crash, with a cold standby', async (scene) => {
    const [a, b] = await scene.pods()
    await scene.nextRecord()
    await scene.hit(FAULTS.link['API server loses its power'], b)
    // The worst case is one more renewal, which the follower doesn't receive.
    await scene.nextRecord()
    a.kill()
    const taken = await scene.takenBy('b', 1)
    await b.agent.event('serving')
    const took = taken.at - scene.recordBefore(taken).at
    assert.ok(
      took >= LEASE_MS && took <= LEASE_MS + NOTICED_MS,
      `b took the Lease ${took} ms after the last renewal`,
    )
    return `next holder ${seconds(took)}; acted ${seconds(scene.firstBeat('b') - taken.at)} later`
  })

  fault('the leader’s API server loses power', async (scene) => {
    const [a, b] = await scene.pods()
    const { index } = await scene.renewal(a)
    await scene.hit(FAULTS.link['API server loses its power'], a)
    await scene.watch.next('four more renewals', (one) => one.index >= index + 4, 0)
    const gaps = scene.watch.versions.slice(index).map(({ at }, n, all) => at - (all[n - 1]?.at ?? at))
    const gap = Math.max(...gaps)
    atMost(gap, HANDED_OVER_MS)
    scene.assertUndisturbed(a, b)
    return `no renewal for ${seconds(gap)}; undisturbed`
  })
})

/** The test's watch may receive a change this much later than a candidate's watch. */
const READING_MS = 50

describe('the Lease', { concurrency: 4 }, () => {
  quickFault('the Lease is edited to name another live holder', async (scene) => {
    const [a, b] = await scene.pods()
    const acted: number[] = []
    const waited: number[] = []
    let [leader, follower] = [a, b]
    for (let n = 1; n <= EDITS; n++) {
      const [from, lines] = [scene.watch.length, leader.container.lines.length]
      await scene.patch({ holderIdentity: `stranger-${n}` })
      const edited = await scene.watch.next('the edit', ({ holder }) => holder === `stranger-${n}`, from)
      await leader.container.event('workload_stopped', lines)
      acted.push(scene.lastBeat(leader.options.identity) - edited.at)
      assert.equal(scene.watch.last().holder, `stranger-${n}`)
      // No holder renews for the stranger, so its Lease expires. The next round edits away the next leader.
      const next = await scene.watch.next(
        'the next holder',
        ({ holder }) => ['a', 'b'].includes(holder),
        edited.index,
      )
      waited.push(next.at - edited.at)
      ;[leader, follower] = next.holder === 'a' ? [a, b] : [b, a]
      await leader.agent.find('a new term', (line) => line.event === 'serving' && line.epoch === next.epoch)
    }
    atMost(Math.max(...acted), AT_ONCE_MS)
    atMost(LEASE_MS - READING_MS, Math.min(...waited))
    assert.ok(!follower.agent.ended)
    return `acted until ${acted.map((ms) => Math.max(0, Math.round(ms))).join(', ')} ms, next holder ${waited.map(seconds).join(', ')} after the edit`
  })

  fault('the Lease is deleted while held', async (scene) => {
    const [a] = await scene.pods()
    const fresh = await scene.pod('c')
    await fresh.agent.event('leader_observed')
    const from = scene.watch.length
    await scene.kubectl('delete', 'lease', LEASE)
    const deleted = await scene.watch.next('the deletion', (one) => one.deleted, from)
    const made = await scene.watch.next('a new Lease', (one) => !one.deleted, deleted.index)
    assert.equal(made.holder, 'a')
    // The holder also renews the new Lease.
    await scene.watch.next('a renewal', ({ holder }) => holder === 'a', made.index + 1)
    assert.deepEqual(scene.beats('b').concat(scene.beats('c')), [])
    scene.assertUndisturbed(a, fresh)
    return `made again ${Math.round(made.at - deleted.at)} ms later; undisturbed`
  })

  fault('the Lease is deleted while its holder is cut off', async (scene) => {
    const [a, b] = await scene.pods()
    await scene.hit(FAULTS.link['link is a black hole'], a)
    const from = scene.watch.length
    await scene.kubectl('delete', 'lease', LEASE)
    const deleted = await scene.watch.next('the deletion', (one) => one.deleted, from)
    const fresh = await scene.pod('c')
    const taken = await scene.watch.next('the next holder', ({ holder }) => holder !== '', deleted.index)
    await Promise.any([b.agent.event('serving'), fresh.agent.event('serving')])
    const waited = taken.at - deleted.at
    atMost(LEASE_MS, waited)
    const silent = scene.firstBeat(taken.holder) - scene.lastBeat('a')
    assert.ok(silent > 0, `the old LangFlow acted ${-silent} ms into the new term`)
    return `taken ${seconds(waited)} after the deletion; silent for ${seconds(silent)}`
  })

  quickFault('a second agent starts with the same identity', async (scene) => {
    // The leader must not come into doubt.
    scene.timings = []
    const [a] = await scene.pods()
    const began = mono()
    const twin = await scene.pod('a')
    const fatal = await twin.agent.event('fatal')
    assert.match(fatal.reason ?? '', /used by another live process/)
    assert.equal((await twin.agent.exited).code, 1)
    const refused = mono() - began
    assert.equal((await a.get('/readyz')).status, 200)
    assert.equal(scene.processes('a').size, 1)
    return `refused ${seconds(refused)} after its start`
  })
})
