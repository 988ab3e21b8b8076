import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { BootClock } from '../harness/faults/boot-clock.ts'
import { WallClock } from '../harness/faults/wall-clock.ts'
import { mono } from '../harness/wait.ts'
import { atMost, type FaultScene, faultTests, SLACK_MS, seconds } from './scene.ts'

const { fault } = faultTests()

/** The launcher compares its clocks every 100 ms. A kill and a beat in progress add to that. */
const CHECK_MS = 100

const LONG_ENOUGH_MS = 18_000

/** Limit for a pause that isn't a freeze. Cases that run at the same time keep the machine busy. */
const LONGEST_PAUSE_MS = 500

function longestPause(scene: FaultScene, identity: string): number {
  const beats = scene.beats(identity)
  return Math.max(...beats.map(({ mono: at }, n) => at - (beats[n - 1]?.mono ?? at)))
}

describe('a clock', { concurrency: 4 }, () => {
  fault('the leader’s wall clock jumps by an hour', async (scene) => {
    const clock = new WallClock(join(scene.dir, 'wall'))
    const [a, b] = await scene.pods(clock.flags)
    for (const offset of [-3600, 0, 3600]) {
      clock.set(offset)
      await sleep(LONG_ENOUGH_MS)
    }
    assert.deepEqual(scene.beats('b'), [])
    assert.ok(!a.agent.events().includes('lost') && !b.agent.events().includes('acquired'))
    assert.equal(scene.processes('a').size, 1)
    const pause = longestPause(scene, 'a')
    atMost(pause, LONGEST_PAUSE_MS)
    return `undisturbed; longest silence ${Math.round(pause)} ms`
  })

  fault('the follower’s wall clock jumps by an hour', async (scene) => {
    const clock = new WallClock(join(scene.dir, 'wall'))
    const a = await scene.leader('a')
    const b = await scene.follower('b', clock.flags)
    for (const offset of [3600, 0, -3600]) {
      clock.set(offset)
      await sleep(LONG_ENOUGH_MS)
    }
    assert.deepEqual(scene.beats('b'), [])
    assert.ok(!b.agent.events().includes('acquired') && !a.agent.events().includes('doubt'))
    return `not taken in ${seconds(3 * LONG_ENOUGH_MS)}`
  })

  fault('the machine is suspended for 30 s', async (scene) => {
    const [a, b] = await scene.pods()
    const { launcher, all } = a.tree() ?? assert.fail()
    const processes = [launcher, ...all, a.agent].map(({ pid }) => pid)
    const stopped = mono()
    for (const pid of processes) process.kill(pid, 'SIGSTOP')
    await b.agent.event('serving')
    await sleep(Math.max(0, stopped + 30_000 - mono()))
    const woke = mono()
    const before = scene.beats('a').length
    // The worst case: the workload wakes up first.
    for (const pid of processes.reverse()) process.kill(pid, 'SIGCONT')
    await a.container.event('workload_stopped')
    const acted = scene.beats('a').length === before ? 0 : scene.lastBeat('a') - woke
    atMost(acted, CHECK_MS + SLACK_MS)
    await a.agent.event('leader_observed')
    assert.equal(scene.watch.last().holder, 'b')
    return `dead ${Math.round(acted)} ms after the wake-up`
  })

  fault('the boot clock runs ahead of the monotonic clock', async (scene, t) => {
    const clock = new BootClock(join(scene.dir, 'uptime'))
    t.after(() => clock.stop())
    const [a] = await scene.pods({ entry: clock.entry, agentEntry: clock.entry })
    const jumped = mono()
    clock.jump(30_000)
    await a.container.event('workload_stopped')
    const acted = scene.lastBeat('a', 1) - jumped
    atMost(acted, CHECK_MS + SLACK_MS)
    return `dead ${Math.round(Math.max(0, acted))} ms after the jump`
  })

  fault('each container has its own uptime', async (scene, t) => {
    const uptimeMs = Number(readFileSync('/proc/uptime', 'latin1').split(' ', 1)[0]) * 1000
    const clocks = [3_000 - uptimeMs, 86_400_000].map((aheadMs, n) => {
      const clock = new BootClock(join(scene.dir, `uptime-${n}`), aheadMs)
      t.after(() => clock.stop())
      return clock
    })
    const a = await scene.leader('a', { entry: clocks[0]!.entry })
    const b = await scene.follower('b', { entry: clocks[1]!.entry })
    await sleep(LONG_ENOUGH_MS)
    const pause = longestPause(scene, 'a')
    a.agent.signal('SIGTERM')
    await b.agent.event('serving')
    const served = mono()
    await sleep(LONG_ENOUGH_MS)
    for (const { agent, container } of [a, b]) {
      assert.ok(!agent.events().includes('doubt') && !container.events().includes('deadman_fired'))
      assert.ok(!container.lines.some(({ msg }) => /refused a grant/.test(msg)))
    }
    assert.equal(scene.watch.last().holder, 'b')
    atMost(pause, LONGEST_PAUSE_MS)
    assert.ok(scene.lastBeat('b') - served > LONG_ENOUGH_MS - LONGEST_PAUSE_MS)
    return `grants at ${seconds(uptimeMs)} held at 3 s and at a day; longest silence ${Math.round(pause)} ms`
  })

  fault('a launcher’s uptime runs too fast', async (scene, t) => {
    const clock = new BootClock(join(scene.dir, 'uptime'))
    t.after(() => clock.stop())
    // A grant of 14 s has then expired before it arrives, even counted from the launcher's last answer to a ping.
    clock.gain(5_000)
    const a = await scene.pod('a', { entry: clock.entry })
    const status = async () => await a.status()
    const line = await a.agent.find('the refused grant', ({ msg }) => /the launcher refuses grants/.test(msg))
    assert.equal(line.level, 'warn')
    assert.match(line.msg, /it has expired/)
    await a.container.find(
      'the refused grant in the log of the launcher',
      ({ msg, level }) => level === 'warn' && /refused a grant/.test(msg),
    )
    assert.match((await status()).problem ?? '', /the launcher refuses grants: it has expired/)
    assert.deepEqual(scene.beats('a'), [])
    clock.gain(0)
    await a.agent.event('serving')
    assert.equal((await status()).problem, null)
    return 'warned until the clock was right, then served'
  })
})
