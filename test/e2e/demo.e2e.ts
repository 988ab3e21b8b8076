import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { join } from 'node:path'
import { test } from 'node:test'
import { promisify } from 'node:util'
import { DemoProcess } from '../demo/demo-process.ts'

test('kubectl can list, annotate and delete the objects of a running demo', async (t) => {
  const demo = new DemoProcess(['--stay', '--json', '--fast'])
  t.after(() => demo.dispose())
  await demo.line(/^\{/)
  const { kubeconfig } = JSON.parse(demo.stdout[0] ?? '')
  const program = join(process.env.KUBEBUILDER_ASSETS ?? '', 'kubectl')
  const kubectl = async (...args: string[]) =>
    (await promisify(execFile)(program, [`--kubeconfig=${kubeconfig}`, ...args])).stdout.trim()

  assert.equal(
    await kubectl('get', 'pods,leases', '-o', 'name'),
    'pod/replica-a\npod/replica-b\npod/replica-c\nlease.coordination.k8s.io/langflow-leader-lock',
  )
  await kubectl('annotate', 'lease', 'langflow-leader-lock', 'example.com/note=seen')
  const note = 'jsonpath={.metadata.annotations.example\\.com/note}'
  assert.equal(await kubectl('get', 'lease', 'langflow-leader-lock', '-o', note), 'seen')
  const status = await kubectl('get', '--raw', '/api/v1/namespaces/default/pods/replica-a:8090/proxy/status')
  assert.equal(JSON.parse(status).identity, 'replica-a')
  // kubectl waits until the pod with this UID is gone.
  assert.match(await kubectl('delete', 'pod', 'replica-a'), /"replica-a" deleted/)
})
