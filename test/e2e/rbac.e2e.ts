import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { after, before, describe, test } from 'node:test'
import { Agent, request } from 'undici'
import { BASE } from '../deploy/manifests.ts'
import { ACCOUNT, type ControlPlane, startControlPlane } from '../harness/control-plane.ts'
import { LEASE } from '../harness/scene.ts'

/** Only a server that is asked for it must answer; a watch that is allowed stays open. */
const ANSWER_WITHIN_MS = 10_000

interface LeaseBody {
  spec: Record<string, unknown>
}

/** What is in deploy/base as a real API server takes it, and what the agent may do then: with a bound token, no admin. */
describe('deploy/base on kube-apiserver', () => {
  let plane: ControlPlane
  let namespace: string
  let token: string
  let dispatcher: Agent

  before(async () => {
    plane = await startControlPlane()
    namespace = await plane.newNamespace()
    await plane.kubectl(['apply', '-k', BASE, '--validate=strict', `--namespace=${namespace}`])
    token = await plane.serviceAccountToken(namespace, ACCOUNT)
    dispatcher = new Agent({ connect: { ca: readFileSync(plane.caFile, 'utf8') } })
  })
  after(async () => {
    await dispatcher?.destroy()
    await plane?.close()
  })

  const leases = (name = '', query = '') =>
    `/apis/coordination.k8s.io/v1/namespaces/${namespace}/leases${name && `/${name}`}${query}`

  /** The status of the answer to a request with the agent's token, and its body unless that is a watch. */
  async function ask(method: 'GET' | 'PUT' | 'POST' | 'PATCH' | 'DELETE', path: string, body?: object) {
    const watching = path.includes('watch=')
    const answer = await request(plane.serverUrl + path, {
      method,
      dispatcher,
      signal: AbortSignal.timeout(ANSWER_WITHIN_MS),
      headers: {
        authorization: `Bearer ${token}`,
        'content-type': method === 'PATCH' ? 'application/merge-patch+json' : 'application/json',
      },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    })
    if (!watching) return { status: answer.statusCode, body: (await answer.body.json()) as LeaseBody }
    answer.body.on('error', () => {}).destroy()
    return { status: answer.statusCode, body: { spec: {} } }
  }
  const status = async (...args: Parameters<typeof ask>) => (await ask(...args)).status
  const newLease = (name: string) => ({
    apiVersion: 'coordination.k8s.io/v1',
    kind: 'Lease',
    metadata: { name },
  })

  test('reads and writes the one Lease', async () => {
    const { status: read, body: lease } = await ask('GET', leases(LEASE))
    assert.equal(read, 200)
    lease.spec = { holderIdentity: 'a', leaseDurationSeconds: 15 }
    assert.equal(await status('PUT', leases(LEASE), lease), 200)
    assert.equal(await status('PUT', leases(LEASE), lease), 409, 'an old version')
  })

  test('makes a deleted Lease anew', async () => {
    await plane.kubectl(['delete', 'lease', LEASE, `--namespace=${namespace}`])
    assert.equal(await status('GET', leases(LEASE)), 404)
    assert.equal(await status('POST', leases(), newLease(LEASE)), 201)
  })

  test('may watch the one Lease by its name, and do nothing else', async () => {
    const name = `other-${randomBytes(3).toString('hex')}`
    await plane.kubectl(['create', '-f', '-', `--namespace=${namespace}`], JSON.stringify(newLease(name)))
    const field = 'fieldSelector=metadata.name%3D'
    const asked: [wanted: number, ...Parameters<typeof ask>][] = [
      [200, 'GET', leases('', `?watch=true&${field}${LEASE}`)],
      [403, 'GET', leases('', '?watch=true')],
      [403, 'GET', leases('', `?watch=true&${field}another`)],
      [403, 'GET', leases(name)],
      [403, 'PUT', leases(name), newLease(name)],
      [403, 'GET', leases()],
      [403, 'PATCH', leases(LEASE), { metadata: { annotations: { a: 'b' } } }],
      [403, 'DELETE', leases(LEASE)],
      [403, 'DELETE', leases()],
      [403, 'GET', `/api/v1/namespaces/${namespace}/secrets/langflow`],
      [403, 'GET', `/api/v1/namespaces/${namespace}/pods`],
      [403, 'GET', '/api/v1/nodes'],
      [403, 'GET', `/apis/coordination.k8s.io/v1/namespaces/default/leases/${LEASE}`],
    ]
    for (const [wanted, ...request] of asked)
      assert.equal(await status(...request), wanted, request.join(' '))
  })

  test('applying the manifests again does not take the Lease from its holder', async () => {
    const { body: lease } = await ask('GET', leases(LEASE))
    lease.spec = { holderIdentity: 'holder', leaseDurationSeconds: 15, leaseTransitions: 3 }
    assert.equal(await status('PUT', leases(LEASE), lease), 200)
    await plane.kubectl(['apply', '-k', BASE, `--namespace=${namespace}`])
    const { body: after } = await ask('GET', leases(LEASE))
    assert.deepEqual([after.spec.holderIdentity, after.spec.leaseTransitions], ['holder', 3])
  })

  test('the Role is all that the account has', async () => {
    const rights = async (account: string) => {
      const as = `--as=system:serviceaccount:${namespace}:${account}`
      const args = ['auth', 'can-i', '--list', '--no-headers', `--namespace=${namespace}`, as]
      return (await plane.kubectl(args)).stdout.split('\n').map((line) => line.replace(/\s+/g, ' '))
    }
    const anyone = new Set(await rights('anyone'))
    const more = (await rights(ACCOUNT)).filter((line) => !anyone.has(line))
    assert.deepEqual(more.sort(), [
      'leases.coordination.k8s.io [] [] [create]',
      'leases.coordination.k8s.io [] [langflow-leader-lock] [get watch update]',
    ])
  })
})
