import assert from 'node:assert/strict'
import { readFileSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { describe, test } from 'node:test'
import { Cluster, holderRow } from '../../agent/cli/cluster.ts'
import { POD } from '../../agent/kube/kube-objects.ts'
import { DemoProcess } from './demo-process.ts'
import type { Result, Stage } from './report.ts'

const OPERATED = { leaseName: 'langflow-leader-lock', leaseNamespace: null, context: null, url: null }

describe('demo', { concurrency: 2 }, () => {
  test('three takeovers leave no overlap, and the planned stop fails no request', async (t) => {
    const demo = new DemoProcess(['--json', '--fast'])
    t.after(() => demo.dispose())
    assert.equal(await demo.ended, 0, demo.stderr.join('\n'))
    assert.deepEqual(demo.left(), [])
    assert.equal(demo.stdout.length, 1)
    const { ok, overlapMs, beats, requests, takeovers } = JSON.parse(demo.stdout[0] ?? '') as Result
    assert.deepEqual([ok, overlapMs], [true, 0])
    assert.ok(beats > 100 && requests.sent > requests.failed)
    assert.deepEqual(
      takeovers.map(({ kind, epoch }) => [kind, epoch]),
      [
        ['crash', 2],
        ['stop', 3],
        ['hang', 4],
      ],
    )
    const [, stop, hang] = takeovers
    assert.equal(stop!.failedRequests, 0)
    // A planned handover doesn't wait for the Lease to expire after 3 s.
    assert.ok(stop!.handoverMs! < 2_000 && stop!.oldDeadMs! <= stop!.detectMs, JSON.stringify(stop))
    const { frozenMs, oldDeadMs, detectMs } = hang!
    assert.ok(frozenMs! > 0 && frozenMs! < detectMs && oldDeadMs! > frozenMs!, JSON.stringify(hang))
  })

  test('the CLI can operate a demo with --stay, which replaces a deleted pod', async (t) => {
    const demo = new DemoProcess(['--stay', '--json', '--fast'], {
      LANGFLOW_LOAD_FLOWS_PATH: join(import.meta.dirname, '../harness/flows'),
      LANGFLOW_SECRET_KEY: 'k'.repeat(43),
    })
    t.after(() => demo.dispose())
    await demo.line(/^\{/)
    const stage = JSON.parse(demo.stdout[0] ?? '') as Stage
    assert.equal(statSync(stage.kubeconfig).mode & 0o777, 0o600)
    const cluster = await Cluster.connect({ ...OPERATED, kubeconfig: stage.kubeconfig })
    t.after(() => cluster[Symbol.dispose]())
    const rows = await cluster.replicas()
    const leader = holderRow(await cluster.lease(), rows)!.pod
    assert.deepEqual(
      rows.map(({ pod, status }) => [pod, status?.couldTakeOver]),
      Object.keys(stage.agents).map((pod) => [pod, pod !== leader]),
    )
    // Both digests travel from the launcher's container to the agent's status.
    const digests = rows.map(({ status }) => `${status?.flowsDigest} ${status?.secretKeyDigest}`)
    assert.match(digests[0]!, /^[0-9a-f]{12} [0-9a-f]{8}$/)
    assert.equal(new Set(digests).size, 1)

    const { objects } = cluster
    const { uid } = (await objects.get(POD, leader, 5_000)).metadata
    const { clusters } = JSON.parse(readFileSync(stage.kubeconfig, 'utf8'))
    const pod = `${clusters[0].cluster.server}/api/v1/namespaces/default/pods/${leader}`
    await fetch(`${pod}?gracePeriodSeconds=0`, { method: 'DELETE' })
    assert.notEqual((await objects.get(POD, leader, 5_000)).metadata.uid, uid)
    await demo.progressAfter(/ended; a new pod replaces it/, new RegExp(`${leader}  could take over`))
    await demo.progressAfter(/ended; a new pod replaces it/, / serves: /)

    demo.signal('SIGINT')
    assert.equal(await demo.ended, 130)
    assert.deepEqual(demo.left(), [])
  })

  for (const [what, at, signal, code] of [
    [
      'Ctrl-C ends every process, even a stopped agent, and removes every file',
      /3 of 3: hang/,
      'SIGINT',
      130,
    ],
    ['a killed demo leaves no process and no file', /1 of 3: crash/, 'SIGKILL', null],
  ] as const)
    test(what, async (t) => {
      const demo = new DemoProcess(['--fast'])
      t.after(() => demo.dispose())
      await demo.line(at)
      demo.signal(signal)
      assert.equal(await demo.ended, code)
      // After SIGKILL, the cleanup process may outlive the demo for a moment.
      if (code === null) return demo.gone()
      assert.deepEqual(demo.left(), [])
    })

  test('the demo refuses an unknown flag', async (t) => {
    const demo = new DemoProcess(['--listen=:80'])
    t.after(() => demo.dispose())
    assert.equal(await demo.ended, 2)
    assert.match(demo.stderr.join('\n'), /--listen.*\n.*usage: /s)
    assert.deepEqual(demo.left(), [])
  })
})
