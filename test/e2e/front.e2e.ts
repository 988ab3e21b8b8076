import assert from 'node:assert/strict'
import { once } from 'node:events'
import { createServer } from 'node:net'
import { after, describe, type TestContext, test } from 'node:test'
import { isPortFree } from '../../agent/processes/port.ts'
import { startControlPlane } from '../harness/control-plane.ts'
import { FrontScene, frontPid } from '../harness/front-scene.ts'
import { hold } from '../harness/held-connections.ts'
import { type Pod, podObstacle } from '../harness/pod.ts'
import { ask } from '../harness/replica.ts'
import { lives } from '../harness/scene.ts'
import { mono, until } from '../harness/wait.ts'

const plane = await startControlPlane()
after(() => plane.close())

/** A stream grace, and a limit for the wait of clients, which must not include it. */
const GRACE_MS = 12_000
const WITHOUT_GRACE_MS = 8_000

type Pods = Readonly<{ scene: FrontScene; a: Pod }>

/** The faults, each with the code of the next term. A fault resolves to the time from which no request may fail. */
const FAULTS: readonly (readonly [
  what: string,
  code: string,
  play: (pods: Pods, t: TestContext) => Promise<number>,
])[] = [
  [
    'LangFlow dies',
    'released',
    async ({ a }) => {
      // Without a standby, LangFlow would be restarted in place.
      await until('a leader that sees its standby', async () => (await a.status()).peers?.ready === 1)
      const { pid } = (await a.status()).workload
      const langflow = a.hostPid(pid as number)
      process.kill(langflow, 'SIGKILL')
      await until('the end of LangFlow', () => !lives(langflow))
      return mono()
    },
  ],
  [
    'the leader’s whole pod dies',
    'expired',
    async ({ scene, a }) => {
      const diedAt = await scene.killAgent(a.agent, 'a')
      a.kill()
      return diedAt
    },
  ],
  [
    'another program takes the port of the leader’s front',
    'released',
    async ({ scene, a }, t) => {
      const pid = await frontPid(a.agent)
      scene.shut('a')
      // The agent restarts the front immediately. It stands still until this program has taken the port.
      a.agent.signal('SIGSTOP')
      const port = Number(new URL(scene.url('a')).port)
      process.kill(pid, 'SIGKILL')
      // The kernel closes the sockets of a process some time after its last instruction.
      await until('the end of the front', () => !lives(pid) && isPortFree(port))
      const diedAt = mono()
      const other = createServer((socket) => socket.destroy()).listen(port, '127.0.0.1')
      t.after(() => other.close())
      await once(other, 'listening')
      a.agent.signal('SIGCONT')
      assert.equal((await a.agent.event('draining')).code, 'front_down')
      return diedAt
    },
  ],
]

describe('clients of the fronts', { concurrency: 2, skip: podObstacle() }, () => {
  for (const [what, code, play] of FAULTS)
    test(`lose no later request when ${what}`, async (t) => {
      const { scene, a, b } = await FrontScene.startPods(t, plane)
      const diedAt = await play({ scene, a }, t)
      await scene.answers(20, 'b')
      const { failed, longestMs } = await scene.outcome()
      t.diagnostic(`${failed.length} requests failed, the longest took ${Math.round(longestMs)} ms`)
      assert.deepEqual(scene.client.failed(diedAt), [])
      assert.equal((await b.agent.event('acquired')).code, code)
      assert.equal(scene.client.answers.at(-1)?.epoch, 2)
    })

  test('do not wait for the stream grace in a switchover', async (t) => {
    const env = { LEADER_STREAM_GRACE: `${GRACE_MS}ms` }
    const { scene, a, b } = await FrontScene.start(t, plane, { env, flags: ['--drain-timeout=20s'] })
    const streams = Array.from({ length: 10 }, (_, i) => hold('stream', scene.url([a, b][i % 2]!.name)))
    const held = await Promise.all([...streams, hold('websocket', scene.url(b.name))])
    const from = mono()
    await scene.switchOver()
    const ends = await Promise.all(held.map(({ ended }) => ended))
    const graceMs = mono() - from
    assert.deepEqual(ends, [...streams.map(() => 'HTTP 200'), 'closed with 1006'])
    assert.ok(graceMs >= GRACE_MS, `${graceMs} ms`)
    await b.event('serving')
    await scene.answers(20, 'b')
    const { failed, longestMs } = await scene.outcome()
    t.diagnostic(`streams ended after ${Math.round(graceMs)} ms, longest request ${Math.round(longestMs)} ms`)
    assert.deepEqual(failed, [])
    assert.ok(longestMs < WITHOUT_GRACE_MS, `${longestMs} ms`)
    const { traffic } = await a.status()
    assert.deepEqual([traffic.routedTo, traffic.front?.streamsEnded], ['b', 11])
  })

  test('never see the key of the fronts, and no endpoint or log reveals it', async (t) => {
    const { scene, a, b } = await FrontScene.start(t, plane)
    const [epoch, address, key = ''] = (await scene.frontNote()).split(' ')
    assert.deepEqual([epoch, address], ['1', scene.url('a').slice('http://'.length)])
    assert.match(key, /^[\w-]{22}$/)
    for (const { httpPort } of [a, b])
      for (const path of ['/status', '/metrics', '/', '/leader', '/readyz?verbose', '/frontz'])
        assert.ok(!(await ask(httpPort, path)).text.includes(key), path)
    await scene.switchOver()
    await b.event('serving')
    assert.equal((await scene.frontNote()).split(' ')[0], '2')
    assert.ok(![...a.output, ...b.output].some((line) => line.includes(key)))
  })
})
