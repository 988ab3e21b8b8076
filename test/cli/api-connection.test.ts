import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { type ClusterOptions, replicasAt, withAgent } from '../../agent/cli/api-connection.ts'
import type { ReplicaRow } from '../../agent/status/agent-status.ts'
import { reply, type Script, ScriptedServer } from '../kube/scripted-server.ts'
import { SERVING, silent } from '../observe/replica.ts'
import { LEADER, STANDBY } from './agents.ts'

const NONE: ClusterOptions = {
  leaseName: null,
  leaseNamespace: null,
  kubeconfig: null,
  context: null,
  url: null,
}
const OTHER = { ...NONE, isAgent: false }
const POD = { KUBERNETES_SERVICE_HOST: '10.0.0.1', POD_NAME: 'a', POD_UID: '1' }
const OWN = 'http://127.0.0.1:8090/'

/** The options of a command in the container of an agent, with the default settings of both. */
const AGENT = { ...NONE, leaseName: 'langflow-leader-lock', url: OWN, isAgent: true }

const VARIABLES = {
  LEADER_LEASE_NAME: 'lock',
  LEADER_LEASE_NAMESPACE: 'team',
  LEADER_KUBECONFIG: '/k',
  LEADER_LISTEN: '[::]:9090',
}
const OF_VARIABLES = { leaseName: 'lock', leaseNamespace: 'team', kubeconfig: '/k', url: 'http://[::]:9090/' }
const CONFIGURED = { ...AGENT, ...OF_VARIABLES }

describe("a command in an agent's container", () => {
  const places: [what: string, env: NodeJS.ProcessEnv, typed: object, at: object][] = [
    ["uses the agent's defaults", POD, {}, AGENT],
    ["uses the agent's variables", { ...POD, ...VARIABLES }, {}, CONFIGURED],
    [
      'asks the agent that --url names',
      POD,
      { url: new URL('http://b:8090') },
      { ...AGENT, url: 'http://b:8090/' },
    ],
    [
      "reads another Lease with the agent's rights",
      POD,
      { leaseName: 'x' },
      { ...AGENT, leaseName: 'x', url: null },
    ],
    [
      "does not use the agent's rights with a kubeconfig",
      POD,
      { kubeconfig: '/k' },
      { ...OTHER, kubeconfig: '/k' },
    ],
    ["is any other container without the pod's name", { KUBERNETES_SERVICE_HOST: '10.0.0.1' }, {}, OTHER],
    ['is not a replica on a VM', { POD_NAME: 'a', POD_UID: '1' }, {}, OTHER],
  ]
  for (const [what, env, typed, expected] of places)
    test(what, () => {
      const at = withAgent({ ...NONE, ...typed }, env)
      assert.deepEqual({ ...at, url: at.url?.href ?? null }, expected)
    })
})

const routes =
  (pages: Readonly<Record<string, object | string>>): Script =>
  ({ url }, response) => {
    const page = pages[url.pathname]
    reply(response, page === undefined ? 404 : 200, page ?? { error: 'no such page' })
  }

async function asked(script: Script, path = ''): Promise<unknown> {
  await using server = await ScriptedServer.start(script)
  return await replicasAt(new URL(server.url + path))
}

describe('one replica', () => {
  test('reports itself and its peers, even behind a path', async () => {
    const rows = [LEADER, STANDBY]
    assert.deepEqual(await asked(routes({ '/replicas': rows })), rows)
    assert.deepEqual(await asked(routes({ '/api/proxy/replicas': rows }), '/api/proxy'), rows)
  })

  test('gives a reason for each peer without a status', async () => {
    const odd = { ...silent('b'), status: { identity: 'b_1' }, problem: null }
    const [, c, b] = (await asked(
      routes({ '/replicas': [LEADER, silent('c', 'refused'), odd] }),
    )) as ReplicaRow[]
    assert.deepEqual(c, silent('c', 'refused'))
    assert.match(b?.problem ?? '', /is not an agent's status/)
  })

  const wrong: Readonly<Record<string, Script>> = {
    'has no such page': routes({}),
    'responds without rows': routes({ '/replicas': [SERVING] }),
    'responds without JSON': routes({ '/replicas': '<html>' }),
    fails: (_, response) => reply(response, 503, 'x'),
    'closes the connection': ({ socket }) => socket.destroy(),
  }
  for (const [what, script] of Object.entries(wrong))
    test(`that ${what} is unreachable`, () =>
      assert.rejects(asked(script), { code: 'unreachable', exitCode: 4, message: /^http:\S+\/replicas: / }))
})
