import assert from 'node:assert/strict'
import { createServer } from 'node:net'
import { describe } from 'node:test'
import { FAULTS } from '../harness/faults/catalogue.ts'
import { freePort } from '../harness/free-port.ts'
import { HELD, type HeldKind, hold } from '../harness/held-connections.ts'
import { listening } from '../harness/listening.ts'
import type { ReplicaOptions } from '../harness/replica.ts'
import { mono, until } from '../harness/wait.ts'
import { warmLangflow } from '../harness/warm-langflow.ts'
import {
  atMost,
  type FaultPlane,
  type FaultScene,
  faultTests,
  type LinkedPod,
  RUN_MS,
  SLACK_MS,
  seconds,
} from './scene.ts'
import type { CaseName } from './table.ts'

const NAMES = {
  request: 'a request',
  stream: 'an SSE stream',
  websocket: 'a websocket',
  idle: 'an idle connection',
} as const

const { fault, quickFault } = faultTests()

async function ends(pod: LinkedPod): Promise<string> {
  const began = mono()
  await pod.stop()
  await endedCleanly(pod)
  return `ended after ${seconds(mono() - began)}`
}

async function endedCleanly({ container, agent }: LinkedPod): Promise<void> {
  for (const one of [container, agent]) assert.equal((await one.exited).code, 0, one.output.join('\n'))
}

function nextHolder({ took }: { readonly took: number }): string {
  return `handover ${Math.round(took)} ms`
}

describe('SIGTERM', { concurrency: 3 }, () => {
  fault('SIGTERM without an API server', async (scene) => {
    const a = await scene.pod('a', {}, (link) => link.refuse())
    await a.agent.find('the refused connection', ({ level }) => level === 'warn')
    // PID 1 ignores signals until its handler is installed.
    await a.agent.find('its launcher', ({ msg }) => /launcher connected/.test(msg))
    return ends(a)
  })

  fault('SIGTERM while following', async (scene) => {
    const [a, b] = await scene.pods()
    const ended = await ends(b)
    await scene.watch.next('a renewal', ({ holder }) => holder === 'a', scene.watch.length)
    assert.ok(!a.agent.events().includes('doubt'))
    return ended
  })

  fault('SIGTERM while LangFlow starts', async (scene) => {
    const a = await scene.pod('a', { workload: ['unhealthy=1000000'] })
    await a.container.event('workload_started')
    const b = await scene.follower('b')
    return `${await ends(a)}; ${nextHolder(await scene.handedOver(a, b))}`
  })

  quickFault('SIGTERM while serving', async (scene) => {
    const [a, b] = await scene.pods()
    return `${await ends(a)}; ${nextHolder(await scene.handedOver(a, b))}`
  })

  fault('SIGTERM while in doubt', async (scene) => {
    const [a, b] = await scene.pods()
    await scene.hit(FAULTS.link['link is a black hole'], a)
    await a.container.event('workload_frozen')
    const beats = scene.beats('a').length
    const ended = await ends(a)
    assert.equal(scene.beats('a').length, beats, 'LangFlow executed again')
    await b.agent.event('serving')
    assert.ok(
      !scene.watch.versions.slice(1).some(({ holder }) => holder === ''),
      'the old leader released the Lease',
    )
    return `${ended}; never released`
  })

  fault('SIGTERM while draining', async (scene) => {
    const [a, b] = await scene.pods()
    const held = await hold('request', `http://127.0.0.1:${a.port}`)
    a.agent.signal('SIGTERM')
    await a.agent.event('draining')
    a.agent.signal('SIGTERM')
    const again = mono()
    const ended = await held.ended
    const took = (await scene.handedOver(a, b)).released - again
    atMost(took, CUT_MS)
    assert.equal((await a.agent.exited).code, 0)
    return `released ${seconds(took)} later; client: ${ended}`
  })

  fault('SIGTERM while stopping', async (scene) => {
    const [a, b] = await scene.pods({ flags: ['--stop-timeout=3s'], workload: ['ignore-term'] })
    a.agent.signal('SIGTERM')
    await until('LangFlow is being stopped', async () => (await a.status()).workload.state === 'stopping')
    const began = mono()
    a.agent.signal('SIGTERM')
    process.kill(a.launcherPid(), 'SIGTERM')
    await endedCleanly(a)
    const took = mono() - began
    return `ended after ${seconds(took)}; ${nextHolder(await scene.handedOver(a, b))}`
  })

  fault('SIGTERM while cooling down', async (scene) => {
    const a = await scene.pod('a', { workload: ['exit=3'] })
    await a.agent.event('stepped_down')
    return ends(a)
  })
})

const DRAIN_MS = 5_000
/** Limit for the time from the end of the drain to the release. */
const CUT_MS = 1_500
/** During this time the drain only waits, because new requests may still arrive. */
const GATE_KNOWN_MS = 2_000

describe('planned handovers', { concurrency: 2 }, () => {
  for (const kind of HELD)
    fault(`${NAMES[kind]} is held open during a handover`, async (scene) => {
      const [a, b] = await scene.pods()
      const first = await handsOver(scene, a, b, kind)
      const c = await scene.follower('c', warmLangflow(scene.dir, { kind: 'tree' }))
      const second = await handsOver(scene, b, c, kind)
      return `released after ${first.took} (cold), ${second.took} (warm); client: ${first.client}`
    })
})

async function handsOver(scene: FaultScene, from: LinkedPod, to: LinkedPod, kind: HeldKind) {
  const held = await hold(kind, `http://127.0.0.1:${from.port}`)
  const since = scene.watch.length
  const began = mono()
  process.kill(from.launcherPid(), 'SIGTERM')
  const took = (await scene.handedOver(from, to, since)).released - began
  const limit = (kind === 'idle' ? GATE_KNOWN_MS : DRAIN_MS) + CUT_MS
  atMost(took, limit)
  const { msg } = await from.agent.find('the client that the drain waits for', ({ msg }) =>
    msg.startsWith('draining: '),
  )
  assert.match(msg, /^draining: 1 connection, 5 s left$/)
  const client = await held.ended
  await from.container.exited
  await from.agent.stop()
  await endedCleanly(from)
  return { took: seconds(took), client }
}

const QUIET_MS = 3_000

describe('handovers with a front', { concurrency: 3 }, () => {
  fault('connections are held open at a front during a handover', async (scene) => {
    const a = await scene.leader('a', await withFront(`--quiet-timeout=${QUIET_MS}ms`))
    const b = await scene.follower('b', await withFront())
    for (const kind of ['websocket', 'idle'] as const) await hold(kind, frontOf(a))
    // No front repeats it.
    await hold('request', frontOf(a), { path: '/slow=3600000', method: 'POST' })
    await until('the request is in flight', async () => (await a.status()).traffic.front?.inFlight === 1)
    const first = await releasedAfter(scene, a, b)
    atMost(first, QUIET_MS + DRAIN_MS + CUT_MS)
    const c = await scene.follower('c', await withFront())
    for (const kind of ['websocket', 'idle'] as const) await hold(kind, frontOf(b))
    const second = await releasedAfter(scene, b, c)
    atMost(second, CUT_MS)
    return `released after ${seconds(first)}, without the request ${seconds(second)}`
  })

  for (const [name, hand] of [
    [
      'a run is in flight while the leader’s pod is deleted',
      async (_, leader) => void process.kill(leader.launcherPid(), 'SIGTERM'),
    ],
    [
      'a run is in flight while a switchover is requested',
      (scene) => scene.annotate({ 'langflow-leader/switchover-to': 'b' }),
    ],
  ] as const satisfies [
    name: CaseName,
    hand: (scene: FaultScene<FaultPlane>, leader: LinkedPod) => Promise<void>,
  ][])
    quickFault(name, async (scene) => {
      // A doubt, which short timings cause on a busy machine, ends the wait.
      scene.timings = []
      const a = await scene.leader('a', await withFront())
      const b = await scene.follower('b', await withFront())
      const run = answeredBy(`${frontOf(b)}/slow=${RUN_MS}`)
      await until('the run is in flight', async () => (await a.status()).traffic.front?.inFlight === 1)
      await hand(scene, a)
      await a.agent.find('the wait', ({ msg }) => msg.startsWith('waiting until no request is in flight'))
      assert.equal(await answeredBy(frontOf(b)), 'a')
      assert.equal(await run, 'a')
      const answeredAt = mono()
      const { released, took } = await scene.handedOver(a, b)
      atMost(released - answeredAt, CUT_MS + SLACK_MS)
      return `released ${seconds(released - answeredAt)} after the answer; ${nextHolder({ took })}`
    })
})

async function withFront(...flags: string[]): Promise<Partial<ReplicaOptions>> {
  const address = `127.0.0.1:${await freePort()}`
  return { flags: ['--traffic=front', `--front-listen=${address}`, `--front-address=${address}`, ...flags] }
}

function frontOf({ options }: LinkedPod): string {
  const address = options.flags?.find((flag) => flag.startsWith('--front-address='))
  return `http://${address?.split('=')[1]}`
}

/** The replica whose LangFlow answered a POST, which no front repeats. */
async function answeredBy(url: string): Promise<string> {
  const response = await fetch(url, { method: 'POST' })
  const text = await response.text()
  assert.equal(response.status, 200, text)
  return JSON.parse(text).replica
}

async function releasedAfter(scene: FaultScene, from: LinkedPod, to: LinkedPod): Promise<number> {
  const [since, began] = [scene.watch.length, mono()]
  process.kill(from.launcherPid(), 'SIGTERM')
  return (await scene.handedOver(from, to, since)).released - began
}

const RETRY_MS = 100
/** Two times in the log have whole milliseconds, so their difference can be off by this much. */
const LOG_RESOLUTION_MS = 2

describe('LangFlow', { concurrency: 2 }, () => {
  fault('the port is taken', async (scene, t) => {
    const port = await listening(t, createServer())
    const a = await scene.pod('a', { port })
    const { reason = '' } = await a.agent.event('stepped_down')
    assert.match(reason, new RegExp(`port ${port} is already taken`))
    await scene.leader('b')
    assert.deepEqual(scene.beats('a'), [])
    return 'stepped down; the other served'
  })

  fault('LangFlow exits immediately, again and again', async (scene) => {
    const flags = [
      '--lease-duration=2s',
      '--renew-deadline=1s',
      `--retry-period=${RETRY_MS}ms`,
      '--kill-margin=200ms',
    ]
    const a = await scene.pod('a', { workload: ['exit=3'], flags })
    const pauses: number[] = []
    for (let from = 0; pauses.length < 6; ) {
      const steppedDown = await a.agent.event('stepped_down', from)
      const acquired = await a.agent.event('acquired', a.agent.lines.indexOf(steppedDown))
      pauses.push(Date.parse(acquired.time) - Date.parse(steppedDown.time))
      from = a.agent.lines.indexOf(acquired)
    }
    const early = pauses.filter((ms, n) => ms < 2 * RETRY_MS * 2 ** n - LOG_RESOLUTION_MS)
    assert.deepEqual(early, [], 'a pause is shorter than twice the one before')
    await scene.leader('b', { flags })
    return `pauses ${pauses.map((ms) => seconds(ms)).join(', ')}`
  })
})
