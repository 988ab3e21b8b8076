import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import fc from 'fast-check'
import { stringify } from 'yaml'
import { uninject } from '../../../agent/cli/inject/inject.ts'
import { isFields } from '../../../agent/cli/manifests/manifest.ts'
import { type Manifest, manifestsIn } from '../../deploy/manifests.ts'
import { asStream, deployment, find, fixture, injected, podOf, uninjected } from './streams.ts'

/** Failures are not shrunk, because each try takes 0.1 s. */
const RUNS = { numRuns: 30, endOnFailure: true }
const OPTIONS = [
  {},
  { traffic: 'front', with: ['pdb', 'network-policy'] },
  { standby: 'warm', leaseName: 'lock' },
] as const

const probe = { httpGet: { path: '/health', port: 'http' }, periodSeconds: 7 }
const script = 'set -e\n\n# not a comment\nlangflow run --port 7860\n'
const data = { name: 'data', emptyDir: {} }

/** An object with optional keys, and with the keys in `required`. */
function some(values: Record<string, readonly unknown[]>, required: string[] = []) {
  const arbitraries = Object.entries(values).map(([key, choices]) => [key, fc.constantFrom(...choices)])
  return fc.record(Object.fromEntries(arbitraries) as Record<string, fc.Arbitrary<unknown>>, {
    requiredKeys: required,
  })
}

const langflow = some(
  {
    name: ['langflow'],
    livenessProbe: [probe],
    readinessProbe: [probe, null],
    image: ['langflowai/langflow:1.13.0'],
    startupProbe: [probe, null],
    command: [
      ['langflow', 'run'],
      ['sh', '-c', script],
    ],
    lifecycle: [{ preStop: { exec: { command: ['sleep', '1'] } } }],
    volumeMounts: [null, [], [{ name: 'data', mountPath: '/data' }]],
    securityContext: [{ runAsUser: 1000 }, { runAsUser: 0 }, {}, null],
    ports: [null, [], [{ containerPort: 7860 }], [{ name: 'web', containerPort: 7860 }]],
    env: [[{ name: 'A', value: 'a # b' }, { name: 'B', value: script }, { name: 'C' }]],
  },
  ['name', 'image', 'command'],
)
const pod = some({
  initContainers: [null, [], [{ name: 'wait', image: 'busybox', command: ['true'] }]],
  volumes: [null, [], [data]],
  securityContext: [null, {}, { fsGroup: 7 }, { supplementalGroups: [7] }],
  terminationGracePeriodSeconds: [30, 90],
  automountServiceAccountToken: [true, false],
  enableServiceLinks: [true, false],
  serviceAccountName: ['flows'],
})
const workload = fc
  .tuple(
    langflow,
    pod,
    some({ replicas: [2, 3], strategy: [null, { type: 'Recreate' }] }),
    some({ annotations: [null, {}, { note: 'ours' }] }),
    fc.constantFrom('Deployment', 'StatefulSet'),
    fc.constantFrom([], [{ name: 'sidecar', image: 'sidecar:1' }]),
  )
  .map(([langflow, pod, spec, metadata, kind, sidecars]) => ({
    apiVersion: 'apps/v1',
    kind,
    metadata: { name: 'app', ...metadata },
    spec: {
      ...spec,
      selector: { matchLabels: { app: 'flows' } },
      template: {
        metadata: { labels: { app: 'flows' } },
        spec: { containers: [langflow, ...sidecars], ...pod },
      },
    },
  }))

const service = {
  apiVersion: 'v1',
  kind: 'Service',
  metadata: { name: 'app' },
  spec: { selector: { app: 'flows' }, ports: [{ port: 7860 }] },
}
const list = (...items: object[]) => ({ apiVersion: 'v1', kind: 'List', items })

const WRITERS = {
  kubectl: (value: object) => stringify(value, { indentSeq: false }),
  flow: (value: object) => stringify(value, { collectionStyle: 'flow' }),
  json: (value: object) => `${JSON.stringify(value, null, 2)}\n`,
} as const

/** A stream that contains such a workload, alone or in a List. */
const stream = fc
  .tuple(
    workload,
    fc.constantFrom(...Object.values(WRITERS)),
    fc.constantFrom(
      (own: object) => [own],
      (own: object) => [service, own],
      (own: object) => [own, service],
      (own: object) => [list(service, own), service],
    ),
    fc.constantFrom('---\n', '...\n---\n', '# below\n---\n---\n'),
  )
  .map(([own, write, around, joint]) => around(own).map(write).join(joint))
const anyStream = fc.record({ text: stream, options: fc.constantFrom(...OPTIONS) })

describe('for any stream', () => {
  test('uninject restores the original, even after another program has rewritten the stream', () => {
    fc.assert(
      fc.property(anyStream, fc.constantFrom(...Object.values(WRITERS)), ({ text, options }, write) => {
        const anew = objectsIn(injected(text, options)).map(write).join('---\n')
        assert.deepEqual(objectsIn(uninjected(anew)).map(filled), objectsIn(text).map(filled))
      }),
      RUNS,
    )
  })

  test('inject is idempotent, and other flags replace its earlier changes', () => {
    fc.assert(
      fc.property(anyStream, fc.constantFrom(...OPTIONS), ({ text, options }, others) => {
        const twice = injected(injected(text, options), others)
        assert.deepEqual(objectsIn(twice).map(filled), objectsIn(injected(text, others)).map(filled))
      }),
      RUNS,
    )
  })
})

function objectsIn(text: string) {
  return asStream(text).objects
}

/** Removes empty values: uninject removes a list or map that was empty before, which has the same meaning. */
function filled(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(filled)
  if (!isFields(value)) return value
  const isEmpty = (one: unknown) => one === null || (typeof one === 'object' && Object.keys(one).length === 0)
  const entries = Object.entries(value).filter(([, one]) => !isEmpty(one))
  return Object.fromEntries(entries.map(([key, one]) => [key, filled(one)]))
}

describe('a later change by another program', () => {
  const text = fixture('runtime-deployment')

  test('survives uninject', () => {
    const stream = asStream(injected(text))
    const own = stream.objects.find(({ kind }) => kind === 'Deployment') as unknown as Manifest
    const { containers, volumes } = own.spec.template.spec
    containers[0].image = 'langflowai/langflow-backend:1.14.0'
    containers[0].readinessProbe = { exec: { command: ['true'] } }
    volumes.unshift({ name: 'extra', emptyDir: {} })
    own.metadata.annotations!.note = 'mine'
    const restored = uninject(stream).text
    const pod = podOf(restored)
    assert.deepEqual(pod.volumes, [{ name: 'extra', emptyDir: {} }])
    assert.equal(pod.containers[0]?.image, 'langflowai/langflow-backend:1.14.0')
    assert.deepEqual(pod.containers[0]?.readinessProbe, { exec: { command: ['true'] } })
    assert.deepEqual(find(restored, 'Deployment').metadata.annotations, { note: 'mine' })
  })

  for (const [what, from, to, message] of [
    [
      'a damaged record',
      '"changes":[',
      '"changes":[{"added":7},',
      /its annotation langflow-leader\/injected is damaged/,
    ],
    [
      'a renamed container',
      '- name: langflow-runtime',
      '- name: other',
      /it has no containers\[langflow-runtime\], which inject/,
    ],
  ] as const)
    test(`is an error if it prevents the restoration: ${what}`, () => {
      const wrapped = injected(text)
      assert.ok(wrapped.includes(from))
      for (const again of [uninjected, injected])
        assert.throws(() => again(wrapped.replace(from, to)), { name: 'FatalError', message })
    })
})

test('a stream is written as JSON if it was read as JSON', () => {
  const text = JSON.stringify(list(service, ...manifestsIn(deployment())))
  const wrapped = injected(text)
  assert.equal(JSON.parse(wrapped).items.length, 7)
  assert.deepEqual(JSON.parse(uninjected(wrapped)), JSON.parse(text))
})

test('inject changes only one place even if an alias shares it with others', () => {
  const text = `apiVersion: apps/v1
kind: Deployment
metadata: { name: app, labels: &labels { app: flows } }
spec:
  selector: { matchLabels: *labels }
  template:
    metadata: { labels: *labels }
    spec:
      containers:
        - image: &image langflowai/langflow:1.13.0
          name: langflow
          livenessProbe: &probe
            httpGet: { path: /health, port: 7860 }
          command: &command [langflow, run]
        - { name: other, image: *image, livenessProbe: *probe, command: *command }
`
  const [langflow, other] = podOf(injected(text, { container: 'langflow' })).containers
  assert.equal(langflow?.livenessProbe?.httpGet.path, '/workloadz')
  assert.equal(other?.livenessProbe?.httpGet.path, '/health')
  assert.deepEqual(other?.command, ['langflow', 'run'])
})
