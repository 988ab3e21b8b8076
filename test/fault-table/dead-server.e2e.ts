import assert from 'node:assert/strict'
import { describe } from 'node:test'
import { warmLangflow } from '../harness/warm-langflow.ts'
import { type FaultScene, faultTests, LEASE_MS, type LinkedPod, seconds } from './scene.ts'

/** Three retry periods. */
const HANDED_OVER_MS = 6_000
const NOTICED_MS = 5_500
/** A watch that lives tells of a release sooner; one retry period is the least after which a dead one is looked into. */
const TOLD_MS = 1_000
/** Of the connections that are opened next, so many lead to the dead server as well. */
const AGAIN = 1

const fault = faultTests({ audit: true })

/** A serving leader, and a follower whose standby is cold or prepared. */
async function pair(scene: FaultScene, standby: 'cold' | 'prepared'): Promise<[LinkedPod, LinkedPod]> {
  const a = await scene.leader('a')
  const b = await scene.follower('b', standby === 'cold' ? {} : warmLangflow(scene.dir))
  const ready = await b.agent.event('standby_ready')
  assert.equal(ready.mode, standby === 'cold' ? 'cold' : 'warm')
  return [a, b]
}

function asked(scene: FaultScene): number {
  return scene.plane.requests({ namespace: scene.namespace, userAgent: '(b)' }).length
}

describe('an API server that loses its power', { concurrency: 5 }, () => {
  for (const standby of ['cold', 'prepared'] as const) {
    fault(
      `the follower’s API server loses its power, and the leader hands over to a ${standby} standby`,
      async (scene) => {
        const [a, b] = await pair(scene, standby)
        const before = asked(scene)
        await scene.nextRecord(2)
        assert.equal(asked(scene), before, 'a follower in health asks for nothing')
        b.link.strand(AGAIN)
        a.agent.signal('SIGTERM')
        const { released, took, acted } = await scene.handedOver(a, b)
        assert.ok(took > TOLD_MS, `taken ${took} ms after the release: the dead connection told of it`)
        assert.ok(took <= HANDED_OVER_MS, `taken ${took} ms after the release`)
        return `next holder ${seconds(took)} after the release, acting ${seconds(acted - released - took)} later`
      },
    )

    fault(
      `the follower’s API server loses its power, and the leader is killed beside a ${standby} standby`,
      async (scene) => {
        const [a, b] = await pair(scene, standby)
        await scene.nextRecord()
        b.link.strand(AGAIN)
        // The worst case: one more renewal, which the follower is not told of.
        await scene.nextRecord()
        a.kill()
        const taken = await scene.takenBy('b', 1)
        await b.agent.event('serving')
        const took = taken.at - scene.recordBefore(taken).at
        assert.ok(
          took >= LEASE_MS && took <= LEASE_MS + NOTICED_MS,
          `taken ${took} ms after the last renewal`,
        )
        return `next holder ${seconds(took)} after the last renewal, acting ${seconds(scene.firstBeat('b') - taken.at)} later`
      },
    )
  }

  fault('the leader’s API server loses its power', async (scene) => {
    const [a, b] = await pair(scene, 'cold')
    const { index } = await scene.renewal(a)
    a.link.strand(AGAIN)
    await scene.watch.next('four more renewals', (one) => one.index >= index + 4, 0)
    const gaps = scene.watch.versions.slice(index).map(({ at }, n, all) => at - (all[n - 1]?.at ?? at))
    const gap = Math.max(...gaps)
    assert.ok(gap <= HANDED_OVER_MS, `no renewal for ${gap} ms`)
    scene.assertUndisturbed(a, b)
    return `no renewal for ${seconds(gap)}, no doubt; the same process and term went on`
  })
})
