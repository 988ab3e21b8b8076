import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import type { Lease } from '../../agent/lease/lease.ts'
import { LAST_DRILL, SWITCHOVER_TO } from '../../agent/lease/operator-annotations.ts'
import { DemoProcess } from '../demo/demo-process.ts'
import type { Stage } from '../demo/report.ts'
import { BUNDLE } from '../harness/bundle.ts'
import { LEASE } from '../harness/scene.ts'

const KUBECTL = join(process.env.KUBEBUILDER_ASSETS ?? '', 'kubectl')

interface Ended {
  readonly code: number
  readonly stdout: string
}

function run(program: string, args: readonly string[]): Promise<Ended> {
  return new Promise((resolve) =>
    execFile(program, args, (error, stdout) =>
      resolve({ code: error === null ? 0 : Number(error.code), stdout: stdout.trim() }),
    ),
  )
}

/** Runs the built program, and kubectl, against the replicas of the demo. */
describe('a running demo', () => {
  let demo: DemoProcess
  let stage: Stage
  before(async () => {
    demo = new DemoProcess(['--stay', '--json', '--fast'])
    await demo.line(/^\{/)
    stage = JSON.parse(demo.stdout[0] ?? '')
  })
  after(() => demo?.dispose())

  const kubectl = async (...args: string[]) =>
    (await run(KUBECTL, [`--kubeconfig=${stage.kubeconfig}`, ...args])).stdout
  const lease = async () => JSON.parse(await kubectl('get', 'lease', LEASE, '-o', 'json')) as Lease

  /** Runs a drill whose prober uses a follower's front. */
  async function drill(...flags: string[]): Promise<Ended> {
    const { spec } = await lease()
    const [, front] = Object.entries(stage.fronts).find(([name]) => name !== spec?.holderIdentity) ?? []
    const place = [`--kubeconfig=${stage.kubeconfig}`, `--service=${front}`, '--yes', '-o', 'json']
    return run(process.execPath, [BUNDLE, 'drill', ...place, ...flags])
  }

  test('kubectl lists, annotates and deletes its objects', async () => {
    const pods = Object.keys(stage.agents).map((name) => `pod/${name}`)
    const objects = [...pods, `lease.coordination.k8s.io/${LEASE}`].join('\n')
    assert.equal(await kubectl('get', 'pods,leases', '-o', 'name'), objects)
    await kubectl('annotate', 'lease', LEASE, 'example.com/note=seen')
    assert.equal((await lease()).metadata.annotations?.['example.com/note'], 'seen')
    const status = '/api/v1/namespaces/default/pods/replica-a:8090/proxy/status'
    assert.equal(JSON.parse(await kubectl('get', '--raw', status)).identity, 'replica-a')
    // kubectl waits until the pod with this UID is gone.
    assert.match(await kubectl('delete', 'pod', 'replica-a'), /"replica-a" deleted/)
    await demo.progressAfter(/replica-a {2}ended/, /replica-a {2}standby_ready/)
  })

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
    assert.deepEqual([code, JSON.parse(stdout).result === 'ok'], [1, false], stdout)
  })
})
