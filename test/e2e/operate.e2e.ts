import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import type { Lease } from '../../agent/lease/lease.ts'
import { encodeHistory } from '../../agent/lease/lease-history.ts'
import { DEPLOY } from '../deploy/manifests.ts'
import { BUNDLE } from '../harness/bundle.ts'
import { type ControlPlane, startControlPlane } from '../harness/control-plane.ts'
import { TERM } from '../observe/replica.ts'

const LEASE = 'langflow-leader-lock'
const ROLE = 'langflow-leader-operator'
const ROLE_FILE = join(DEPLOY, 'components/operator-role/role.yaml')

/** A Pod object that no kubelet runs. */
function pod(name: string, agent: object | null) {
  const initContainers = agent === null ? [] : [{ name: 'agent', image: 'x', args: ['agent'], ...agent }]
  const containers = [{ name: 'langflow', image: 'x' }]
  return { apiVersion: 'v1', kind: 'Pod', metadata: { name }, spec: { initContainers, containers } }
}

function run(...args: string[]): Promise<{ code: number; stdout: string; stderr: string }> {
  return new Promise((resolve) =>
    execFile(process.execPath, [BUNDLE, ...args], (error, stdout, stderr) =>
      resolve({ code: error === null ? 0 : Number(error.code), stdout, stderr }),
    ),
  )
}

/*
 * These tests need a real API server for its decisions: rights, pages of a list, the pod proxy's refusals. It doesn't proxy to
 * loopback addresses, so other tests cover answers through the proxy, on the embedded API server and on a real cluster.
 */
describe('an operator on a real API server', () => {
  let plane: ControlPlane
  before(async () => {
    plane = await startControlPlane()
  })
  after(() => plane?.close())

  /** Creates a held Lease, 122 pods with two replicas on their last page, and an operator with the Role of deploy/. */
  async function operator() {
    const namespace = await plane.newNamespace()
    const kubectl = (...args: string[]) => plane.kubectl(['-n', namespace, ...args])
    const spec = { holderIdentity: 'a_1', leaseTransitions: 6, leaseDurationSeconds: 15 }
    const annotations = { 'langflow-leader/history': encodeHistory([TERM]), theirs: 'kept' }
    const metadata = { name: LEASE, annotations }
    const lease = { apiVersion: 'coordination.k8s.io/v1', kind: 'Lease', metadata, spec }
    const others = Array.from({ length: 120 }, (_, i) => pod(`a-${i}`, null))
    const items = [lease, ...others, pod('langflow-0', {}), pod('langflow-1', {})]
    const list = JSON.stringify({ apiVersion: 'v1', kind: 'List', items })
    await plane.kubectl(['-n', namespace, 'create', '-f', '-'], list)
    const status = { phase: 'Running', podIP: '127.0.0.1', podIPs: [{ ip: '127.0.0.1' }] }
    const running = ['--subresource=status', '--type=merge', '-p', JSON.stringify({ status })]
    await kubectl('patch', 'pod', 'langflow-0', ...running)
    await plane.kubectl(['-n', namespace, 'apply', '-f', '-'], readFileSync(ROLE_FILE, 'utf8'))
    await kubectl('create', 'serviceaccount', 'me')
    await kubectl('create', 'rolebinding', 'me', `--role=${ROLE}`, `--serviceaccount=${namespace}:me`)
    const kubeconfig = await plane.serviceAccountKubeconfig(namespace, 'me')
    return {
      run: (...args: string[]) => run(...args, `--kubeconfig=${kubeconfig}`),
      editRole: (...edits: object[]) =>
        kubectl('patch', 'role', ROLE, '--type=json', '-p', JSON.stringify(edits)),
      operations: async () => {
        const { stdout } = await kubectl('get', 'lease', LEASE, '--output=json')
        const {
          theirs,
          'langflow-leader/history': _,
          ...rest
        } = (JSON.parse(stdout) as Lease).metadata.annotations ?? {}
        assert.equal(theirs, 'kept')
        return Object.keys(rest).sort()
      },
    }
  }

  test('sees every replica with the Role of deploy/, and why one does not answer', async () => {
    const { run } = await operator()
    const { code, stdout } = await run('status', '-o', 'json')
    const { lease, ok, replicas, problems } = JSON.parse(stdout)
    assert.deepEqual([code, ok, lease.holder, lease.epoch], [1, false, 'a_1', 6])
    assert.match(problems[0], /^no replica serves: a holds the Lease/)
    const [first, second, ...more] = replicas as { pod: string; problem: string }[]
    assert.deepEqual([first?.pod, second?.pod, more], ['langflow-0', 'langflow-1', []])
    assert.match(first?.problem ?? '', /answered 400 .*address not allowed/)
    assert.match(second?.problem ?? '', /the pod is Pending/)
  })

  test('pauses and resumes with the Role of deploy/, and changes nothing else on the Lease', async () => {
    const { run, operations } = await operator()
    const paused = await run('pause', '--for=1h', '--reason=upgrade')
    // The annotations are written, but no replica runs that could confirm the pause.
    assert.equal(paused.code, 1, paused.stderr)
    assert.deepEqual(await operations(), [
      'langflow-leader/pause-reason',
      'langflow-leader/paused',
      'langflow-leader/paused-until',
    ])
    const resumed = await run('resume')
    assert.deepEqual([resumed.code, await operations()], [0, []], resumed.stderr)
  })

  test('gets the name of a missing right in the error, and nothing is written', async () => {
    const { run, editRole, operations } = await operator()
    const refused = async (...command: string[]) => {
      const { code, stdout } = await run(...command, '-o', 'json')
      const { error } = JSON.parse(stdout)
      assert.deepEqual([code, error.code], [4, 'no_rights'])
      return error.message as string
    }
    await editRole({ op: 'replace', path: '/rules/0/verbs', value: ['get'] })
    assert.match(await refused('pause'), /may not "patch" leases\.coordination\.k8s\.io/)
    assert.deepEqual(await operations(), [])
    await editRole({ op: 'remove', path: '/rules/2' })
    assert.match(await refused('status'), /"\S+\/me" may not "get" pods\/proxy "langflow-0:8090"/)
    await editRole({ op: 'remove', path: '/rules/1' })
    assert.match(await refused('status'), /"\S+\/me" may not "list" pods/)
    const { code, stdout } = await run('history', '-o', 'json')
    assert.deepEqual([code, JSON.parse(stdout)], [0, { terms: [TERM] }])
  })
})
