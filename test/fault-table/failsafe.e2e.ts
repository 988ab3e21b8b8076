import assert from 'node:assert/strict'
import { describe } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { MEMBERS_DEAD } from '../../agent/lease/operator-annotations.ts'
import { FAULTS } from '../harness/faults/catalogue.ts'
import { TcpProxy } from '../harness/faults/tcp-proxy.ts'
import { freePort } from '../harness/free-port.ts'
import { mono, until } from '../harness/wait.ts'
import {
  atMost,
  confirmedDead,
  DEAD_MS,
  DOUBT_MS,
  type FaultScene,
  faultTests,
  LEASE_MS,
  type LinkedPod,
  SLACK_MS,
  seconds,
  TAKING_MS,
} from './scene.ts'

/** Each group has its own API server, because a fault of the API server affects all of its cases. */
const [{ fault: long }, { fault: hanging }, { fault }] = [faultTests(), faultTests(), faultTests()]

const OUTAGE_MS = 600_000

class Trio {
  private readonly scene: FaultScene
  private readonly flags: readonly string[]
  private readonly ports = new Map<string, number>()
  /** The way of the other agents to the agent of each replica. */
  readonly links = new Map<string, TcpProxy>()

  private constructor(scene: FaultScene, max: string) {
    this.scene = scene
    this.flags = ['--failsafe=peers', `--failsafe-max=${max}`]
  }

  static async of(scene: FaultScene, max: string): Promise<Trio> {
    const trio = new Trio(scene, max)
    for (const name of ['a', 'b', 'c']) {
      const port = await freePort()
      const link = await TcpProxy.open(port)
      scene.atEnd(() => link.close())
      trio.ports.set(name, port)
      trio.links.set(name, link)
    }
    return trio
  }

  /** The options of a replica, whose peers are the other two. */
  options(name: string) {
    const others = [...this.links].filter(([other]) => other !== name)
    const peers = others.map(([, { port }]) => `127.0.0.1:${port}`).join()
    return { httpPort: this.ports.get(name) as number, flags: [...this.flags, `--peers=${peers}`] }
  }

  async start(): Promise<[LinkedPod, LinkedPod, LinkedPod]> {
    const a = await this.scene.leader('a', this.options('a'))
    const [b, c] = await Promise.all(['b', 'c'].map((name) => this.scene.follower(name, this.options(name))))
    await this.enrolled(a, ['b', 'c'])
    return [a, b as LinkedPod, c as LinkedPod]
  }

  async enrolled(leader: LinkedPod, members: readonly string[]): Promise<void> {
    await until(`the leader has the members ${members}`, async () => {
      const { failsafe } = await leader.status()
      return failsafe !== null && failsafe.members.join() === members.join()
    })
  }
}

/** Longest time between two signs of life of the leader's workload. */
function longestPause(scene: FaultScene): number {
  const beats = scene.beats('a')
  return Math.max(...beats.map(({ mono: at }, n) => at - (beats[n - 1]?.mono ?? at)))
}

describe('failsafe by peers', { concurrency: 3 }, () => {
  long('the API server hangs for 10 min, and all members agree', async (scene) => {
    const trio = await Trio.of(scene, '11m')
    const [a, b, c] = await trio.start()
    const resume = await scene.hit(FAULTS.api['API server hangs'])
    await sleep(OUTAGE_MS)
    const { failsafe } = await a.status()
    assert.ok(failsafe?.byConsent && failsafe.byConsent.awayMs > OUTAGE_MS - 10_000)
    await resume()
    await until('a renewal', async () => (await a.status()).failsafe?.byConsent === null)
    scene.assertUndisturbed(a, b, c)
    const pause = longestPause(scene)
    a.agent.signal('SIGTERM')
    await a.agent.event('released')
    await Promise.any([b, c].map(({ agent }) => agent.event('serving')))
    return `undisturbed; longest time between two signs of life ${seconds(pause)}; then handed over`
  })

  hanging('a member dies while the API server hangs', async (scene) => {
    const trio = await Trio.of(scene, '10m')
    const [a, b] = await trio.start()
    const began = mono()
    const resume = await scene.hit(FAULTS.api['API server hangs'])
    await sleep(20_000)
    const died = mono()
    b.agent.signal('SIGKILL')
    const dead = (await confirmedDead(a)) - died
    const acted = scene.lastBeat('a') - died
    assert.ok(scene.lastBeat('a') - began > 20_000, 'the leader led by consent')
    atMost(acted, DOUBT_MS + SLACK_MS)
    atMost(dead, DEAD_MS)
    await resume()
    return `acted until ${seconds(acted)}, dead ${seconds(dead)} after the member’s end`
  })

  fault('only the leader is cut off from the API server', async (scene) => {
    const trio = await Trio.of(scene, '10m')
    const [a, b, c] = await trio.start()
    const heal = await scene.hit(FAULTS.link['link is a black hole'], a)
    await sleep(40_000)
    await heal()
    await until('a renewal', async () => (await a.status()).failsafe?.byConsent === null)
    scene.assertUndisturbed(a, b, c)
    return `undisturbed; longest time between two signs of life ${seconds(longestPause(scene))}`
  })

  fault('the leader is cut off from the API server and from a member', async (scene) => {
    const trio = await Trio.of(scene, '10m')
    const [a, b, c] = await trio.start()
    const { at: renewed, index } = await scene.renewal(a)
    trio.links.get('b')?.partition()
    await scene.hit(FAULTS.link['link is a black hole'], a)
    const last = scene.watch.last()
    const dead = (await confirmedDead(a)) - renewed
    const taken = await scene.takenBy('b', index)
    await b.agent.event('serving')
    assert.ok(!c.agent.events().includes('acquired'))
    atMost(scene.lastBeat('a') - last.at, DOUBT_MS + SLACK_MS)
    atMost(dead, DEAD_MS + 2_000)
    const took = taken.at - scene.recordBefore(taken).at
    assert.ok(took >= LEASE_MS)
    atMost(took, 15_000 + TAKING_MS)
    return `acted until ${seconds(scene.lastBeat('a') - last.at)}; that member led ${seconds(took)} after the last renewal`
  })

  fault('a replica that is no member sees an expired Lease', async (scene) => {
    const trio = await Trio.of(scene, '40s')
    const a = await scene.leader('a', trio.options('a'))
    const b = await scene.follower('b', trio.options('b'))
    await trio.enrolled(a, ['b'])
    // It has no failsafe, so that the leader does not enrol it.
    const c = await scene.follower('c', { flags: ['--failsafe-max=40s'] })
    a.kill()
    b.kill()
    const taken = await scene.takenBy('c')
    const took = taken.at - scene.recordBefore(taken).at
    assert.ok(took >= 39_500, `after ${took} ms`)
    atMost(took, 40_000 + TAKING_MS)
    await c.agent.event('serving')
    return `led ${seconds(took)} after the last renewal`
  })

  fault('an operator declares members dead that live', async (scene) => {
    const trio = await Trio.of(scene, '10m')
    const a = await scene.leader('a', trio.options('a'))
    await scene.follower('b', trio.options('b'))
    await trio.enrolled(a, ['b'])
    await scene.follower('c', { flags: ['--failsafe-max=10m'] })
    await scene.hit(FAULTS.link['link is a black hole'], a)
    await sleep(20_000)
    const declared = mono()
    const { epoch, index } = scene.watch.last()
    await scene.annotate({ [MEMBERS_DEAD]: String(epoch) })
    const dead = (await confirmedDead(a)) - declared
    const next = await scene.watch.next('another holder', ({ holder }) => holder !== 'a', index)
    atMost(scene.lastBeat('a') - declared, DOUBT_MS + SLACK_MS)
    atMost(dead, DEAD_MS)
    const took = next.at - declared
    atMost(took, 15_000 + TAKING_MS)
    return `dead ${seconds(dead)}, another replica led ${seconds(took)} after the declaration`
  })
})
