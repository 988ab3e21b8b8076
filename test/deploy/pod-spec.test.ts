import assert from 'node:assert/strict'
import { join } from 'node:path'
import { describe, test } from 'node:test'
import { AGENT_SETTINGS } from '../../agent/config/settings.ts'
import {
  FRONT_PORT,
  GRACE_SPARE_MS,
  initContainers,
  LAUNCH,
  NOT_READY_AFTER,
  POD_FIELDS,
  READY_PATH,
  RESTRICTED,
  RESTRICTED_POD,
  SERVICE_PORT,
  type Traffic,
  VOLUMES,
} from '../../agent/manifests/pod.ts'
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

/** That a pod has the same beside LangFlow however it got it. */
describe('agent/manifests/pod.ts is the source', () => {
  test('for deploy/base', () => {
    const pod = only(readManifests(BASE).values(), 'Deployment').spec.template.spec as PodSpec
    const wanted = initContainers({
      image: 'langflow-leader',
      securityContext: RESTRICTED,
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

  test('for deploy/components/traffic-front', () => {
    const { spec } = readManifests(join(DEPLOY, 'components/traffic-front')).get('workload.yaml')!.spec
      .template
    const [, wanted] = initContainers({
      image: 'langflow-leader',
      securityContext: RESTRICTED,
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

  describe('for the policy of auto-inject, which has it in CEL', () => {
    const files = readManifests(join(DEPLOY, 'components/auto-inject'))
    const policy = JSON.stringify(files.get('mutating-policy.yaml')!.spec)
    const parts = (traffic: Traffic) =>
      initContainers({
        image: '=variables.data.image',
        securityContext: {
          '?runAsUser': '=variables.asUser',
          '?runAsGroup': '=variables.asGroup',
          ...RESTRICTED,
          ...RESTRICTED_POD,
        },
        variables: [],
        traffic,
      })
    const [install, agent] = parts('readiness')
    const [, { resources: withFront }] = parts('front')
    const ofTraffic = (part: 'requests' | 'limits') => {
      const [front, others] = [withFront, agent.resources].map((one) => cel(one[part], '.limits'))
      return `=variables.traffic == 'front' ? ${front} : ${others}`
    }
    const readiness = {
      ...agent.readinessProbe,
      httpGet: { path: '=variables.readiness', port: agent.readinessProbe.httpGet.port },
      failureThreshold: `=variables.traffic == 'front' ? ${NOT_READY_AFTER.front} : ${NOT_READY_AFTER.readiness}`,
    }
    // Nothing fills in the protocol of what a policy adds.
    const ports = agent.ports.map((port) => ({ ...port, protocol: 'TCP' }))
    const sidecar = cel(
      {
        ...agent,
        env: '=ENV',
        ports,
        readinessProbe: readiness,
        resources: { requests: ofTraffic('requests'), limits: ofTraffic('limits') },
      },
      'Object.spec.initContainers',
    )
    const [emptyDirs, others] = [
      VOLUMES.filter((volume) => 'emptyDir' in volume),
      VOLUMES.filter((volume) => !('emptyDir' in volume)),
    ]

    for (const [what, expression] of Object.entries({
      'the init container': cel(install, 'Object.spec.initContainers'),
      'the sidecar, up to its variables': sidecar.split('ENV')[0]!,
      'the sidecar, from there on': sidecar.split('ENV')[1]!,
      'the fields of the pod': cel(Object.entries(POD_FIELDS), ''),
      'what readiness is': `== 'front' ? ${cel(READY_PATH.front, '')} : ${cel(READY_PATH.readiness, '')}`,
      'the port of the front': cel(
        { name: SERVICE_PORT, containerPort: FRONT_PORT },
        'Object.spec.containers.ports',
      ).slice(0, -1),
      'the volumes': `${cel(
        emptyDirs.map(({ name }) => name),
        '',
      )}.map(name`,
      'the volume of the token': cel(others, 'Object.spec.volumes').slice(1, -1),
      'the launcher': cel(LAUNCH, ''),
      'the mount of the program': cel(MOUNTS[0], 'Object.spec.containers.volumeMounts'),
      'the mount of the socket': cel(MOUNTS[1], 'Object.spec.containers.volumeMounts'),
      'the startup probe': cel(STARTUP_PROBE, 'Object.spec.containers.startupProbe'),
      'the liveness probe': cel(LIVENESS_PROBE, 'Object.spec.containers.livenessProbe'),
      'the time to end': `== 'front' ? ${FRONT_GRACE_SECONDS} : ${GRACE_SECONDS}`,
    })) {
      test(what, () => {
        assert.ok(squeezed(policy).includes(squeezed(JSON.stringify(expression).slice(1, -1))), expression)
      })
    }
  })
})

/** A value in CEL. `type`: of a pod's field. Text that begins with `=` is an expression already. */
function cel(value: unknown, type: string): string {
  if (Array.isArray(value)) return `[${value.map((item) => cel(item, type)).join(', ')}]`
  if (typeof value === 'object' && value !== null) {
    const isMap = /\.(requests|limits)$/.test(type)
    const fields = Object.entries(value).map(
      ([key, one]) => `${isMap ? `'${key}'` : key}: ${cel(one, `${type}.${key}`)}`,
    )
    return `${isMap ? '' : type}{${fields.join(', ')}}`
  }
  if (typeof value !== 'string') return String(value)
  if (value.startsWith('=')) return value.slice(1)
  return value.includes("'") ? `"${value}"` : `'${value}'`
}

/** White space means nothing between the words of CEL. */
function squeezed(text: string): string {
  return text.replace(/\\n|\s/g, '')
}
