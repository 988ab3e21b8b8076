import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { after, describe, test } from 'node:test'
import { promisify } from 'node:util'
import { baselineBundle, baselineObstacle } from '../harness/baseline.ts'
import { BUNDLE } from '../harness/bundle.ts'
import { startControlPlane } from '../harness/control-plane.ts'
import { FrontScene } from '../harness/front-scene.ts'
import { type Pod, podObstacle } from '../harness/pod.ts'
import { until } from '../harness/wait.ts'

const plane = await startControlPlane()
after(() => plane.close())

const run = promisify(execFile)

/** Two replicas in each of three revisions: the baseline's, this state's, and the baseline's again after `rollout undo`. */
const NAMES = ['old-1', 'old-2', 'new-1', 'new-2', 'back-1', 'back-2'] as const
type Name = (typeof NAMES)[number]

/** The baseline refuses this variable, because it does not know it. */
const OF_BASELINE = { LEADER_QUIET_TIMEOUT: undefined }

/** A Deployment with two replicas and fronts, and a client that never pauses. */
class Rollout extends FrontScene {
  readonly pods = new Map<string, Pod>()

  async start(name: Name, revision: string, main: string): Promise<Pod> {
    const env = { POD_TEMPLATE_HASH: revision, ...(main === BUNDLE ? {} : OF_BASELINE) }
    const pod = await this.pod(name, { env, main })
    this.pods.set(name, pod)
    return pod
  }

  /** Starts a pod, and once it is Ready, ends another one, as a Deployment with fronts does (maxSurge 1, maxUnavailable 0). */
  async replace(old: Name, ...next: Parameters<Rollout['start']>): Promise<void> {
    const [name] = next
    await this.start(...next)
    await this.admit(name)
    const from = this.client.calls.length
    const ended = this.pods.get(old)?.stop()
    await this.lateCalls(old, from)
    await ended
    this.pods.delete(old)
  }

  /** The answers of a replica to clients of another replica's front. */
  hops(from: Name, to: Name): number {
    const { calls } = this.client
    return calls.filter((call) => call.to === from && call.answer?.replica === to).length
  }
}

/** Waits until a replica with one of these names leads and answers, through each front that clients use. */
async function answeredBy(scene: Rollout, ...names: readonly Name[]): Promise<void> {
  await until(`one of ${names} leads`, () => names.some((name) => name === scene.watch.last().holder))
  await scene.answers(20, scene.watch.last().holder)
}

/** The pods whose report a version's `status` reads, from one agent. */
async function reported(main: string, { httpPort }: Pod): Promise<string[]> {
  const args = [main, 'status', `--url=http://127.0.0.1:${httpPort}`, '-o', 'json']
  const { stdout } = await run(process.execPath, args)
  const { replicas } = JSON.parse(stdout) as { replicas: { pod: string; status: object | null }[] }
  return replicas.flatMap(({ pod, status }) => (status === null ? [] : [pod])).sort()
}

describe('the baseline beside this state', { skip: podObstacle() ?? baselineObstacle() }, () => {
  test('a rollout from the baseline to this state, and back, loses no request', async (t) => {
    const rollout = await Rollout.open(plane, t)
    await rollout.choosePorts(...NAMES)
    const baseline = baselineBundle()
    const first = await rollout.start('old-1', 'old', baseline)
    await first.agent.event('serving')
    const second = await rollout.start('old-2', 'old', baseline)
    await second.agent.event('standby_ready')
    await rollout.admitClients('old-1', 'old-2')

    await rollout.replace('old-1', 'new-1', 'new', BUNDLE)
    await answeredBy(rollout, 'new-1')
    for (const main of [BUNDLE, baseline])
      for (const pod of rollout.pods.values())
        assert.deepEqual(await reported(main, pod), [...rollout.pods.keys()].sort())
    await rollout.replace('old-2', 'new-2', 'new', BUNDLE)
    await answeredBy(rollout, 'new-1', 'new-2')

    await rollout.replace('new-1', 'back-1', 'old', baseline)
    await answeredBy(rollout, 'back-1')
    await rollout.replace('new-2', 'back-2', 'old', baseline)
    await answeredBy(rollout, 'back-1', 'back-2')

    const { failed, longestMs } = await rollout.outcome()
    const { calls } = rollout.client
    t.diagnostic(`${calls.length} requests, the longest took ${Math.round(longestMs)} ms`)
    assert.deepEqual(failed, [])
    assert.ok(rollout.hops('old-2', 'new-1') > 0, 'no hop from a front of the baseline to one of this state')
    assert.ok(rollout.hops('new-2', 'back-1') > 0, 'no hop from a front of this state to one of the baseline')
  })

  const pairs = [
    ['an agent of this state takes over beside a launcher of the baseline', baselineBundle, () => BUNDLE],
    ['an agent of the baseline takes over beside a launcher of this state', () => BUNDLE, baselineBundle],
  ] as const
  for (const [title, first, second] of pairs) {
    test(`${title}, and LangFlow continues`, async (t) => {
      const { scene, a } = await FrontScene.startPods(t, plane, { main: first(), env: OF_BASELINE })
      const diedAt = await scene.killAgent(a.agent, 'a')
      await a.agent.exited
      a.startAgent(second())
      await scene.admit('a')
      await scene.answers(20, 'a')
      assert.equal(new Set(scene.client.answers.map(({ epoch }) => epoch)).size, 1)

      // The mixed pair also stops in order, stands by, and starts again.
      await scene.switchOver()
      await scene.answers(20, 'b')
      await a.agent.event('standby_ready')
      await scene.switchOver()
      await scene.answers(20, 'a')
      await scene.client.stop()
      assert.deepEqual(scene.client.failed(diedAt), [])
    })
  }
})
