import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { type ClusterOptions, withAgent } from '../../agent/cli/api-connection.ts'

const NONE: ClusterOptions = {
  leaseName: null,
  leaseNamespace: null,
  kubeconfig: null,
  context: null,
  url: null,
}
const POD = { KUBERNETES_SERVICE_HOST: '10.0.0.1', POD_NAME: 'a', POD_UID: '1' }
const OWN = 'http://127.0.0.1:8090/'

/** The options of a command in the container of an agent, with the default settings of both. */
const AGENT = { ...NONE, leaseName: 'langflow-leader-lock', url: OWN, isAgent: true }

describe("a command in an agent's container", () => {
  const places: [what: string, env: NodeJS.ProcessEnv, typed: object, at: object][] = [
    ["uses the agent's defaults", POD, {}, AGENT],
    [
      "uses the agent's variables",
      {
        ...POD,
        LEADER_LEASE_NAME: 'lock',
        LEADER_LEASE_NAMESPACE: 'team',
        LEADER_KUBECONFIG: '/etc/config',
        LEADER_LISTEN: '[::]:9090',
      },
      {},
      {
        ...AGENT,
        leaseName: 'lock',
        leaseNamespace: 'team',
        kubeconfig: '/etc/config',
        url: 'http://[::]:9090/',
      },
    ],
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
      { ...NONE, kubeconfig: '/k', isAgent: false },
    ],
    [
      'is any other container without the name and UID of the pod',
      { KUBERNETES_SERVICE_HOST: '10.0.0.1' },
      {},
      { ...NONE, isAgent: false },
    ],
    ['is not a replica on a VM', { POD_NAME: 'a', POD_UID: '1' }, {}, { ...NONE, isAgent: false }],
  ]
  for (const [what, env, typed, expected] of places)
    test(what, () => {
      const at = withAgent({ ...NONE, ...typed }, env)
      assert.deepEqual({ ...at, url: at.url?.href ?? null }, expected)
    })
})
