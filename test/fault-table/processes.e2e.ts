import assert from 'node:assert/strict'
import { rmSync } from 'node:fs'
import { join } from 'node:path'
import { after, before, describe } from 'node:test'
import { type ControlPlane, startControlPlane } from '../e2e/control-plane.ts'
import { mono } from '../support/stage.ts'
import { DEAD_MS, DOUBT_MS, LEASE_MS, SLACK_MS } from './deadlines.ts'
import { GRACE_MS, LivenessProbe } from './liveness-probe.ts'
import { confirmedDead, faultTest, type Scene, seconds } from './scene.ts'

let plane: ControlPlane

before(async () => {
  plane = await startControlPlane()
})

after(() => plane?.close())

/** How the next holder came, in words; fails where it came late, or LangFlow acted or lived (until `dead`) for too long. */
async function afterCrash(scene: Scene, dead: number): Promise<string> {
  const taken = await scene.watch.next('the next holder', ({ holder }) => holder === 'b', 0)
  const last = scene.watch.sightings[taken.index - 1]
  assert.ok(last !== undefined)
  const [waited, acted] = [taken.at - last.at, scene.lastBeat('a') - last.at]
  assert.ok(waited >= LEASE_MS && waited <= LEASE_MS + 300, `taken after ${waited} ms`)
  assert.ok(acted <= DOUBT_MS + SLACK_MS, `acted for ${acted} ms`)
  const lived = dead - last.at
  assert.ok(lived <= DEAD_MS, `dead after ${lived} ms`)
  return `acted until ${seconds(Math.max(0, acted))}, dead ${seconds(lived)} after the last renewal; next holder ${seconds(waited)} after it`
}

describe('a process', { concurrency: 5 }, () => {
  faultTest(
    'the agent is killed and comes back',
    () => plane,
    async (scene) => {
      const [a] = await scene.pair()
      a.agent.signal('SIGKILL')
      await a.agent.exited
      const killed = mono()
      a.startAgent()
      const acquired = await a.agent.event('acquired')
      assert.equal(acquired.reason, 'took its grant back from the launcher')
      await a.agent.event('serving')
      const served = mono()
      const beats = scene.beats('a')
      assert.equal(new Set(beats.map(({ pid }) => pid)).size, 1)
      assert.equal(scene.watch.last().epoch, 1)
      assert.ok(!a.container.events().includes('workload_frozen'))
      return `serving again ${seconds(served - killed)} after its start; the same process, never frozen`
    },
  )

  faultTest(
    'the agent is killed and stays away',
    () => plane,
    async (scene) => {
      const [a, b] = await scene.pair()
      a.agent.signal('SIGKILL')
      await a.container.event('deadman_fired')
      const dead = await confirmedDead(a)
      await b.agent.event('serving')
      return afterCrash(scene, dead)
    },
  )

  faultTest(
    'the agent is frozen',
    () => plane,
    async (scene) => {
      const [a, b] = await scene.pair()
      const stopped = mono()
      a.agent.signal('SIGSTOP')
      await a.container.event('deadman_fired')
      const dead = await confirmedDead(a)
      await b.agent.event('serving')
      const measured = await afterCrash(scene, dead)
      await new Promise((resolve) => setTimeout(resolve, Math.max(0, stopped + 20_000 - mono())))
      a.agent.signal('SIGCONT')
      await a.agent.event('lost')
      await a.agent.event('leader_observed')
      assert.equal(scene.watch.last().holder, 'b')
      return measured
    },
  )

  faultTest(
    'the launcher is killed',
    () => plane,
    async (scene) => {
      const [a, b] = await scene.pair()
      const killed = mono()
      process.kill(a.launcherPid(), 'SIGKILL')
      const released = await scene.watch.next('the release', ({ holder }) => holder === '', 1)
      assert.ok(scene.lastBeat('a') < released.at)
      await b.agent.event('serving')
      return `released ${seconds(released.at - killed)}, another acted ${seconds(scene.firstBeat('b') - killed)} after the kill`
    },
  )

  faultTest(
    'the launcher is frozen',
    () => plane,
    async (scene) => {
      const [a, b] = await scene.pair()
      const probe = new LivenessProbe(() => a.get('/workloadz').then(({ status }) => status === 200))
      const frozen = mono()
      process.kill(a.launcherPid(), 'SIGSTOP')
      await probe.failed
      const failed = mono()
      assert.equal(scene.watch.last().holder, 'a')
      process.kill(a.launcherPid(), 'SIGTERM')
      await new Promise((resolve) => setTimeout(resolve, GRACE_MS))
      assert.equal(scene.watch.last().holder, 'a')
      process.kill(a.launcherPid(), 'SIGKILL')
      const released = await scene.watch.next('the release', ({ holder }) => holder === '', 1)
      assert.ok(scene.lastBeat('a') < released.at)
      await b.agent.event('serving')
      return `liveness probe failed ${seconds(failed - frozen)} after the freeze; released ${seconds(released.at - frozen)} after it`
    },
  )

  faultTest(
    'the socket is removed',
    () => plane,
    async (scene) => {
      const [a] = await scene.pair()
      const [{ pid } = assert.fail()] = scene.beats('a')
      const removed = scene.watch.length
      rmSync(join(a.directory, 'run', 'launcher.sock'))
      await scene.watch.next('the next but one renewal', () => true, removed + 1)
      assert.equal(scene.beats('a').at(-1)?.pid, pid)
      assert.ok(!a.agent.events().includes('doubt'))
      process.kill(a.launcherPid(), 'SIGKILL')
      await a.container.exited
      await a.agent.event('released')
      const from = a.agent.lines.length
      a.startContainer()
      await a.agent.find('the new launcher', (line) => /launcher connected/.test(line.msg), from)
      return 'the term went on; the new launcher connected'
    },
  )

  faultTest(
    'agent and launcher of one tree: the agent is killed',
    () => plane,
    async (scene) => {
      const a = await scene.replica('a')
      await a.event('serving')
      const b = await scene.follower('b')
      const killed = mono()
      a.signal('SIGKILL')
      // Its output ends with the last process that writes to it.
      await a.exited
      const dead = mono()
      await b.agent.event('serving')
      const measured = await afterCrash(scene, dead)
      return `LangFlow’s last sign of life ${Math.max(0, Math.round(scene.lastBeat('a') - killed))} ms after the kill; ${measured}`
    },
  )

  faultTest(
    'the whole replica is killed',
    () => plane,
    async (scene) => {
      const [a, b] = await scene.pair()
      a.agent.signal('SIGKILL')
      process.kill(a.launcherPid(), 'SIGKILL')
      await a.container.exited
      const dead = mono()
      await b.agent.event('serving')
      return afterCrash(scene, dead)
    },
  )

  faultTest(
    'LangFlow ignores SIGTERM and leaves daemons',
    () => plane,
    async (scene) => {
      const [a, b] = await scene.pair({ flags: ['--stop-timeout=3s'], workload: ['ignore-term', 'daemon'] })
      assert.equal(new Set(scene.beats('a').map(({ pid }) => pid)).size, 2)
      a.agent.signal('SIGTERM')
      const released = await scene.watch.next('the release', ({ holder }) => holder === '', 1)
      const early = released.at - scene.lastBeat('a')
      assert.ok(early > 0, `released ${-early} ms before the last sign of life`)
      await b.agent.event('serving')
      return `last sign of life of either ${Math.round(early)} ms before the release`
    },
  )

  for (const role of ['parent', 'master', 'worker'] as const) {
    faultTest(
      `LangFlow’s ${role} is killed`,
      () => plane,
      async (scene) => {
        const program = ['python3', join(import.meta.dirname, 'tree-workload.py')]
        const [a, b] = await scene.pair({ program })
        await a.container.find('who serves', (line) => /is served by pid/.test(line.msg))
        const beat = scene.beats('a').find((one) => one.role === role) ?? assert.fail(`no ${role}`)
        const killed = mono()
        process.kill(a.hostPid(beat.pid), 'SIGKILL')
        const draining = await a.agent.event('draining')
        const seen = mono() - killed
        const released = await scene.watch.next('the release', ({ holder }) => holder === '', 1)
        const early = released.at - scene.lastBeat('a')
        assert.ok(early > 0, `released ${-early} ms before the last sign of life`)
        await b.agent.event('serving')
        assert.ok(seen <= 1_000, `seen after ${seen} ms: ${draining.reason}`)
        return `“${draining.reason}” after ${Math.round(seen)} ms; released ${seconds(released.at - killed)}, another acted ${seconds(scene.firstBeat('b') - killed)} after the kill`
      },
    )
  }

  faultTest(
    'the agent’s event loop is blocked for 20 s',
    () => plane,
    async (scene) => {
      const block = join(import.meta.dirname, 'block-event-loop.mjs')
      const [a, b] = await scene.pair({ agentFlags: [`--import=${block}`] })
      a.agent.signal('SIGUSR2')
      await a.container.event('deadman_fired')
      const dead = await confirmedDead(a)
      await b.agent.event('serving')
      const measured = await afterCrash(scene, dead)
      await a.agent.event('leader_observed')
      assert.equal(scene.watch.last().holder, 'b')
      return measured
    },
  )
})
