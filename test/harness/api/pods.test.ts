import assert from 'node:assert/strict'
import { once } from 'node:events'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { Cluster } from '../../../agent/cli/cluster.ts'
import { systemClock } from '../../../agent/clock.ts'
import { SERVING } from '../../observe/replica.ts'
import { kubeconfigFor, LeaseServer } from './api-server.ts'
import { type PlayedPod, servePods } from './pods.ts'

const LEASE = SERVING.lease.name

describe("the demo's pods", () => {
  const deleted: string[][] = []
  const api = new LeaseServer(
    systemClock,
    servePods(LEASE, () => pods),
  )
  const agent = createServer(({ url }, response) => {
    const isStatus = url === '/status'
    response.writeHead(isStatus ? 200 : 503, { 'content-type': isStatus ? 'application/json' : 'text/plain' })
    response.end(isStatus ? JSON.stringify(SERVING) : `no ${url}`)
  })
  let pods: PlayedPod[] = []
  const pods$ = (path: string) => `${api.url}/api/v1/namespaces/default/pods${path}`
  const ask = async (path: string, init: RequestInit = {}) => {
    const response = await fetch(pods$(path), init)
    return { code: response.status, body: (await response.json()) as Record<string, unknown> }
  }
  before(async () => {
    agent.listen(0, '127.0.0.1')
    await Promise.all([api.listen(), once(agent, 'listening')])
    const { port: agentPort } = agent.address() as AddressInfo
    const pod = (name: string, more: Partial<PlayedPod>): PlayedPod => ({
      name,
      uid: `uid-of-${name}`,
      createdAt: 0,
      runs: true,
      ready: false,
      agentPort,
      port: 1,
      delete: (force) => deleted.push([name, force ? 'by force' : 'in order']),
      ...more,
    })
    pods = [pod('a', { ready: true }), pod('b', { runs: false, agentPort: 1 })]
  })
  after(async () => {
    await api.close()
    agent.close()
  })

  test('are what operating commands look for', async (t) => {
    const dir = mkdtempSync(join(tmpdir(), 'pods-test-'))
    t.after(() => rmSync(dir, { recursive: true }))
    const kubeconfig = join(dir, 'kubeconfig')
    writeFileSync(kubeconfig, kubeconfigFor(api.url))
    const cluster = await Cluster.connect({
      leaseName: LEASE,
      leaseNamespace: null,
      context: null,
      kubeconfig,
    })
    t.after(() => cluster.close())
    const [a, b, ...more] = await cluster.replicas()
    assert.deepEqual([a?.pod, a?.status?.identity, a?.problem], ['a', SERVING.identity, null])
    assert.deepEqual([b?.pod, b?.status, more], ['b', null, []])
    assert.equal(b?.problem, 'its agent does not run: ContainerCreating')
  })

  test('are listed by name, label and namespace, as they are', async () => {
    const names = async (query: string) => {
      const { code, body } = await ask(query)
      const items = (body.items ?? []) as { metadata: { name: string } }[]
      return [code, ...items.map(({ metadata }) => metadata.name)]
    }
    assert.deepEqual(await names(''), [200, 'a', 'b'])
    assert.deepEqual(await names('?fieldSelector=metadata.name%3Db'), [200, 'b'])
    assert.deepEqual(await names('?labelSelector=app.kubernetes.io/name%3Dlangflow'), [200, 'a', 'b'])
    assert.deepEqual(await names('?labelSelector=app%3Dother'), [200])
    assert.deepEqual(await names('?labelSelector=app!%3Dother'), [400])
    const elsewhere = await fetch(pods$('').replace('/default/', '/other/'))
    assert.deepEqual(((await elsewhere.json()) as { items: unknown[] }).items, [])
    const status = async (name: string) => {
      const { body } = await ask(`/${name}`)
      const { phase, conditions } = body.status as { phase: string; conditions: [{ status: string }] }
      return [phase, conditions[0].status]
    }
    assert.deepEqual(
      [await status('a'), await status('b')],
      [
        ['Running', 'True'],
        ['Pending', 'False'],
      ],
    )
    assert.equal((await ask('/c')).code, 404)
  })

  test('answer through the proxy on the ports of a pod, as they answer themselves', async () => {
    const through = async (path: string) => {
      const response = await fetch(pods$(path))
      return [response.status, response.headers.get('content-type'), await response.text()]
    }
    const [code, type, text] = await through('/a:8090/proxy/status')
    assert.deepEqual([code, type, JSON.parse(String(text))], [200, 'application/json', SERVING])
    assert.deepEqual(await through('/a:8090/proxy/readyz?verbose=1'), [
      503,
      'text/plain',
      'no /readyz?verbose=1',
    ])
    assert.equal((await through('/a:1234/proxy/status'))[0], 503)
    assert.equal((await fetch(pods$('/a:8090/proxy/status'), { method: 'DELETE' })).status, 405)
  })

  test('are deleted by name, unless it is a rehearsal', async () => {
    const body = JSON.stringify({ kind: 'DeleteOptions', dryRun: ['All'] })
    assert.equal((await ask('/a?dryRun=All', { method: 'DELETE' })).code, 200)
    assert.equal((await ask('/a', { method: 'DELETE', body })).code, 200)
    assert.deepEqual(deleted, [])
    const { code, body: pod } = await ask('/a', { method: 'DELETE' })
    assert.deepEqual([code, (pod.metadata as { uid: string }).uid], [200, 'uid-of-a'])
    assert.equal((await ask('', { method: 'DELETE' })).code, 405)
    assert.equal((await ask('/c', { method: 'DELETE' })).code, 404)
    assert.equal((await ask('/b?gracePeriodSeconds=0', { method: 'DELETE' })).code, 200)
    assert.equal((await ask('/b', { method: 'DELETE', body: '{"gracePeriodSeconds":0}' })).code, 200)
    const byForce = ['b', 'by force']
    assert.deepEqual(deleted, [['a', 'in order'], byForce, byForce])
  })

  test('everybody may do everything, and what there is can be found', async () => {
    const spec = { resourceAttributes: { verb: 'patch', resource: 'leases' } }
    const review = await fetch(`${api.url}/apis/authorization.k8s.io/v1/selfsubjectaccessreviews`, {
      method: 'POST',
      body: JSON.stringify({ spec }),
    })
    const { kind, status, spec: asked } = (await review.json()) as Record<string, unknown>
    assert.deepEqual([review.status, kind, status], [201, 'SelfSubjectAccessReview', { allowed: true }])
    assert.deepEqual(asked, spec)
    for (const path of ['/version', '/api', '/apis', '/api/v1', '/apis/coordination.k8s.io/v1'])
      assert.equal((await fetch(api.url + path)).status, 200, path)
    assert.equal((await fetch(`${api.url}/apis/apps/v1`)).status, 404)
  })
})
