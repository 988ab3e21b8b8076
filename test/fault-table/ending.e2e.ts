import assert from 'node:assert/strict'
import { once } from 'node:events'
import { createServer } from 'node:net'
import { after, before, describe } from 'node:test'
import type { AgentStatus } from '../../agent/observe/status.ts'
import { type ControlPlane, startControlPlane } from '../e2e/control-plane.ts'
import { HELD, type HeldKind, hold } from '../support/held-connections.ts'
import type { Pod } from '../support/pod.ts'
import { mono } from '../support/stage.ts'
import { until } from '../support/until.ts'
import { warmLangflow } from '../support/warm-langflow.ts'
import { faultTest, type Linked, type Scene, seconds } from './scene.ts'

let plane: ControlPlane

const NAMES = {
  request: 'a request',
  stream: 'an SSE stream',
  websocket: 'a websocket',
  idle: 'an idle connection',
} as const

before(async () => {
  plane = await startControlPlane()
})

after(() => plane?.close())

/** As the kubelet ends a pod: both containers must end with code 0. Returns how long that took, in ms. */
async function ends(pod: Linked<Pod>): Promise<number> {
  const began = mono()
  await pod.stop()
  assert.equal((await pod.container.exited).code, 0, pod.container.output.join('\n'))
  assert.equal((await pod.agent.exited).code, 0, pod.agent.output.join('\n'))
  return mono() - began
}

describe('SIGTERM', { concurrency: 5 }, () => {
  faultTest(
    'SIGTERM without an API server',
    () => plane,
    async (scene) => {
      const a = await scene.pod('a', {}, (link) => link.refuse())
      await a.agent.find('the refused connection', ({ level }) => level === 'warn')
      return `ended after ${seconds(await ends(a))}`
    },
  )

  faultTest(
    'SIGTERM while following',
    () => plane,
    async (scene) => {
      const [a, b] = await scene.pair()
      const took = await ends(b)
      await scene.watch.next('a renewal', ({ holder }) => holder === 'a', scene.watch.length)
      assert.ok(!a.agent.events().includes('doubt'))
      return `ended after ${seconds(took)}; the leader renewed on`
    },
  )

  faultTest(
    'SIGTERM while LangFlow starts',
    () => plane,
    async (scene) => {
      const a = await scene.pod('a', { workload: ['unhealthy=1000000'] })
      await a.container.event('workload_started')
      const b = await scene.follower('b')
      const took = await ends(a)
      await b.agent.event('serving')
      const released = await scene.watch.next('the release', ({ holder }) => holder === '', 1)
      const taken = await scene.watch.next('the next holder', ({ holder }) => holder === 'b', released.index)
      return `ended after ${seconds(took)}; next holder ${Math.round(taken.at - released.at)} ms after the release`
    },
  )

  faultTest(
    'SIGTERM while serving',
    () => plane,
    async (scene) => {
      const [a, b] = await scene.pair()
      const took = await ends(a)
      await b.agent.event('serving')
      const released = await scene.watch.next('the release', ({ holder }) => holder === '', 1)
      assert.ok(scene.lastBeat('a') < released.at, 'released before the stop')
      const taken = await scene.watch.next('the next holder', ({ holder }) => holder === 'b', released.index)
      return `ended after ${seconds(took)}; next holder ${Math.round(taken.at - released.at)} ms after the release`
    },
  )

  faultTest(
    'SIGTERM while in doubt',
    () => plane,
    async (scene) => {
      const [a, b] = await scene.pair()
      a.link.partition()
      await a.container.event('workload_frozen')
      const beats = scene.beats('a').length
      const took = await ends(a)
      assert.equal(scene.beats('a').length, beats, 'LangFlow executed once more')
      await b.agent.event('serving')
      assert.ok(!scene.watch.sightings.slice(1).some(({ holder }) => holder === ''), 'released')
      return `ended after ${seconds(took)} without another sign of life; never released`
    },
  )

  faultTest(
    'SIGTERM while draining',
    () => plane,
    async (scene) => {
      const [a, b] = await scene.pair()
      const held = await hold('request', `http://127.0.0.1:${a.port}`)
      a.agent.signal('SIGTERM')
      await a.agent.event('draining')
      a.agent.signal('SIGTERM')
      const again = mono()
      const ended = await held.ended
      const released = await scene.watch.next('the release', ({ holder }) => holder === '', 1)
      const took = released.at - again
      assert.ok(took <= CUT_MS, `released after ${took} ms`)
      assert.ok(scene.lastBeat('a') < released.at, 'released before the stop')
      assert.equal((await a.agent.exited).code, 0)
      await b.agent.event('serving')
      return `released ${seconds(took)} later; the client of the request: ${ended}`
    },
  )

  faultTest(
    'SIGTERM while stopping',
    () => plane,
    async (scene) => {
      const [a, b] = await scene.pair({ flags: ['--stop-timeout=3s'], workload: ['ignore-term'] })
      a.agent.signal('SIGTERM')
      await until('LangFlow is being stopped', async () => {
        const { workload } = JSON.parse((await a.get('/status')).text) as AgentStatus
        return workload.state === 'stopping'
      })
      const began = mono()
      a.agent.signal('SIGTERM')
      process.kill(a.launcherPid(), 'SIGTERM')
      assert.equal((await a.container.exited).code, 0, a.container.output.join('\n'))
      assert.equal((await a.agent.exited).code, 0, a.agent.output.join('\n'))
      const took = mono() - began
      const released = await scene.watch.next('the release', ({ holder }) => holder === '', 1)
      assert.ok(scene.lastBeat('a') < released.at, 'released before the stop')
      await b.agent.event('serving')
      const taken = await scene.watch.next('the next holder', ({ holder }) => holder === 'b', released.index)
      return `ended after ${seconds(took)}; next holder ${Math.round(taken.at - released.at)} ms after the release`
    },
  )

  faultTest(
    'SIGTERM while cooling down',
    () => plane,
    async (scene) => {
      const a = await scene.pod('a', { workload: ['exit=3'] })
      await a.agent.event('stepped_down')
      return `ended after ${seconds(await ends(a))}`
    },
  )
})

/** By default. */
const DRAIN_MS = 5_000
/** What comes after the drain, until the Lease is released. */
const CUT_MS = 1_500
/** Until when a drain only waits, since new requests may still come. */
const GATE_KNOWN_MS = 2_000
const ENDING: ReadonlySet<string> = new Set(['draining', 'workload_stopped', 'released'])

describe('a planned handover', { concurrency: 2 }, () => {
  for (const kind of HELD)
    faultTest(
      `${NAMES[kind]} is held open on a planned handover`,
      () => plane,
      async (scene) => {
        const [a, b] = await scene.pair()
        const first = await handsOver(scene, a, b, kind)
        const c = await scene.follower('c', warmLangflow(scene.dir, { kind: 'tree' }))
        const second = await handsOver(scene, b, c, kind)
        return `released after ${first.took}, and ${second.took} with a prepared standby; its client: ${first.client}; “${first.said}”`
      },
    )
})

/** As the kubelet ends a pod, with something held open. */
async function handsOver(scene: Scene, from: Linked<Pod>, to: Linked<Pod>, kind: HeldKind) {
  const held = await hold(kind, `http://127.0.0.1:${from.port}`)
  const since = scene.watch.length
  const began = mono()
  process.kill(from.launcherPid(), 'SIGTERM')
  const released = await scene.watch.next('the release', ({ holder }) => holder === '', since)
  const took = released.at - began
  assert.ok(scene.lastBeat(from.options.identity) < released.at, 'released before the stop')
  const limit = (kind === 'idle' ? GATE_KNOWN_MS : DRAIN_MS) + CUT_MS
  assert.ok(took <= limit, `released after ${took} ms: ${timeline(from)}`)
  const { msg } = await from.agent.find('for whom it waits', ({ msg }) => msg.startsWith('draining: '))
  assert.match(msg, /^draining: 1 connection from 127\.0\.0\.1, 5 s left$/)
  const client = await held.ended
  assert.equal((await from.container.exited).code, 0, from.container.output.join('\n'))
  await from.agent.stop()
  assert.equal((await from.agent.exited).code, 0, from.agent.output.join('\n'))
  await to.agent.event('serving')
  return { took: seconds(took), client, said: msg }
}

/** What agent and launcher said of the stop, and when. */
function timeline({ agent, container }: Pod): string {
  return [...agent.lines, ...container.lines]
    .filter(({ event, msg }) => (event && ENDING.has(event)) || /^(draining|cut off): /.test(msg))
    .sort((a, b) => a.time.localeCompare(b.time))
    .map(({ time, event, msg }) => `${time.slice(-13, -1)} ${event ?? msg}`)
    .join(', ')
}

const RETRY_MS = 100
/** Two times of the log, in whole milliseconds, differ by so much more or less. */
const LOG_RESOLUTION_MS = 2

describe('LangFlow', { concurrency: 2 }, () => {
  faultTest(
    'the port is taken',
    () => plane,
    async (scene, t) => {
      const server = createServer().listen(0, '127.0.0.1')
      await once(server, 'listening')
      t.after(() => server.close())
      const { port } = server.address() as { port: number }
      const a = await scene.pod('a', { port })
      const { reason = '' } = await a.agent.event('stepped_down')
      assert.match(reason, new RegExp(`port ${port} is already taken`))
      const b = await scene.pod('b')
      await b.agent.event('serving')
      assert.deepEqual(scene.beats('a'), [])
      return `“${reason.replace(String(port), '7860')}”; the other serves`
    },
  )

  faultTest(
    'LangFlow exits at once, again and again',
    () => plane,
    async (scene) => {
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
      const b = await scene.pod('b', { flags })
      await b.agent.event('serving')
      return `pauses of ${pauses.map((ms) => seconds(ms)).join(', ')}; the other serves`
    },
  )
})
