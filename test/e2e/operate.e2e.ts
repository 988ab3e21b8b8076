import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { text } from 'node:stream/consumers'
import { after, before, describe, test } from 'node:test'
import { encodeHistory } from '../../agent/lease/lease-history.ts'
import { DEPLOY } from '../deploy/manifests.ts'
import { BUNDLE } from '../harness/bundle.ts'
import { type ControlPlane, startControlPlane } from '../harness/control-plane.ts'
import { TERM } from '../observe/replica.ts'

const LEASE = 'langflow-leader-lock'
const OPERATOR = 'langflow-leader-operator'

/** A pod that nobody runs: kube-apiserver alone has no kubelet. */
function pod(name: string, agent: object | null) {
  const initContainers = agent === null ? [] : [{ name: 'agent', image: 'x', args: ['agent'], ...agent }]
  const containers = [{ name: 'langflow', image: 'x' }]
  return { apiVersion: 'v1', kind: 'Pod', metadata: { name }, spec: { initContainers, containers } }
}

/*
 * What only a real API server decides: rights, pages of a list, the pod proxy's refusals. It proxies to no address of
 * loopback, so that answers through it are tested on the embedded API server and on a real cluster.
 */
describe('an operator with a real API server', () => {
  let plane: ControlPlane
  let namespace: string
  let kubeconfig: string
  const kubectl = (...args: string[]) => plane.kubectl(['-n', namespace, ...args])
  const apply = (items: object[]) =>
    plane.kubectl(
      ['-n', namespace, 'apply', '-f', '-'],
      JSON.stringify({ apiVersion: 'v1', kind: 'List', items }),
    )

  before(async () => {
    plane = await startControlPlane()
    namespace = await plane.newNamespace()
    await kubectl('create', 'serviceaccount', 'me')
    const role = readFileSync(join(DEPLOY, 'components/operator-role/role.yaml'), 'utf8')
    await plane.kubectl(['-n', namespace, 'apply', '-f', '-'], role)
    await kubectl('create', 'rolebinding', 'me', `--role=${OPERATOR}`, `--serviceaccount=${namespace}:me`)
    kubeconfig = await plane.serviceAccountKubeconfig(namespace, 'me')
    const spec = { holderIdentity: 'a_1', leaseTransitions: 6, leaseDurationSeconds: 15 }
    const annotations = { 'langflow-leader/history': encodeHistory([TERM]) }
    const lease = {
      apiVersion: 'coordination.k8s.io/v1',
      kind: 'Lease',
      metadata: { name: LEASE, annotations },
      spec,
    }
    // More than a page of them, and the replicas on the last.
    const others = Array.from({ length: 120 }, (_, i) => pod(`a-${i}`, null))
    const elsewhere = pod('x', { args: ['agent', '--lease-name=other'] })
    await apply([lease, ...others, elsewhere, pod('langflow-0', {}), pod('langflow-1', {})])
    await kubectl(
      'patch',
      'pod',
      'langflow-0',
      '--subresource=status',
      '--type=merge',
      '-p',
      JSON.stringify({ status: { phase: 'Running', podIP: '127.0.0.1', podIPs: [{ ip: '127.0.0.1' }] } }),
    )
  })
  after(() => plane?.close())

  const start = (...args: string[]) =>
    spawn(process.execPath, [BUNDLE, ...args, '--kubeconfig', kubeconfig], {
      stdio: ['ignore', 'pipe', 'pipe'],
    })
  const run = async (...args: string[]) => {
    const child = start(...args)
    const [stdout, stderr, [code]] = await Promise.all([
      text(child.stdout),
      text(child.stderr),
      once(child, 'close'),
    ])
    return { code, stdout, stderr }
  }
  const error = ({ stdout }: { stdout: string }) =>
    JSON.parse(stdout).error as { code: string; message: string }

  test('sees every replica with the Role of deploy/, and why one does not tell', async () => {
    const { code, stdout } = await run('status', '-o', 'json')
    const { lease, ok, replicas, problems } = JSON.parse(stdout)
    assert.deepEqual([code, ok, lease.holder, lease.epoch], [1, false, 'a_1', 6])
    assert.match(problems[0], /^nobody serves: a holds the Lease, and is none of these replicas$/)
    const [first, second, ...more] = replicas as { pod: string; problem: string }[]
    assert.deepEqual([first?.pod, second?.pod, more], ['langflow-0', 'langflow-1', []])
    assert.match(first?.problem ?? '', /answered 400 .*address not allowed/)
    assert.equal(second?.problem, 'its agent does not run yet: the pod is Pending')
  })

  test('reads the history', async () => {
    const { code, stdout } = await run('history', '-o', 'json')
    assert.deepEqual([code, JSON.parse(stdout)], [0, { terms: [TERM] }])
  })

  test('sees a change while looking on, and ends it with Ctrl-C', async () => {
    const child = start('status', '--watch', '-o', 'json')
    const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]()
    const holder = async () => JSON.parse((await lines.next()).value ?? '{}').lease?.holder
    assert.equal(await holder(), 'a_1')
    await kubectl('patch', 'lease', LEASE, '--type=merge', '-p', '{"spec":{"holderIdentity":"b_2"}}')
    while ((await holder()) !== 'b_2');
    const ended = once(child, 'close')
    child.kill('SIGINT')
    assert.deepEqual(await ended, [130, null])
  })

  test('is told which Lease there is, where there is none of that name', async () => {
    await kubectl(
      'patch',
      'role',
      OPERATOR,
      '--type=json',
      '-p',
      '[{"op":"remove","path":"/rules/0/resourceNames"}]',
    )
    const answer = await run('status', '--lease-name', 'nothing', '-o', 'json')
    assert.deepEqual([answer.code, error(answer).code], [3, 'no_lease'])
    assert.match(
      error(answer).message,
      /; the pods here compete for langflow-leader-lock and other: give --lease-name$/,
    )
    assert.equal(answer.stderr, `langflow-leader: ${error(answer).message}\n`)
  })

  test('is told which right is missing', async () => {
    const without = (index: number) =>
      kubectl('patch', 'role', OPERATOR, '--type=json', '-p', `[{"op":"remove","path":"/rules/${index}"}]`)
    const missing: [rule: number, right: RegExp][] = [
      [2, /^ServiceAccount "\S+\/me" may not "get" pods\/proxy "langflow-0:8090" in namespace/],
      [1, /^ServiceAccount "\S+\/me" may not "list" pods in namespace/],
    ]
    for (const [rule, right] of missing) {
      await without(rule)
      const answer = await run('status', '-o', 'json')
      assert.deepEqual([answer.code, error(answer).code], [4, 'no_rights'])
      assert.match(error(answer).message, right)
    }
    assert.equal((await run('history')).code, 0)
  })
})
