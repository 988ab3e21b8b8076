import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { assertConsistent, workloadOf } from './consistency.ts'
import { only, plainManifests } from './manifests.ts'

const manifests = plainManifests('langflow.yaml')
const production = plainManifests('langflow-production.yaml')
const deployment = only(manifests, 'Deployment')

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
