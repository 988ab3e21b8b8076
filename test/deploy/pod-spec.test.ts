import assert from 'node:assert/strict'
import { dirname, join } from 'node:path'
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
import { AGENT_SETTINGS } from '../../agent/config/agent-settings.ts'
import {
  BASE,
  type Container,
  DEPLOY,
  LIVENESS_PROBE,
  MOUNTS,
  named,
  only,
  type PodSpec,
  readManifests,
  STARTUP_PROBE,
} from './manifests.ts'

const { drainTimeoutMs, stopTimeoutMs, holdTimeoutMs } = AGENT_SETTINGS
const usual = ({ fallback, parse }: typeof drainTimeoutMs) => parse(fallback)
const GRACE_SECONDS = (usual(drainTimeoutMs) + usual(stopTimeoutMs) + GRACE_SPARE_MS) / 1000
const FRONT_GRACE_SECONDS = GRACE_SECONDS + usual(holdTimeoutMs) / 1000

const PARTS = {
  kind: 'Deployment',
  image: 'langflow-leader',
  securityContext: RESTRICTED,
  port: AGENT_PORT,
  socketDir: dirname(AGENT_SETTINGS.socket.fallback),
  stateDir: AGENT_SETTINGS.stateDir.fallback,
}

/** `inject` and the folders of deploy/ must give a pod the same agent and launcher. */
describe('the pod spec of agent/cli/manifests/pod-spec.ts equals', () => {
  test('that of deploy/base', () => {
    const pod = only(readManifests(BASE).values(), 'Deployment').spec.template.spec as PodSpec
    const wanted = initContainers({
      ...PARTS,
      variables: [{ name: 'LEADER_PEERS', value: 'langflow-members:8090' }],
      traffic: 'readiness',
    })
    assert.deepEqual(pod.initContainers, wanted)
    assert.deepEqual({ ...pod.securityContext, ...RESTRICTED_POD }, pod.securityContext)
    assert.equal(pod.terminationGracePeriodSeconds, GRACE_SECONDS)
    for (const volume of VOLUMES) assert.deepEqual(named(pod.volumes, volume.name), volume)
    const { command, volumeMounts, startupProbe, livenessProbe, readinessProbe } = pod.containers[0]!
    assert.deepEqual(command, LAUNCH)
    assert.deepEqual(volumeMounts.slice(0, MOUNTS.length), MOUNTS)
    assert.deepEqual(
      [startupProbe, livenessProbe, readinessProbe],
      [STARTUP_PROBE, LIVENESS_PROBE, undefined],
    )
  })

  test('that of deploy/components/traffic-front', () => {
    const { spec } = readManifests(join(DEPLOY, 'components/traffic-front')).get('workload.yaml')!.spec
      .template
    const [, wanted] = initContainers({
      ...PARTS,
      variables: [],
      traffic: 'front',
    })
    const { readinessProbe, resources, env } = named<Container>(spec.initContainers, 'agent')
    const { httpGet, failureThreshold } = wanted.readinessProbe
    assert.deepEqual(
      [readinessProbe?.httpGet.path, readinessProbe?.failureThreshold, resources],
      [httpGet.path, failureThreshold, wanted.resources],
    )
    assert.deepEqual(env, [{ name: 'LEADER_TRAFFIC', value: 'front' }])
    assert.equal(spec.terminationGracePeriodSeconds, FRONT_GRACE_SECONDS)
    const { ports } = named<Container>(spec.containers, 'langflow')
    assert.equal(named(ports!, SERVICE_PORT).containerPort, FRONT_PORT)
    assert.equal(AGENT_SETTINGS.frontListen.fallback, `:${FRONT_PORT}`)
  })
})
