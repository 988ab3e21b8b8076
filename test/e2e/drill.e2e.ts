import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { after, before, describe, test } from 'node:test'
import type { Lease } from '../../agent/lease/lease.ts'
import { LAST_DRILL, SWITCHOVER_TO } from '../../agent/lease/operator-annotations.ts'
import { DemoProcess } from '../demo/demo-process.ts'
import type { Stage } from '../demo/report.ts'
import { BUNDLE } from '../harness/bundle.ts'
import { LEASE } from '../harness/scene.ts'

interface Ended {
  readonly code: number
  readonly stdout: string
}

function run(args: readonly string[]): Promise<Ended> {
  return new Promise((resolve) =>
    execFile(process.execPath, args, (error, stdout) =>
      resolve({ code: error === null ? 0 : Number(error.code), stdout: stdout.trim() }),
    ),
  )
}

/** Runs the built program against the replicas of the demo. */
describe('a running demo', () => {
  let demo: DemoProcess
  let stage: Stage
  before(async () => {
    demo = new DemoProcess(['--stay', '--json', '--fast'])
    await demo.line(/^\{/)
    stage = JSON.parse(demo.stdout[0] ?? '')
  })
  after(() => demo?.dispose())

  async function lease(): Promise<Lease> {
    const [{ cluster }] = JSON.parse(readFileSync(stage.kubeconfig, 'utf8')).clusters
    const path = `/apis/coordination.k8s.io/v1/namespaces/default/leases/${LEASE}`
    return (await (await fetch(`${cluster.server}${path}`)).json()) as Lease
  }

  /** Runs a drill whose prober uses a follower's front. */
  async function drill(...flags: string[]): Promise<Ended> {
    const { spec } = await lease()
    const [, front] = Object.entries(stage.fronts).find(([name]) => name !== spec?.holderIdentity) ?? []
    const place = [`--kubeconfig=${stage.kubeconfig}`, `--service=${front}`, '--yes', '-o', 'json']
    return run([BUNDLE, 'drill', ...place, ...flags])
  }

  test('a drill moves leadership, and records its result on the Lease', async () => {
    const { spec } = await lease()
    const { code, stdout } = await drill()
    assert.deepEqual([code, JSON.parse(stdout).result], [0, 'ok'], stdout)
    const { metadata, spec: after } = await lease()
    assert.notEqual(after?.holderIdentity, spec?.holderIdentity)
    assert.match(metadata.annotations?.[LAST_DRILL] ?? '', / ok$/)
    assert.equal(metadata.annotations?.[SWITCHOVER_TO], undefined)
  })

  test('a drill that deletes a pod fails if the takeover exceeds its limit', async () => {
    const { code, stdout } = await drill('--scenario=delete-pod', '--rto=1ms')
    assert.deepEqual([code, JSON.parse(stdout).result], [1, 'missed'], stdout)
  })
})
