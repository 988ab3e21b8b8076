import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { Cluster, findLease, holderRow } from '../../agent/cli/cluster.ts'
import { type Clock, systemClock } from '../../agent/clock.ts'
import type { KubeObject } from '../../agent/kube/kube-objects.ts'
import { VirtualClock } from '../harness/virtual-clock.ts'
import { until } from '../harness/wait.ts'
import {
  fixedAccess,
  leaseAt,
  objectsFor,
  type Received,
  reply,
  ScriptedServer,
  status,
  within,
} from '../kube/scripted-server.ts'
import { FOLLOWING, SERVING } from '../observe/replica.ts'
import { AGENT, LEADER, podWith, STANDBY } from './agents.ts'

const LEASES = '/apis/coordination.k8s.io/v1/namespaces/ns/leases/lock'
const PODS = '/api/v1/namespaces/ns/pods'
const LOCK = { env: [{ name: 'LEADER_LEASE_NAME', value: 'lock' }] }
const own = (of: object = SERVING) => ({ ...of, lease: { ...SERVING.lease, name: 'lock' } })

type Answer = readonly [code: number, body: object | string] | 'never'

/** A cluster with these pods. `answers`: the answers to other requests, by path. */
async function clusterWith(
  pods: readonly KubeObject[],
  answers: Readonly<Record<string, Answer>> = {},
  clock: Clock = systemClock,
) {
  const server = await ScriptedServer.start(({ url }: Received, response) => {
    const known: Readonly<Record<string, Answer>> = { [PODS]: [200, { items: pods }], ...answers }
    const answer = known[url.pathname] ?? ([404, status(404, 'NotFound')] as const)
    if (answer !== 'never') reply(response, ...answer)
  })
  const objects = objectsFor(fixedAccess(server.url), { clock })
  const cluster = new Cluster(objects, 'lock')
  return {
    cluster,
    server,
    [Symbol.asyncDispose]: () => {
      cluster[Symbol.dispose]()
      return server[Symbol.asyncDispose]()
    },
  }
}

const proxied = (pod: string, port = 8090) => `${PODS}/${pod}:${port}/proxy/status`
const agent = { ...AGENT, ...LOCK }

describe('the replicas', () => {
  test('are the pods whose agents compete for the Lease, sorted by name', async () => {
    const pods = [
      podWith(agent, {}, 'b'),
      podWith({ ...AGENT, env: [{ name: 'LEADER_LEASE_NAME', value: 'other' }] }, {}, 'x'),
      podWith({ name: 'web', args: ['nginx'] }, {}, 'y'),
      podWith({ ...AGENT, envFrom: [{}] }, {}, 'a'),
      podWith({ ...AGENT, envFrom: [{}] }, {}, 'z'),
    ]
    await using it = await clusterWith(pods, {
      [proxied('a')]: [200, own()],
      [proxied('b')]: [200, own(FOLLOWING)],
      [proxied('z')]: [200, SERVING],
    })
    const rows = await it.cluster.replicas()
    assert.deepEqual(
      rows.map(({ pod, node, problem, status }) => [pod, node, problem, status?.role]),
      [
        ['a', 'node-a', null, 'leader'],
        ['b', 'node-b', null, 'follower'],
      ],
    )
  })

  const silent: Readonly<Record<string, [answer: Answer, problem: RegExp]>> = {
    'refuses the connection': [
      [503, status(503, 'ServiceUnavailable', 'dial tcp 10.0.0.7:8090: connect: connection refused')],
      /answered 503 .*connection refused/,
    ],
    'returns another document': [[200, { kind: 'Hello' }], /is not an agent's status/],
  }
  for (const [what, [answer, problem]] of Object.entries(silent))
    test(`include one that ${what}, with the reason`, async () => {
      await using it = await clusterWith([podWith(agent), podWith(agent, {}, 'b')], {
        [proxied('a')]: answer,
        [proxied('b')]: [200, own(FOLLOWING)],
      })
      const [a, b] = await it.cluster.replicas()
      assert.match(a?.problem ?? '', problem)
      assert.equal(a?.status, null)
      assert.equal(b?.status?.role, 'follower')
    })

  test('include replicas that do not answer, within one deadline for all', async () => {
    const pods = ['a', 'b', 'c'].map((name) => podWith(agent, {}, name))
    const answers = Object.fromEntries(['a', 'b', 'c'].map((name) => [proxied(name), 'never'] as const))
    const clock = new VirtualClock()
    await using it = await clusterWith(pods, answers, clock)
    const read = it.cluster.replicas()
    await until('each pod is asked', () => it.server.requests.length === 1 + pods.length)
    await clock.pass(3_500)
    const rows = await within(read)
    assert.match(rows[0]?.problem ?? '', /within 3/)
    assert.equal(rows.length, 3)
  })

  const forbidden = (what: string) =>
    [
      403,
      status(403, 'Forbidden', `${what} is forbidden: User "me" cannot do that in the namespace "ns"`),
    ] as const
  test('are an error without the right to list pods or to proxy to them', async () => {
    await using list = await clusterWith([], { [PODS]: forbidden('pods') })
    const unlisted = {
      code: 'no_rights',
      exitCode: 4,
      message: /may not "list" pods .*: add the verb to its Role/,
    }
    await assert.rejects(list.cluster.replicas(), unlisted)
    await using ask = await clusterWith([podWith(agent)], { [proxied('a')]: forbidden('pods "a:8090"') })
    const unasked = { ...unlisted, message: /may not "get" pods\/proxy .*port-forward a 8090, then --url/ }
    await assert.rejects(ask.cluster.replicas(), unasked)
  })
})

test('one agent reports all replicas of the Lease if the API server does not reach the pods', async () => {
  const here = { ...SERVING, lease: { ...SERVING.lease, namespace: 'ns', name: 'lock' } }
  const row = (pod: string, of: object | null) => ({ pod, node: null, status: of, problem: of && null })
  const silent = { pod: 'c', node: null, status: null, problem: 'no answer' }
  await using one = await ScriptedServer.start((_, response) =>
    reply(response, 200, [row('b', here), row('a', here), silent, row('x', SERVING)]),
  )
  await using it = await clusterWith([])
  const cluster = new Cluster(it.cluster.objects, 'lock', new URL(one.url))
  assert.deepEqual(
    (await cluster.replicas()).map(({ pod }) => pod),
    ['a', 'b', 'c'],
  )
  assert.deepEqual(it.server.requests, [])
})

describe('the Lease', () => {
  test('is read, and annotated only if no other writer has changed it', async () => {
    await using it = await clusterWith([], { [LEASES]: [200, leaseAt('7')] })
    const lease = await it.cluster.lease()
    assert.deepEqual(lease, leaseAt('7'))
    await it.cluster.annotate(lease, { x: '1', y: null })
    const [, patch] = it.server.requests
    assert.equal(patch?.headers['content-type'], 'application/merge-patch+json')
    assert.deepEqual(JSON.parse(patch?.body ?? ''), {
      metadata: { name: 'lock', uid: 'u', resourceVersion: '7', annotations: { x: '1', y: null } },
    })
  })

  test("is updated with an agent's rights", async () => {
    await using it = await clusterWith([], { [LEASES]: [200, leaseAt('7')] })
    const lease = { ...leaseAt('7'), metadata: { ...leaseAt('7').metadata, annotations: { y: '1', z: '2' } } }
    await new Cluster(it.cluster.objects, 'lock', null, true).annotate(lease, { x: '1', y: null })
    const written = { ...lease, metadata: { ...lease.metadata, annotations: { x: '1', z: '2' } } }
    assert.deepEqual(
      it.server.requests.map(({ method }) => method),
      ['PUT'],
    )
    assert.deepEqual(JSON.parse(it.server.requests[0]?.body ?? ''), written)
  })

  test('that does not exist is an error with the way to name it', async () => {
    await using it = await clusterWith([])
    await assert.rejects(it.cluster.lease(), { code: 'no_lease', exitCode: 3, message: /-n.*--lease-name$/ })
  })

  test('is found by the pods of the namespace', async () => {
    const named = (name: string, lease: string) =>
      podWith({ ...AGENT, env: [{ name: 'LEADER_LEASE_NAME', value: lease }] }, { phase: 'Running' }, name)
    for (const [pods, name] of [
      [[], 'langflow-leader-lock'],
      [[named('a', 'flows'), named('b', 'flows')], 'flows'],
    ] as const) {
      await using it = await clusterWith([...pods])
      assert.equal(await findLease(it.cluster.objects), name)
    }
    await using it = await clusterWith([named('a', 'x'), named('b', 'y')])
    await assert.rejects(findLease(it.cluster.objects), { code: 'several_leases', message: /x and y/ })
  })
})

test("the holder's row has its identity, or its pod if it does not answer", () => {
  const lease = leaseAt('1', 'a_uid')
  assert.equal(holderRow(lease, [STANDBY, LEADER]), LEADER)
  const silent = { ...LEADER, status: null, problem: 'x' }
  assert.equal(holderRow(lease, [STANDBY, silent]), silent)
  assert.equal(holderRow(leaseAt('1', 'c_uid'), [STANDBY, LEADER]), null)
})

test('without a kubeconfig, connecting fails with a code', async () => {
  const options = { leaseName: 'lock', leaseNamespace: null, context: null, url: null }
  const connected = Cluster.connect({ ...options, kubeconfig: '/none' })
  await assert.rejects(connected, { code: 'no_kubeconfig', exitCode: 4 })
})
