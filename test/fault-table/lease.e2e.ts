import assert from 'node:assert/strict'
import { describe } from 'node:test'
import { LEASE } from '../harness/scene.ts'
import { mono } from '../harness/wait.ts'
import { faultTests, LEASE_MS, seconds } from './scene.ts'

const fault = faultTests()

/** A watch of the test may be told of a change so much later than a candidate's. */
const READING_MS = 50

describe('the Lease', { concurrency: 4 }, () => {
  fault('the Lease is edited to another live holder', async (scene) => {
    const [a, b] = await scene.pods()
    const acted: number[] = []
    const waited: number[] = []
    let [leader, follower] = [a, b]
    for (let n = 1; n <= 3; n++) {
      const [from, said] = [scene.watch.length, leader.container.lines.length]
      await scene.patch({ holderIdentity: `stranger-${n}` })
      const edited = await scene.watch.next('the edit', ({ holder }) => holder === `stranger-${n}`, from)
      await leader.container.event('workload_stopped', said)
      acted.push(scene.lastBeat(leader.options.identity) - edited.at)
      assert.equal(scene.watch.last().holder, `stranger-${n}`)
      // Nobody renews for the stranger: its Lease expires, and the next leader is edited away.
      const next = await scene.watch.next(
        'the next holder',
        ({ holder }) => ['a', 'b'].includes(holder),
        edited.index,
      )
      waited.push(next.at - edited.at)
      ;[leader, follower] = next.holder === 'a' ? [a, b] : [b, a]
      await leader.agent.find('a new term', (line) => line.event === 'serving' && line.epoch === next.epoch)
    }
    assert.ok(Math.max(...acted) <= 250, `acted ${acted.join(', ')} ms on`)
    assert.ok(Math.min(...waited) >= LEASE_MS - READING_MS, `taken after ${waited.join(', ')} ms`)
    assert.ok(!follower.agent.ended)
    return `last sign of life ${acted.map((ms) => Math.max(0, Math.round(ms))).join(', ')} ms after it; taken from the stranger ${waited.map(seconds).join(', ')} after it (n=3)`
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
    // It renews what it made.
    await scene.watch.next('a renewal', ({ holder }) => holder === 'a', made.index + 1)
    assert.deepEqual(scene.beats('b').concat(scene.beats('c')), [])
    scene.assertUndisturbed(a, fresh)
    return `made again ${Math.round(made.at - deleted.at)} ms later by its holder; the same process and term went on`
  })

  fault('the Lease is deleted while its holder is cut off', async (scene) => {
    const [a, b] = await scene.pods()
    a.link.partition()
    const from = scene.watch.length
    await scene.kubectl('delete', 'lease', LEASE)
    const deleted = await scene.watch.next('the deletion', (one) => one.deleted, from)
    const fresh = await scene.pod('c')
    const taken = await scene.watch.next('the next holder', ({ holder }) => holder !== '', deleted.index)
    await Promise.any([b.agent.event('serving'), fresh.agent.event('serving')])
    const waited = taken.at - deleted.at
    assert.ok(waited >= LEASE_MS, `taken ${waited} ms after the deletion`)
    const silent = scene.firstBeat(taken.holder) - scene.lastBeat('a')
    assert.ok(silent > 0, `the old one acted ${-silent} ms into the new term`)
    return `taken ${seconds(waited)} after the deletion, ${seconds(silent)} after the old LangFlow’s last sign of life`
  })

  fault('a second agent with the same identity', async (scene) => {
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
