import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { chmodSync } from 'node:fs'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import { describe } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { BLOCKABLE, FAULTS } from '../harness/faults/catalogue.ts'
import type { Pod } from '../harness/pod.ts'
import { ask, type ReplicaOptions } from '../harness/replica.ts'
import { mono, until } from '../harness/wait.ts'
import { AS_LANGFLOW, ATTACK_PROCESS, installPrograms } from '../hostile/hostile-scene.ts'
import {
  atMost,
  confirmedDead,
  DEAD_MS,
  DOUBT_MS,
  type FaultPlane,
  type FaultScene,
  faultTests,
  LEASE_MS,
  type LinkedPod,
  SLACK_MS,
  seconds,
  TAKING_MS,
} from './scene.ts'

const { fault, quickFault } = faultTests()

/** Describes the takeover. Fails if the next holder came too late, or if LangFlow acted or lived (until `dead`) for too long. */
async function afterCrash(scene: FaultScene<FaultPlane>, b: LinkedPod, dead: number): Promise<string> {
  await b.agent.event('serving')
  const taken = await scene.takenBy('b')
  const last = scene.recordBefore(taken)
  const [waited, acted] = [taken.at - last.at, scene.lastBeat('a') - last.at]
  assert.ok(
    waited >= LEASE_MS && waited <= LEASE_MS + TAKING_MS,
    `b took the Lease ${waited} ms after the last renewal`,
  )
  atMost(acted, DOUBT_MS + SLACK_MS)
  const lived = dead - last.at
  atMost(lived, DEAD_MS)
  return `acted until ${seconds(Math.max(0, acted))}, dead ${seconds(lived)}, next holder ${seconds(waited)}`
}

/** The liveness probe of the LangFlow container in deploy/langflow.yaml, with the kubelet's default for failures. */
const PROBE = { periodMs: 5_000, timeoutMs: 3_000, failures: 3 }
/** The time from SIGTERM to SIGKILL after the probe has failed. */
const GRACE_MS = 5_000

/** Resolves when the kubelet would end the container. */
async function livenessProbeFails({ httpPort }: Pod): Promise<void> {
  for (let failures = 0; failures < PROBE.failures; ) {
    await sleep(PROBE.periodMs)
    const answer = await ask(httpPort, '/workloadz', PROBE.timeoutMs).catch(() => undefined)
    failures = answer?.status === 200 ? 0 : failures + 1
  }
}

/** For cases that wait for no deadline of the Lease: a busy machine must not let it expire. */
const PATIENT = ['--lease-duration=60s', '--renew-deadline=40s']

describe('processes', { concurrency: 5 }, () => {
  quickFault('the agent is killed and restarts', async (scene) => {
    scene.timings = PATIENT
    const [a] = await scene.pods()
    await scene.hit(FAULTS.agent['agent is killed'], a)
    await a.agent.exited
    const killed = mono()
    a.startAgent()
    const acquired = await a.agent.event('acquired')
    assert.equal(acquired.reason, 'the restarted agent resumed the grant of its launcher')
    await a.agent.event('serving')
    const served = mono()
    scene.assertUndisturbed(a)
    assert.ok(!a.container.events().includes('workload_frozen'))
    return `serving again ${seconds(served - killed)} after its start`
  })

  quickFault('the agent is killed and does not restart', async (scene) => {
    const [a, b] = await scene.pods()
    await scene.hit(FAULTS.agent['agent is killed'], a)
    await a.container.event('deadman_fired')
    return afterCrash(scene, b, await confirmedDead(a))
  })

  fault('the agent is frozen', async (scene) => {
    const [a, b] = await scene.pods()
    const stopped = mono()
    const thaw = await scene.hit(FAULTS.agent['agent is frozen'], a)
    await a.container.event('deadman_fired')
    const measured = await afterCrash(scene, b, await confirmedDead(a))
    await sleep(Math.max(0, stopped + 20_000 - mono()))
    await thaw()
    await a.agent.event('lost')
    await a.agent.event('leader_observed')
    assert.equal(scene.watch.last().holder, 'b')
    return measured
  })

  quickFault('the launcher is killed', async (scene) => {
    const [a, b] = await scene.pods()
    const killed = mono()
    await scene.hit(FAULTS.container['container is killed'], a)
    const { released, acted } = await scene.handedOver(a, b)
    return `released ${seconds(released - killed)}, another acted ${seconds(acted - killed)} after the kill`
  })

  fault('the launcher is frozen', async (scene) => {
    const [a, b] = await scene.pods()
    const frozen = mono()
    process.kill(a.launcherPid(), 'SIGSTOP')
    await livenessProbeFails(a)
    const failed = mono()
    assert.equal(scene.watch.last().holder, 'a')
    process.kill(a.launcherPid(), 'SIGTERM')
    await sleep(GRACE_MS)
    assert.equal(scene.watch.last().holder, 'a')
    process.kill(a.launcherPid(), 'SIGKILL')
    const { released } = await scene.handedOver(a, b)
    return `probe failed ${seconds(failed - frozen)}, released ${seconds(released - frozen)} after the freeze`
  })

  fault('the socket is removed', async (scene) => {
    const [a] = await scene.pods()
    const [{ pid } = assert.fail()] = scene.beats('a')
    const removed = scene.watch.length
    await scene.hit(FAULTS.agent['agent socket is removed'], a)
    await scene.watch.next('the next but one renewal', () => true, removed + 1)
    assert.equal(scene.beats('a').at(-1)?.pid, pid)
    assert.ok(!a.agent.events().includes('doubt'))
    process.kill(a.launcherPid(), 'SIGKILL')
    await a.container.exited
    await a.agent.event('released')
    const from = a.agent.lines.length
    a.startContainer()
    await a.agent.find('the new launcher', (line) => /launcher connected/.test(line.msg), from)
    return 'undisturbed; the new launcher connected'
  })

  fault('the agent of `run` is killed', async (scene) => {
    const a = await scene.replica('a')
    await a.event('serving')
    const b = await scene.follower('b')
    const killed = mono()
    a.signal('SIGKILL')
    // The output ends with the last process that can write to it.
    await a.exited
    const measured = await afterCrash(scene, b, mono())
    return `acted until ${Math.max(0, Math.round(scene.lastBeat('a') - killed))} ms after the kill; ${measured}`
  })

  quickFault('the whole replica is killed', async (scene) => {
    const [a, b] = await scene.pods()
    a.kill()
    await a.container.exited
    return afterCrash(scene, b, mono())
  })

  quickFault('LangFlow ignores SIGTERM and leaves daemons', async (scene) => {
    scene.timings = PATIENT
    const [a, b] = await scene.pods({ flags: ['--stop-timeout=3s'], workload: ['ignore-term', 'daemon'] })
    await until('a beat of the daemon', () => scene.processes('a').size === 2)
    a.agent.signal('SIGTERM')
    const { early } = await scene.handedOver(a, b)
    return `acted until ${Math.round(early)} ms before the release`
  })

  for (const role of ['parent', 'master', 'worker'] as const) {
    fault(`LangFlow’s ${role} is killed`, async (scene) => {
      const program = ['python3', join(import.meta.dirname, '../harness/tree-workload.py')]
      const [a, b] = await scene.pods({ program })
      await a.container.find('the pid of the worker', (line) => /is served by pid/.test(line.msg))
      const beat =
        scene.beats('a').find((one) => one.role === role) ??
        assert.fail(`no ${role} of LangFlow wrote a beat`)
      const killed = mono()
      process.kill(a.hostPid(beat.pid), 'SIGKILL')
      await a.agent.event('draining')
      const seen = mono() - killed
      const { released, acted } = await scene.handedOver(a, b)
      atMost(seen, 1_000)
      return `seen after ${Math.round(seen)} ms; released ${seconds(released - killed)}, another acted ${seconds(acted - killed)} after the kill`
    })
  }

  fault('the agent’s event loop is blocked for 20 s', async (scene) => {
    const [a, b] = await scene.pods({ agentFlags: [BLOCKABLE] })
    await scene.hit(FAULTS.agent['agent’s event loop is blocked'], a)
    await a.container.event('deadman_fired')
    const measured = await afterCrash(scene, b, await confirmedDead(a))
    await a.agent.event('leader_observed')
    assert.equal(scene.watch.last().holder, 'b')
    return measured
  })
})

/** An identity and options as in a pod, where the identity comes from the downward API. */
function inPod(name: string): [identity: string, options: Partial<ReplicaOptions>] {
  return [`${name}_uid-${name}`, { env: { POD_NAME: name, POD_UID: `uid-${name}` } }]
}

/** Monotonic ms of the new launcher's first hello, whether the agent accepted it or not. */
async function firstHello(pod: Pod): Promise<number> {
  await pod.agent.find('a hello', ({ msg }) => /refused a connection|launcher connected/.test(msg))
  return mono()
}

async function killedAndRestarted(pod: Pod): Promise<{ killed: number; hello: number }> {
  const killed = mono()
  pod.kill()
  await Promise.all([pod.agent.gone, pod.container.gone])
  pod.startAgent()
  pod.startContainer()
  return { killed, hello: await firstHello(pod) }
}

describe('pods', { concurrency: 3 }, () => {
  fault('the leader’s whole pod is killed and restarted in place', async (scene) => {
    const a = await scene.leader(...inPod('a'))
    const b = await scene.follower('b')
    const { killed, hello } = await killedAndRestarted(a)
    const { code } = await a.agent.event('released')
    assert.equal(code, 'pod_restarted')
    const { released, took, acted } = await scene.handedOver(a, b)
    atMost(released + took - hello, 1_000)
    await a.agent.event('standby_ready')
    return `next holder ${seconds(released + took - hello)} after the hello; another acted ${seconds(acted - killed)} after the kill`
  })

  fault('the only pod is killed and restarted in place', async (scene) => {
    const a = await scene.leader(...inPod('a'))
    const { killed, hello } = await killedAndRestarted(a)
    const released = await scene.released()
    const taken = await scene.takenBy(a.options.identity, released.index)
    await a.agent.event('serving')
    atMost(taken.at - hello, 2_500)
    return `leads again ${seconds(taken.at - hello)} after the hello, ${seconds(taken.at - killed)} after the kill`
  })

  fault('a new container starts while the old one lives', async (scene) => {
    const a = await scene.leader(...inPod('a'))
    const b = await scene.follower('b')
    const old = a.tree()?.all ?? assert.fail()
    const launcher = a.launcherPid()
    process.kill(launcher, 'SIGSTOP')
    for (const { pid } of old) process.kill(pid, 'SIGSTOP')
    scene.atEnd(async () => process.kill(launcher, 'SIGKILL'))
    a.agent.signal('SIGKILL')
    await a.agent.gone
    a.startAgent()
    a.startContainer()
    await firstHello(a)
    await b.agent.event('serving')
    const taken = await scene.takenBy('b')
    const waited = taken.at - scene.recordBefore(taken).at
    assert.ok(
      waited >= LEASE_MS && waited <= LEASE_MS + TAKING_MS,
      `b took the Lease ${waited} ms after the last renewal`,
    )
    assert.ok(!a.agent.events().includes('released'))
    return `container refused; next holder ${seconds(waited)}`
  })
})

type Outcomes = Readonly<Record<string, string>>

/** Runs the attack of a process of LangFlow's user, in its container, on the process with this pid there. */
async function attack(pod: LinkedPod, pid: number): Promise<Outcomes> {
  const where = ['--target', String(pod.launcherPid()), '--pid', '--mount']
  const command = [...where, ...AS_LANGFLOW, '/usr/bin/python3', ATTACK_PROCESS, String(pid)]
  const child = spawn('nsenter', command, { stdio: ['ignore', 'pipe', 'inherit'] })
  return JSON.parse(await text(child.stdout)) as Outcomes
}

async function attackable(scene: FaultScene): Promise<[leader: LinkedPod, follower: LinkedPod]> {
  const options = { programs: installPrograms(scene.dir), entry: AS_LANGFLOW }
  chmodSync(scene.dir, 0o777)
  return [await scene.leader('a', options), await scene.follower('b', options)]
}

describe('flows', { concurrency: 2 }, () => {
  fault('a flow attacks its launcher', async (scene) => {
    const [a, b] = await attackable(scene)
    const pids = scene.processes('a')
    const { debugger: answer, state, ...outcomes } = await attack(a, 1)
    assert.deepEqual([answer, /^[RS]$/.test(state ?? '')], ['ECONNREFUSED', true])
    const attempts = Object.entries(outcomes).filter(([what]) => !what.startsWith('kill '))
    for (const [what, outcome] of attempts) assert.match(outcome, /^E(ACCES|PERM)$/, what)
    await scene.nextRecord(1)
    assert.deepEqual(scene.processes('a'), pids)
    assert.ok(!a.agent.events().includes('doubt') && !b.agent.events().includes('acquired'))
    a.agent.signal('SIGTERM')
    await scene.handedOver(a, b)
    return `${Object.keys(outcomes).length - attempts.length} signals and ${attempts.length} other attempts failed`
  })

  fault('a flow kills tini', async (scene) => {
    const [a, b] = await attackable(scene)
    const killed = mono()
    await scene.hit(FAULTS.container['tini is killed'], a)
    const draining = await a.agent.event('draining')
    assert.match(draining.reason ?? '', /tini, was killed/)
    const { released, acted } = await scene.handedOver(a, b)
    assert.equal((await a.container.exited).code, 1)
    return `released ${seconds(released - killed)}, another acted ${seconds(acted - killed)} after the kill`
  })
})
