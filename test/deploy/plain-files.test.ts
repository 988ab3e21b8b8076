import assert from 'node:assert/strict'
import { dirname } from 'node:path'
import { describe, test } from 'node:test'
import { agentOptionsOf, assertConsistent, workloadOf } from './consistency.ts'
import { named, only, type PodSpec, plainManifests } from './manifests.ts'

const manifests = plainManifests('langflow.yaml')
const production = plainManifests('langflow-production.yaml')
const deployment = only(manifests, 'Deployment')
const pod = deployment.spec.template.spec as PodSpec
const options = await agentOptionsOf(named(pod.initContainers, 'agent'))

describe('deploy/langflow.yaml', () => {
  test('admits labelled clients to LangFlow, and only Prometheus and the other replicas to the agent', () => {
    const { policyTypes, ingress } = only(manifests, 'NetworkPolicy').spec
    assert.deepEqual(policyTypes, ['Ingress'])
    const client = { matchLabels: { 'langflow-leader/client': 'true' } }
    assert.deepEqual(ingress, [
      { from: [{ podSelector: client }, { namespaceSelector: client }], ports: [{ port: 'http' }] },
      { from: [{ podSelector: deployment.spec.selector }], ports: [{ port: 8090 }] },
      {
        from: [{ namespaceSelector: { matchLabels: { 'langflow-leader/monitoring': 'true' } } }],
        ports: [{ port: 8090 }],
      },
    ])
  })

  test('mounts the socket and the program read-only in LangFlow, and the token and the state only in the agent', () => {
    const [socket, program] = [dirname(options.socket), named(pod.initContainers, 'install').args!.at(-1)!]
    const token = '/var/run/secrets/kubernetes.io/serviceaccount'
    const mounts = [...pod.initContainers, ...pod.containers].flatMap(({ name, volumeMounts }) =>
      volumeMounts.map((one) => [one.name, one.mountPath, name, one.readOnly ?? false] as const),
    )
    assert.deepEqual(mounts.sort(), [
      ['agent-state', options.stateDir, 'agent', false],
      ['langflow-state', '/app/data', 'langflow', false],
      ['program', program, 'install', false],
      ['program', program, 'langflow', true],
      ['socket', socket, 'agent', false],
      ['socket', socket, 'langflow', true],
      ['tmp', '/tmp', 'langflow', false],
      ['token', token, 'agent', true],
    ])
    const holders = pod.volumes.filter((volume) => JSON.stringify(volume).includes('serviceAccountToken'))
    assert.equal(String(holders.map(({ name }) => name)), 'token')
    const account = only(manifests, 'ServiceAccount')
    for (const where of [pod, account]) assert.equal(where.automountServiceAccountToken, false)
  })
})

describe('deploy/langflow-production.yaml', () => {
  test('has Ready and warm standbys, starts a new pod before it ends one, and lets drains end', async () => {
    const facts = await assertConsistent(production)
    assert.deepEqual([facts.traffic.mode, facts.standby], ['front', 'warm'])
    const { spec } = workloadOf(production)
    assert.deepEqual(spec.strategy.rollingUpdate, { maxSurge: 1, maxUnavailable: 0 })
    const budget = only(production, 'PodDisruptionBudget').spec
    assert.deepEqual([budget.maxUnavailable, budget.unhealthyPodEvictionPolicy], [1, 'AlwaysAllow'])
    assert.deepEqual(budget.selector, spec.selector)
  })
})
