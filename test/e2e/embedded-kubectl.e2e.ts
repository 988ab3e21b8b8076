import assert from 'node:assert/strict'
import { execFile, spawn } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { promisify } from 'node:util'
import {
  type EmbeddedLeaseApi,
  startEmbeddedLeaseApi,
} from '../../agent/lease/embedded/embedded-lease-api.ts'
import { controlPlaneAssets } from '../harness/control-plane.ts'

/** An operator's commands, with the real kubectl, on the embedded Lease API. */
describe('kubectl on the embedded Lease API', () => {
  const dir = mkdtempSync(join(tmpdir(), 'embedded-kubectl-'))
  let api: EmbeddedLeaseApi
  before(async () => {
    const metadata = { name: 'lock', namespace: 'flows' }
    api = await startEmbeddedLeaseApi({ leases: [{ metadata, spec: { holderIdentity: 'pod-a_1' } }] })
    writeFileSync(join(dir, 'config'), api.kubeconfig('operator', 'flows'))
  })
  after(async () => {
    await api.close()
    rmSync(dir, { recursive: true })
  })

  const kubectl = async (...args: string[]) => {
    const all = [`--kubeconfig=${join(dir, 'config')}`, `--cache-dir=${join(dir, 'cache')}`, ...args]
    return (await promisify(execFile)(join(controlPlaneAssets(), 'kubectl'), all)).stdout
  }

  test('get shows the holder, in its namespace and in all', async () => {
    assert.match(await kubectl('get', 'lease', 'lock'), /^NAME +HOLDER +AGE\nlock +pod-a_1 +\d+s\n$/)
    assert.match(
      await kubectl('get', 'leases', '-A'),
      /^NAMESPACE +NAME +HOLDER +AGE\nflows +lock +pod-a_1 +\d+s\n$/,
    )
    assert.equal(await kubectl('get', 'lease', 'lock', '-o', 'jsonpath={.spec.holderIdentity}'), 'pod-a_1')
    await assert.rejects(kubectl('get', 'lease', 'none'), /leases\.coordination\.k8s\.io "none" not found/)
  })

  test('get --raw reads version and health', async () => {
    assert.equal(await kubectl('get', '--raw', '/readyz'), 'ok')
    assert.match(await kubectl('version'), /Server Version: v1\./)
  })

  test('annotate, patch and edit by merge change the Lease', async () => {
    await kubectl('annotate', 'lease', 'lock', 'langflow-leader/paused=true')
    assert.deepEqual(api.lease('lock', 'flows')?.metadata.annotations, { 'langflow-leader/paused': 'true' })
    await kubectl('annotate', 'lease', 'lock', 'langflow-leader/paused-')
    assert.equal(api.lease('lock', 'flows')?.metadata.annotations, undefined)
    await kubectl('patch', 'lease', 'lock', '-p', '{"spec":{"holderIdentity":"pod-b_2"}}')
    assert.equal(api.lease('lock', 'flows')?.spec?.holderIdentity, 'pod-b_2')
  })

  test('a watch prints the present state and each change', async () => {
    const args = [
      `--kubeconfig=${join(dir, 'config')}`,
      `--cache-dir=${join(dir, 'cache')}`,
      'get',
      'lease',
      '-w',
      '-o',
      'name',
    ]
    const child = spawn(join(controlPlaneAssets(), 'kubectl'), args)
    const exited = new Promise((resolve) => child.once('exit', resolve))
    await api.requests.waitFor({ verb: 'watch', client: 'operator' }, { answered: true })
    api.put({ metadata: { name: 'second', namespace: 'flows' } })
    let printed = ''
    for await (const chunk of child.stdout) {
      printed += chunk
      if (printed.includes('second')) break
    }
    child.kill()
    await exited
    assert.equal(printed, 'lease.coordination.k8s.io/lock\nlease.coordination.k8s.io/second\n')
  })

  test('create and delete work', async () => {
    writeFileSync(
      join(dir, 'lease.json'),
      '{"apiVersion":"coordination.k8s.io/v1","kind":"Lease","metadata":{"name":"third"}}',
    )
    await kubectl('create', '--validate=false', '-f', join(dir, 'lease.json'))
    assert.ok(api.lease('third', 'flows'))
    await kubectl('delete', 'lease', 'third')
    assert.equal(api.lease('third', 'flows'), undefined)
  })
})
