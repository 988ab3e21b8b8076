import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { ApiError } from '../../agent/kube/errors.ts'
import { RoutedTraffic } from '../../agent/traffic/routed-traffic.ts'
import type { Known } from '../../agent/traffic/traffic.ts'
import { settled, VirtualClock } from '../harness/virtual-clock.ts'

const OPEN: Known = { gate: 'open', epoch: 7 }
const STANDING_BY: Known = { gate: 'closed', epoch: null }

const unreachable = () => new ApiError('network', 'cannot reach the API server')

/** A route that does as each test says, and remembers what it was asked for. */
class Scene {
  readonly clock = new VirtualClock()
  readonly asked: string[] = []
  /** What kept traffic from following, each time that something changed. */
  readonly problems: (string | null)[] = []
  bring: (wanted: Known, still: () => boolean) => Promise<void> = async () => {}
  /** What the process learns when it asks the clock. */
  look = (): void => {}
  readonly traffic: RoutedTraffic

  constructor() {
    const route = {
      routedTo: null,
      bring: (wanted: Known, still: () => boolean) => {
        this.asked.push(wanted.gate)
        return this.bring(wanted, still)
      },
      close: () => {},
    }
    const listener = { look: () => this.look(), changed: () => this.problems.push(this.traffic.view.problem) }
    this.traffic = new RoutedTraffic({ route, clock: this.clock, listener })
  }
}

/** Whether it is acknowledged without any time passing. */
async function isSettled({ traffic }: Scene): Promise<boolean> {
  await settled()
  return traffic.settling === null
}

describe('traffic that the API server leads', () => {
  it('follows at once, then brings about only what is wanted last, and is settled by the answer to that alone', async () => {
    const scene = new Scene()
    assert.ok(await isSettled(scene), 'nothing is wanted yet')
    const [first, second] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()]
    scene.bring = () => (scene.asked.length === 1 ? first.promise : second.promise)
    for (let epoch = 1; epoch <= 100; epoch++) {
      scene.traffic.want({ gate: 'open', epoch })
      scene.traffic.want({ gate: 'closed', epoch })
    }
    scene.traffic.want(STANDING_BY)
    await scene.clock.pass(60_000)
    assert.deepEqual(scene.asked, ['open'])
    first.resolve()
    assert.ok(!(await isSettled(scene)))
    assert.deepEqual(scene.asked, ['open', 'closed'])
    second.resolve()
    assert.ok(await isSettled(scene))
  })

  it('tries about once a second while the API server is away, and says so', async () => {
    const scene = new Scene()
    scene.bring = () => Promise.reject(unreachable())
    scene.traffic.want(STANDING_BY)
    await scene.clock.pass(60_000)
    assert.ok(scene.asked.length >= 50 && scene.asked.length <= 61, `${scene.asked.length}`)
    assert.equal(scene.traffic.view.problem, 'cannot reach the API server')
    const tries = scene.asked.length
    scene.traffic.want(OPEN)
    assert.equal(scene.asked.length, tries + 1, 'the gate moved')
    scene.bring = async () => {}
    await scene.clock.pass(1_200)
    assert.equal(scene.traffic.view.problem, null)
    assert.ok(await isSettled(scene))
  })

  it('asks less often for what only a person can put right, and as seldom as the API server wishes', async () => {
    for (const error of [
      new ApiError('forbidden', 'no'),
      new ApiError('throttled', 'slowly', { retryAfterMs: 5_000 }),
    ]) {
      const scene = new Scene()
      scene.bring = () => Promise.reject(error)
      scene.traffic.want(STANDING_BY)
      await scene.clock.pass(60_000)
      assert.ok(scene.asked.length >= 10 && scene.asked.length <= 13, `${error.code}: ${scene.asked.length}`)
    }
  })

  it('reads anew after a conflict at once, and does not fight for ever', async () => {
    const scene = new Scene()
    scene.bring = () => Promise.reject(new ApiError('conflict', 'it has changed'))
    scene.traffic.want(STANDING_BY)
    await scene.clock.pass(500)
    assert.equal(scene.asked.length, 4)
    assert.equal(scene.traffic.view.problem, 'it has changed')
  })

  it('asks what is wanted by now before a timer begins anything', async () => {
    const scene = new Scene()
    scene.traffic.want(OPEN)
    await settled()
    scene.look = () => scene.traffic.want(STANDING_BY)
    await scene.clock.pass(60_000)
    assert.deepEqual(scene.asked, ['open', 'closed'])
  })

  it('tells a round under way that it is wanted no more, also where only the clock knows', async () => {
    for (const unwanted of [
      (scene: Scene) => scene.traffic.want(STANDING_BY),
      (scene: Scene) => {
        scene.look = () => scene.traffic.want(STANDING_BY)
      },
      (scene: Scene) => scene.traffic.close(),
    ]) {
      const scene = new Scene()
      let isStill = (): boolean => assert.fail('nothing was begun')
      scene.bring = (_, still) => {
        isStill = still
        return new Promise(() => {})
      }
      scene.traffic.want(OPEN)
      assert.ok(isStill())
      void unwanted(scene)
      assert.ok(!isStill())
    }
  })

  it('does not take a problem for over because a round was given up', async () => {
    const scene = new Scene()
    scene.bring = () => Promise.reject(unreachable())
    scene.traffic.want(OPEN)
    await settled()
    const answer = Promise.withResolvers<void>()
    scene.bring = ({ gate }) => (gate === 'open' ? answer.promise : Promise.reject(unreachable()))
    await scene.clock.pass(1_200)
    scene.traffic.want(STANDING_BY)
    answer.resolve()
    await settled()
    assert.deepEqual(scene.asked, ['open', 'open', 'closed'])
    assert.deepEqual(scene.problems, Array(3).fill('cannot reach the API server'))
  })

  it('costs a follower nothing once it is settled, and a leader a look each few seconds', async () => {
    const scene = new Scene()
    scene.traffic.want(STANDING_BY)
    await scene.clock.pass(3_600_000)
    assert.equal(scene.asked.length, 1)
    scene.traffic.want(OPEN)
    await scene.clock.pass(60_000)
    assert.ok(scene.asked.length >= 11 && scene.asked.length <= 14, `${scene.asked.length}`)
  })

  it('stays settled while a later look fails', async () => {
    const scene = new Scene()
    scene.traffic.want(OPEN)
    await settled()
    scene.bring = () => Promise.reject(unreachable())
    await scene.clock.pass(6_000)
    assert.notEqual(scene.traffic.view.problem, null)
    assert.ok(await isSettled(scene))
  })

  it('ends with its process: nothing is sent any more, and nobody told', async () => {
    const scene = new Scene()
    const answer = Promise.withResolvers<void>()
    scene.bring = () => answer.promise
    scene.traffic.want(OPEN)
    await scene.traffic.close()
    answer.reject(unreachable())
    scene.traffic.want(STANDING_BY)
    await scene.clock.pass(60_000)
    assert.deepEqual([scene.asked, scene.problems], [['open'], []])
    assert.equal(scene.clock.next(), Number.POSITIVE_INFINITY)
  })
})
