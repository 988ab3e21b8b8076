import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { test } from 'node:test'
import type { Lease } from '../../agent/lease/lease.ts'
import { LAST_DRILL, SWITCHOVER_TO } from '../../agent/lease/operator-annotations.ts'
import { DemoProcess } from '../demo/demo-process.ts'
import type { Stage } from '../demo/report.ts'
import { runBundle } from '../harness/bundle.ts'
import { LEASE } from '../harness/scene.ts'

test('a drill moves leadership in a running demo, and records its result on the Lease', async (t) => {
  const demo = new DemoProcess(['--stay', '--json', '--fast'])
  t.after(() => demo.dispose())
  await demo.line(/^\{/)
  const stage: Stage = JSON.parse(demo.stdout[0] ?? '')
  async function lease(): Promise<Lease> {
    const [{ cluster }] = JSON.parse(readFileSync(stage.kubeconfig, 'utf8')).clusters
    const path = `/apis/coordination.k8s.io/v1/namespaces/default/leases/${LEASE}`
    return (await (await fetch(`${cluster.server}${path}`)).json()) as Lease
  }

  const { spec } = await lease()
  // The prober uses a follower's front.
  const [, front] = Object.entries(stage.fronts).find(([name]) => name !== spec?.holderIdentity) ?? []
  const place = [`--kubeconfig=${stage.kubeconfig}`, `--service=${front}`]
  const { code, stdout } = await runBundle(['drill', ...place, '--yes', '-o', 'json'])
  assert.deepEqual([code, JSON.parse(stdout).result], [0, 'ok'], stdout)
  const { metadata, spec: after } = await lease()
  assert.notEqual(after?.holderIdentity, spec?.holderIdentity)
  assert.match(metadata.annotations?.[LAST_DRILL] ?? '', / ok$/)
  assert.equal(metadata.annotations?.[SWITCHOVER_TO], undefined)
})
