import assert from 'node:assert/strict'
import { join } from 'node:path'
import { after, before, describe } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { readProcesses } from '../../agent/workload/proc.ts'
import { type ControlPlane, startControlPlane } from '../e2e/control-plane.ts'
import type { Pod } from '../support/pod.ts'
import { mono } from '../support/stage.ts'
import { BootClock } from './boot-clock.ts'
import { SLACK_MS } from './deadlines.ts'
import { faultTest, type Linked, type Scene, seconds } from './scene.ts'
import { WallClock } from './wall-clock.ts'

let plane: ControlPlane

before(async () => {
  plane = await startControlPlane()
})

after(() => plane?.close())

/** The launcher compares its clocks each 100 ms; a kill and a beat under way come on top. */
const LOOK_MS = 100

/** Long enough for a Lease to be lost, and taken by somebody else. */
const LONG_ENOUGH_MS = 18_000

/** No freeze that anybody would notice; the machine is busy with other cases meanwhile. */
const LONGEST_PAUSE_MS = 500

function longestPause(scene: Scene, identity: string): number {
  const beats = scene.beats(identity)
  return Math.max(...beats.map(({ mono: at }, n) => at - (beats[n - 1]?.mono ?? at)))
}

/** Every process of a pod: the agent, and all that lives in the container. */
function processesOf(pod: Linked<Pod>): number[] {
  const table = readProcesses()
  const found = [pod.launcherPid()]
  for (const pid of found)
    found.push(...[...table.values()].filter(({ ppid }) => ppid === pid).map((stat) => stat.pid))
  return [...found, pod.agent.pid]
}

describe('a clock', { concurrency: 4 }, () => {
  faultTest(
    'the leader’s wall clock jumps by an hour',
    () => plane,
    async (scene) => {
      const clock = new WallClock(join(scene.dir, 'wall'))
      const [a, b] = await scene.pair(clock.flags)
      for (const offset of [-3600, 0, 3600]) {
        clock.set(offset)
        await sleep(LONG_ENOUGH_MS)
      }
      assert.deepEqual(scene.beats('b'), [])
      assert.ok(!a.agent.events().includes('lost') && !b.agent.events().includes('acquired'))
      assert.equal(new Set(scene.beats('a').map(({ pid }) => pid)).size, 1)
      const pause = longestPause(scene, 'a')
      assert.ok(pause <= LONGEST_PAUSE_MS, `silent for ${pause} ms`)
      return `the same process and term went on; longest silence ${Math.round(pause)} ms`
    },
  )

  faultTest(
    'the follower’s wall clock jumps by an hour',
    () => plane,
    async (scene) => {
      const clock = new WallClock(join(scene.dir, 'wall'))
      const a = await scene.pod('a')
      await a.agent.event('serving')
      const b = await scene.follower('b', clock.flags)
      for (const offset of [3600, 0, -3600]) {
        clock.set(offset)
        await sleep(LONG_ENOUGH_MS)
      }
      assert.deepEqual(scene.beats('b'), [])
      assert.ok(!b.agent.events().includes('acquired') && !a.agent.events().includes('doubt'))
      return `took nothing in ${seconds(3 * LONG_ENOUGH_MS)}`
    },
  )

  faultTest(
    'the machine is suspended for 30 s',
    () => plane,
    async (scene) => {
      const [a, b] = await scene.pair()
      const processes = processesOf(a)
      const stopped = mono()
      for (const pid of processes) process.kill(pid, 'SIGSTOP')
      await b.agent.event('serving')
      await sleep(Math.max(0, stopped + 30_000 - mono()))
      const woke = mono()
      const before = scene.beats('a').length
      // The workload first: the worst that can happen.
      for (const pid of processes.reverse()) process.kill(pid, 'SIGCONT')
      await a.container.event('workload_stopped')
      const acted = scene.beats('a').length === before ? 0 : scene.lastBeat('a') - woke
      assert.ok(acted <= LOOK_MS + SLACK_MS, `acted for ${acted} ms`)
      await a.agent.event('leader_observed')
      assert.equal(scene.watch.last().holder, 'b')
      return `LangFlow dead ${Math.round(acted)} ms after the wake-up`
    },
  )

  faultTest(
    'the boot clock runs ahead of the monotonic clock',
    () => plane,
    async (scene, t) => {
      const clock = new BootClock(join(scene.dir, 'uptime'))
      t.after(() => clock.stop())
      const [a] = await scene.pair({ entry: clock.entry, agentEntry: clock.entry })
      const jumped = mono()
      clock.jump(30_000)
      await a.container.event('workload_stopped')
      const acted = scene.lastBeat('a', 1) - jumped
      assert.ok(acted <= LOOK_MS + SLACK_MS, `acted for ${acted} ms`)
      return `LangFlow dead ${Math.round(Math.max(0, acted))} ms after the jump`
    },
  )
})
