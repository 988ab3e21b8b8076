import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import type { Lease } from '../../agent/lease/lease.ts'
import { DEPLOY } from '../deploy/manifests.ts'
import { BUNDLE } from '../harness/bundle.ts'
import { type ControlPlane, startControlPlane } from '../harness/control-plane.ts'

const ROLE = 'langflow-leader-operator'
const LEASE = 'langflow-leader-lock'

/** What operators may and may not do, as RBAC and the real API server say it. */
describe('switchover, pause and resume on kube-apiserver', () => {
  let plane: ControlPlane
  before(async () => {
    plane = await startControlPlane()
  })
  after(() => plane?.close())

  const read = (file: string) => readFileSync(join(DEPLOY, file), 'utf8')

  /** A Lease that langflow-0 holds, its pod, which no node runs, and somebody with the Role of deploy/, or a narrower one. */
  async function operator(narrow = (role: string) => role) {
    const namespace = await plane.newNamespace()
    const own = `--namespace=${namespace}`
    const create = (text: string) => plane.kubectl(['create', '--validate=strict', own, '-f', '-'], text)
    await create(read('base/lease.yaml'))
    await create(narrow(read('components/operator-role/role.yaml')))
    await plane.kubectl(['create', 'serviceaccount', 'operator', own])
    const bound = [`--role=${ROLE}`, `--serviceaccount=${namespace}:operator`]
    await plane.kubectl(['create', 'rolebinding', 'operator', ...bound, own])
    const spec = { holderIdentity: 'langflow-0_uid', leaseDurationSeconds: 15, leaseTransitions: 7 }
    await plane.kubectl(['patch', 'lease', LEASE, own, '--type=merge', '-p', JSON.stringify({ spec })])
    await create(
      JSON.stringify({
        apiVersion: 'v1',
        kind: 'Pod',
        metadata: { name: 'langflow-0' },
        spec: {
          initContainers: [{ name: 'agent', image: 'agent', args: ['agent'], restartPolicy: 'Always' }],
          containers: [{ name: 'langflow', image: 'langflow' }],
        },
      }),
    )
    const kubeconfig = await plane.serviceAccountKubeconfig(namespace, 'operator')
    return {
      run: (...args: string[]) => run(...args, `--kubeconfig=${kubeconfig}`),
      annotations: async () => {
        const { stdout } = await plane.kubectl(['get', 'lease', LEASE, own, '--output=json'])
        return (JSON.parse(stdout) as Lease).metadata.annotations ?? {}
      },
      kubectl: (...args: string[]) => plane.kubectl([...args, own]),
    }
  }

  function run(...args: string[]): Promise<{ code: number; stdout: string; stderr: string }> {
    return new Promise((resolve) =>
      execFile(process.execPath, [BUNDLE, ...args], (error, stdout, stderr) =>
        resolve({ code: error === null ? 0 : Number(error.code), stdout, stderr }),
      ),
    )
  }

  test('the Role of deploy/ is enough to pause and to resume, and leaves all else of the Lease alone', async () => {
    const { run, annotations, kubectl } = await operator()
    await kubectl('annotate', 'lease', LEASE, 'theirs=kept')
    const paused = await run('pause', '--for=1h', '--reason=upgrade')
    // Written, but the leader here is a pod without an agent.
    assert.equal(paused.code, 1, paused.stderr)
    assert.match(
      paused.stdout,
      /^paused until \S+ \(upgrade\)\nlangflow-0 holds the Lease, and does not show the pause: .*\nlangflow-0 does not answer, /,
    )
    const { theirs, ...pause } = await annotations()
    assert.equal(theirs, 'kept')
    assert.deepEqual(Object.keys(pause).sort(), [
      'langflow-leader/pause-reason',
      'langflow-leader/paused',
      'langflow-leader/paused-until',
    ])
    const resumed = await run('resume')
    assert.equal(resumed.code, 0, resumed.stderr)
    assert.deepEqual(await annotations(), { theirs: 'kept' })
  })

  test('a switchover whose leader cannot be asked is refused, as one that nobody leads or that knows no Lease', async () => {
    const { run, annotations, kubectl } = await operator()
    const refused = async () => {
      const { code, stdout } = await run('switchover', '--yes', '--output=json')
      assert.equal(code, 3)
      return JSON.parse(stdout).error
    }
    const silent = await refused()
    assert.equal(silent.code, 'leader_silent')
    assert.match(silent.message, /^langflow-0 leads and does not tell whether it could hand over: /)
    assert.deepEqual(await annotations(), {})
    await kubectl('patch', 'lease', LEASE, '--type=merge', '-p', '{"spec":{"holderIdentity":""}}')
    assert.equal((await refused()).code, 'nobody_leads')
    await kubectl('delete', 'lease', LEASE)
    assert.equal((await refused()).code, 'no_lease')
  })

  test('whoever may not patch the Lease is told which verb is missing, and nothing is written', async () => {
    const { run, annotations } = await operator((role) => role.replace('[get, patch]', '[get]'))
    const { code, stderr } = await run('pause')
    assert.equal(code, 4)
    assert.match(
      stderr,
      /may not "patch" leases\.coordination\.k8s\.io "langflow-leader-lock" in namespace .*: add the verb/,
    )
    assert.equal((await run('resume')).code, 0, 'there is nothing to write')
    assert.deepEqual(await annotations(), {})
  })

  test('an API server that is away is one sentence', async () => {
    const { run } = await operator()
    await plane.stopApiServer()
    const { code, stdout, stderr } = await run('pause', '--output=json')
    await plane.startApiServer()
    assert.deepEqual([code, JSON.parse(stdout).error.code], [4, 'unreachable'])
    assert.match(
      stderr,
      /^langflow-leader: cannot reach the API server at \S+: connection refused \(ECONNREFUSED\)\n$/,
    )
  })
})
