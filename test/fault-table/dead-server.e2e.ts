import assert from 'node:assert/strict'
import { after, before, describe } from 'node:test'
import { type ControlPlane, startControlPlane } from '../e2e/control-plane.ts'
import type { Sighting } from '../e2e/lease-watch.ts'
import type { Pod } from '../support/pod.ts'
import { warmLangflow } from '../support/warm-langflow.ts'
import { LEASE_MS } from './deadlines.ts'
import { faultTest, type Linked, type Scene, seconds } from './scene.ts'

/** Three retry periods. */
const HANDED_OVER_MS = 6_000
const NOTICED_MS = 5_500
/** Of the connections that are opened next, so many lead to the dead server as well. */
const AGAIN = 1

let plane: ControlPlane

before(async () => {
  plane = await startControlPlane({ audit: true })
})

after(() => plane?.close())

/** A serving leader, and a follower whose standby is cold or prepared. */
async function pair(scene: Scene, standby: 'cold' | 'prepared'): Promise<[Linked<Pod>, Linked<Pod>]> {
  const a = await scene.pod('a')
  await a.agent.event('serving')
  const b = await scene.follower('b', standby === 'cold' ? {} : warmLangflow(scene.dir))
  const ready = await b.agent.event('standby_ready')
  assert.equal(ready.mode, standby === 'cold' ? 'cold' : 'warm')
  return [a, b]
}

function asked(scene: Scene): number {
  return plane.requests({ namespace: scene.namespace, userAgent: '(b)' }).length
}

/** The last of the holder before the next one, and that one. */
async function takeover(scene: Scene, from: number): Promise<[last: Sighting, taken: Sighting]> {
  const taken = await scene.watch.next('the next holder', ({ holder }) => holder === 'b', from)
  return [scene.watch.sightings[taken.index - 1] as Sighting, taken]
}

describe('an API server that loses its power', { concurrency: 5 }, () => {
  for (const standby of ['cold', 'prepared'] as const) {
    faultTest(
      `the follower’s API server loses its power, and the leader hands over to a ${standby} standby`,
      () => plane,
      async (scene) => {
        const [a, b] = await pair(scene, standby)
        const before = asked(scene)
        await scene.watch.next('three renewals', () => true, scene.watch.length + 2)
        assert.equal(asked(scene), before, 'a follower in health asks for nothing')
        b.link.strand(AGAIN)
        a.agent.signal('SIGTERM')
        const released = await scene.watch.next('the release', ({ holder }) => holder === '', 1)
        const [, taken] = await takeover(scene, released.index)
        await b.agent.event('serving')
        const took = taken.at - released.at
        assert.ok(took <= HANDED_OVER_MS, `taken ${took} ms after the release`)
        return `next holder ${seconds(took)} after the release, acting ${seconds(scene.firstBeat('b') - taken.at)} later`
      },
    )

    faultTest(
      `the follower’s API server loses its power, and the leader is killed beside a ${standby} standby`,
      () => plane,
      async (scene) => {
        const [a, b] = await pair(scene, standby)
        await scene.watch.next('a renewal', () => true, scene.watch.length)
        b.link.strand(AGAIN)
        // The worst case: one more renewal, which the follower is not told of.
        await scene.watch.next('the last renewal', () => true, scene.watch.length)
        a.agent.signal('SIGKILL')
        process.kill(a.launcherPid(), 'SIGKILL')
        const [last, taken] = await takeover(scene, 1)
        await b.agent.event('serving')
        const took = taken.at - last.at
        assert.ok(
          took >= LEASE_MS && took <= LEASE_MS + NOTICED_MS,
          `taken ${took} ms after the last renewal`,
        )
        return `next holder ${seconds(took)} after the last renewal, acting ${seconds(scene.firstBeat('b') - taken.at)} later`
      },
    )
  }

  faultTest(
    'the leader’s API server loses its power',
    () => plane,
    async (scene) => {
      const [a, b] = await pair(scene, 'cold')
      const { index } = await scene.renewal(a)
      a.link.strand(AGAIN)
      await scene.watch.next('four more renewals', (one) => one.index >= index + 4, 0)
      const gaps = scene.watch.sightings.slice(index).map(({ at }, n, all) => at - (all[n - 1]?.at ?? at))
      const gap = Math.max(...gaps)
      assert.ok(gap <= HANDED_OVER_MS, `no renewal for ${gap} ms`)
      assert.ok(!a.agent.events().includes('doubt') && !b.agent.events().includes('acquired'))
      assert.equal(new Set(scene.beats('a').map(({ pid }) => pid)).size, 1)
      return `no renewal for ${seconds(gap)}, no doubt; the same process and term went on`
    },
  )
})
