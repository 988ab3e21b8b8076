import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import {
  AGENT_PORT,
  FRONT_PORT,
  GRACE_SPARE_MS,
  initContainers,
  LAUNCH,
  RESTRICTED,
  RESTRICTED_POD,
  SERVICE_PORT,
  VOLUMES,
} from '../../agent/cli/manifests/pod-spec.ts'
import { AGENT_SETTINGS } from '../../agent/config/schema.ts'
import { VERSION } from '../../agent/version.ts'
import {
  LIVENESS_PROBE,
  MOUNTS,
  named,
  only,
  type PodSpec,
  plainManifests,
  STARTUP_PROBE,
} from './manifests.ts'

const { drainTimeoutMs, stopTimeoutMs, holdTimeoutMs, quietTimeoutMs } = AGENT_SETTINGS
const usual = ({ fallback, parse }: typeof drainTimeoutMs) => parse(fallback)
const LANGFLOW_PORT = 7860
const GRACE_SECONDS = (usual(drainTimeoutMs) + usual(stopTimeoutMs) + GRACE_SPARE_MS) / 1000
const FRONT_GRACE_SECONDS = GRACE_SECONDS + (usual(quietTimeoutMs) + usual(holdTimeoutMs)) / 1000

const PARTS = {
  kind: 'Deployment',
  image: `langflow-leader:${VERSION}`,
  securityContext: RESTRICTED,
  port: AGENT_PORT,
}

/** The variables by which the chart sets flags. */
function variables(traffic: 'readiness' | 'front', standby: 'cold' | 'warm') {
  const flags = {
    LEADER_LEASE_NAME: AGENT_SETTINGS.leaseName.fallback,
    LEADER_PEERS: 'langflow-members:8090',
    LEADER_TRAFFIC: traffic,
    LEADER_STANDBY: standby,
    LEADER_FAILSAFE: 'peers',
    LEADER_FAILSAFE_MAX: '11m',
  }
  return Object.entries(flags).map(([name, value]) => ({ name, value }))
}

/** `inject` and the chart must give a pod the same agent and launcher. */
describe('the pod spec of agent/cli/manifests/pod-spec.ts equals', () => {
  for (const [file, traffic, standby, grace] of [
    ['langflow.yaml', 'readiness', 'cold', GRACE_SECONDS],
    ['langflow-production.yaml', 'front', 'warm', FRONT_GRACE_SECONDS],
  ] as const)
    test(`that of deploy/${file}`, () => {
      const pod = only(plainManifests(file), 'Deployment').spec.template.spec as PodSpec
      const expected = initContainers({ ...PARTS, variables: variables(traffic, standby), traffic })
      assert.deepEqual(pod.initContainers, expected)
      assert.deepEqual({ ...pod.securityContext, ...RESTRICTED_POD }, pod.securityContext)
      assert.equal(pod.terminationGracePeriodSeconds, grace)
      for (const volume of VOLUMES) assert.deepEqual(named(pod.volumes, volume.name), volume)
      const { command, volumeMounts, startupProbe, livenessProbe, readinessProbe, ports } = pod.containers[0]!
      assert.deepEqual(command, LAUNCH)
      assert.deepEqual(volumeMounts.slice(0, MOUNTS.length), MOUNTS)
      assert.deepEqual(
        [startupProbe, livenessProbe, readinessProbe],
        [STARTUP_PROBE, LIVENESS_PROBE, undefined],
      )
      assert.equal(
        named(ports!, SERVICE_PORT).containerPort,
        traffic === 'front' ? FRONT_PORT : LANGFLOW_PORT,
      )
    })

  test('the flags of the front', () => {
    assert.equal(AGENT_SETTINGS.frontListen.fallback, `:${FRONT_PORT}`)
  })
})
