import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { text } from 'node:stream/consumers'
import { describe, test } from 'node:test'
import { Cluster } from '../../agent/cli/cluster.ts'
import type { OperationError } from '../../agent/cli/exit-codes.ts'
import { isInForce, type PauseChange, pause } from '../../agent/cli/pause.ts'
import { systemClock } from '../../agent/clock.ts'
import { PAUSED } from '../../agent/lease/operator-annotations.ts'
import { BUNDLE } from '../harness/bundle.ts'
import { EmbeddedScene, LEASE } from '../harness/scene.ts'
import { until } from '../harness/wait.ts'

/** Nothing is to be lost by the clock, and what is held open is waited for. */
const CALM = { flags: ['--drain-timeout=1m'] }

/** `langflow-leader pause`, with something that happens between its looks at the replicas and its write. */
async function pausing(scene: EmbeddedScene, meanwhile: () => Promise<unknown>): Promise<PauseChange> {
  const kubeconfig = scene.kubeconfig('operator')
  using cluster = await Cluster.connect({ leaseName: LEASE, leaseNamespace: null, kubeconfig, context: null })
  const annotate = cluster.annotate.bind(cluster)
  let happened = false
  cluster.annotate = async (...write) => {
    if (!happened) {
      happened = true
      await meanwhile()
    }
    return annotate(...write)
  }
  return await pause(cluster, systemClock, { forMs: null, reason: null })
}

function annotate(scene: EmbeddedScene): void {
  const lease = scene.api.lease(LEASE) ?? assert.fail('there is no Lease')
  const annotations = { ...lease.metadata.annotations, [PAUSED]: 'true' }
  scene.api.put({ ...lease, metadata: { ...lease.metadata, annotations } })
}

function isPaused(scene: EmbeddedScene): boolean {
  return scene.api.lease(LEASE)?.metadata.annotations?.[PAUSED] !== undefined
}

describe('a pause while the leader’s pod terminates', { concurrency: 2 }, () => {
  for (const [by, write] of [
    [
      'the command, which says that it is none',
      async (scene: EmbeddedScene, begins: () => Promise<unknown>) => {
        await assert.rejects(pausing(scene, begins), ({ code }: OperationError) => code === 'switchover')
      },
    ],
    [
      'kubectl annotate',
      async (scene: EmbeddedScene, begins: () => Promise<unknown>) => {
        await begins()
        annotate(scene)
        await until('the leader removes it', () => !isPaused(scene))
      },
    ],
  ] as const) {
    test(`is removed where its drain had begun, and the next replica leads: by ${by}`, async (t) => {
      const scene = await EmbeddedScene.open(t)
      const [a, b] = await scene.pair(CALM)
      const held = new AbortController()
      await fetch(`http://127.0.0.1:${a.port}/stream`, { signal: held.signal })
      await write(scene, () => {
        a.signal('SIGTERM')
        return a.event('draining')
      })
      assert.equal(scene.holder(), 'a')
      held.abort()
      await b.event('serving')
      assert.equal(isPaused(scene), false)
    })
  }

  test('is in force where the next replica leads by then, and names it', async (t) => {
    const scene = await EmbeddedScene.open(t)
    const [a, b] = await scene.pair(CALM)
    const change = await pausing(scene, () => {
      a.signal('SIGTERM')
      return b.event('serving')
    })
    assert.deepEqual([change.leader, isInForce(change), scene.holder()], ['b', true, 'b'])
  })

  test('fails where no replica leads by then, and says how to go on', async (t) => {
    const scene = await EmbeddedScene.open(t)
    const [a, b] = await scene.pair(CALM)
    const change = await pausing(scene, async () => {
      await b.link.refuse()
      a.signal('SIGTERM')
      await a.event('released')
    })
    assert.deepEqual([change.leader, isInForce(change)], [null, false])
    await b.link.heal()
    assert.deepEqual(await operate(scene, 'pause'), [1, 'no replica leads, and none takes over until then'])
    assert.deepEqual([scene.holder(), b.events().includes('acquired')], ['', false])
    await operate(scene, 'resume')
    await b.event('serving')
  })
})

/** Its exit code, and what its second line says first. */
async function operate(scene: EmbeddedScene, command: 'pause' | 'resume'): Promise<[number | null, string]> {
  const args = [BUNDLE, command, `--kubeconfig=${scene.kubeconfig('operator')}`]
  const child = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'inherit'] })
  const [said, [code]] = await Promise.all([text(child.stdout), once(child, 'close')])
  return [code, said.split('\n')[1]?.split(':')[0] ?? '']
}
