import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import fc from 'fast-check'
import { stringify } from 'yaml'
import { manifestsIn } from '../../deploy/manifests.ts'
import { deployment, find, fixture, injected, podOf, uninjected } from './streams.ts'

/** A failure is not made smaller: each try takes a tenth of a second. */
const RUNS = { numRuns: 30, endOnFailure: true }
const OPTIONS = [{}, { traffic: 'front' }, { standby: 'warm', leaseName: 'lock' }] as const

const probe = { httpGet: { path: '/health', port: 'http' }, periodSeconds: 7 }
const script = 'set -e\n\n# not a comment\nlangflow run --port 7860\n'
const data = { name: 'data', emptyDir: {} }

/** An object that has each key or not; `required`: those that it always has. */
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
  plain: (value: object) => stringify(value),
  kubectl: (value: object) => stringify(value, { indentSeq: false, lineWidth: 0 }),
  wide: (value: object) => stringify(value, { indent: 4, defaultStringType: 'QUOTE_SINGLE' }),
  flow: (value: object) => stringify(value, { collectionStyle: 'flow' }),
  json: (value: object) => `${JSON.stringify(value, null, 2)}\n`,
  commented: (value: object) => commented(stringify(value), 3),
  crowded: (value: object) => commented(stringify(value), 2),
} as const

/** With a comment above some lines, and one behind others. */
function commented(text: string, every: number): string {
  const lines = text.split('\n').map((line, i) => {
    if (line === '' || i % every > 1) return line
    return i % every === 1 ? `${line} # aside ${i}` : `${/^ */.exec(line)}# above ${i}\n${line}`
  })
  return lines.join('\n')
}

/** A stream in which such a workload stands somewhere, alone or in a List. */
const stream = fc
  .tuple(
    workload,
    fc.constantFrom(...Object.values(WRITERS)),
    fc.constantFrom(
      (own: object) => [own],
      (own: object) => [service, own],
      (own: object) => [own, service],
      (own: object) => [list(own)],
      (own: object) => [list(service, own), service],
    ),
    fc.constantFrom('', '---\n', '# head\n---\n', '# head\n', '# head\n\n', '---\n# Source: chart\n'),
    fc.constantFrom('---\n', '--- # next\n', '...\n---\n', '---\n\n# above\n', '# below\n---\n---\n'),
    fc.constantFrom('', '---\n', '...\n', '# the end\n'),
  )
  .map(([own, write, around, head, joint, end]) => head + around(own).map(write).join(joint) + end)
const anyStream = fc.record({ text: stream, options: fc.constantFrom(...OPTIONS) })

describe('whatever the stream looks like', () => {
  test('what was put in can be taken out, also after another program has written the stream anew', () => {
    fc.assert(
      fc.property(anyStream, fc.constantFrom(null, 'plain', 'json'), ({ text, options }, writer) => {
        const wrapped = injected(text, options)
        const anew = writer === null ? wrapped : manifestsIn(wrapped).map(WRITERS[writer]).join('---\n')
        assert.deepEqual(manifestsIn(uninjected(anew)), manifestsIn(text))
      }),
      RUNS,
    )
  })

  test('putting it in twice is putting it in once, and other flags replace it', () => {
    fc.assert(
      fc.property(anyStream, fc.constantFrom(...OPTIONS), ({ text, options }, others) => {
        const twice = injected(injected(text, options), others)
        assert.deepEqual(manifestsIn(twice), manifestsIn(injected(text, others)))
      }),
      RUNS,
    )
  })

  test('what it does not change is the same in the result, and lists end as they did', () => {
    fc.assert(
      fc.property(anyStream, ({ text, options }) => {
        const [before, after] = [podIn(text), podIn(injected(text, options))]
        const [langflowBefore, langflow] = [before.containers[0], after.containers[0]]
        assert.deepEqual(untouched(langflow), untouched(langflowBefore))
        assert.deepEqual(untouched(after), untouched(before))
        assert.deepEqual(after.containers.slice(1), before.containers.slice(1))
        for (const [list, theirs] of [
          [langflow.command, langflowBefore.command],
          [langflow.env ?? [], langflowBefore.env],
          [langflow.volumeMounts, langflowBefore.volumeMounts],
          [after.volumes, before.volumes],
          [after.initContainers, before.initContainers],
        ])
          assert.deepEqual(list.slice(list.length - (theirs ?? []).length), theirs ?? [])
      }),
      RUNS,
    )
  })
})

/** The pod of the only workload, also in a List. */
function podIn(text: string) {
  const all = manifestsIn(text).flatMap((manifest) =>
    manifest.kind === 'List' ? manifest.items : [manifest],
  )
  return all.find(({ kind }) => kind === 'Deployment' || kind === 'StatefulSet').spec.template.spec
}

const TOUCHED =
  'command env ports livenessProbe readinessProbe startupProbe volumeMounts containers initContainers volumes securityContext terminationGracePeriodSeconds automountServiceAccountToken serviceAccountName serviceAccount'

function untouched(value: Record<string, unknown>): object {
  return Object.fromEntries(Object.entries(value).filter(([key]) => !TOUCHED.split(' ').includes(key)))
}

describe('what others changed since', () => {
  const text = fixture('runtime-deployment')

  test('stays when it is taken out', () => {
    const edited = injected(text)
      .replace('langflow-backend:1.13.0', 'langflow-backend:1.14.0')
      .replace('          image: "', '          readinessProbe: { exec: { command: ["true"] } }\n$&')
      .replace('      volumes:\n', '      volumes:\n        - name: extra\n          emptyDir: {}\n')
      .replace(/( +)langflow-leader\/injected:/, '$1note: mine\n$&')
    const pod = podOf(uninjected(edited))
    assert.deepEqual(pod.volumes, [{ name: 'extra', emptyDir: {} }])
    assert.equal(pod.containers[0]?.image, 'langflowai/langflow-backend:1.14.0')
    assert.deepEqual(pod.containers[0]?.readinessProbe, { exec: { command: ['true'] } })
    assert.deepEqual(find(uninjected(edited), 'Deployment').metadata.annotations, { note: 'mine' })
  })

  test('a record that is broken is said', () => {
    const broken = injected(text).replace('"changes":[', '"changes":[{"added":7},')
    assert.throws(() => uninjected(broken), {
      message:
        'Deployment/flows-langflow-runtime: its annotation langflow-leader/injected is not as this inject writes it: take out what inject added with the version that added it, or by hand',
    })
  })
})

describe('the text', () => {
  test('is the same when it is put in twice', () => {
    const others = '# below\n---\n---\nkind: Other\n...\n'
    const json = JSON.stringify(manifestsIn(deployment())[0])
    const charts = [fixture('stateful-backend'), fixture('runtime-deployment')]
    for (const text of [...charts, deployment() + others, json]) {
      const once = injected(text, { traffic: 'front' })
      assert.equal(injected(once, { traffic: 'front' }), once)
    }
  })

  test('of what inject has nothing to do with stays as it is to the byte', () => {
    const odd = '%TAG ! tag:example.org,2026:\n---\n? [complex, key]\n: !thing { a:   b, a: c }\n...\n'
    const long = `---\nkind: ConfigMap\nmetadata: { name: x }\ndata: { a: "1", long: ${'word '.repeat(80)}end }\n`
    const text = `${odd}---\n${deployment()}${long}`
    for (const one of [injected(text), uninjected(injected(text))])
      assert.ok(one.startsWith(odd) && one.endsWith(long))
  })

  test('keeps comments with what they are about, and the order of keys', () => {
    const text = `# ours
apiVersion: apps/v1
kind: Deployment
metadata:
  name: app
spec:
  replicas: 2
  template:
    metadata:
      labels:
        app: flows
    spec:
      # until the last flow has ended
      terminationGracePeriodSeconds: 30 # half a minute
      containers:
        # it
        - name: langflow # by this name it is found
          readinessProbe:
            httpGet:
              path: /health
          image: langflow
          command:
            # as its documentation says
            - langflow
            - run
      volumes:
        # where flows are
        - name: data # and nothing else
          emptyDir: {}
`
    const wrapped = injected(text, { traffic: 'front' })
    assert.match(wrapped, /# where flows are\n +- name: data # and nothing else\n/)
    assert.match(wrapped, /# until the last flow has ended\n +\w+: 75 # half a minute\n/)
    assert.match(wrapped, /volumes:\n +- name: program\n/)
    const restored = uninjected(wrapped)
    assert.equal(restored.slice(restored.indexOf('# ours')), text)
  })

  test('keeps numbers as they are written, which kubectl may read differently', () => {
    const pod = 'volumes: [{ name: x, secret: { secretName: x, defaultMode: 0640 } }]'
    assert.match(injected(deployment({ pod })), /defaultMode: 0640 /)
  })

  test('quotes what kubectl would not take for text', () => {
    const wrapped = injected(deployment({ command: '' }), { entrypoint: ['langflow', 'run', 'on', '0b1'] })
    assert.match(wrapped, /- "on"\n +- "0b1"\n/)
  })

  test('has its lists indented as they were', () => {
    const kubectl = stringify(manifestsIn(deployment())[0], { indentSeq: false })
    assert.match(injected(kubectl), /\n {6}volumes:\n {6}- name: program\n/)
    assert.match(injected(stringify(manifestsIn(deployment())[0])), /\n {6}volumes:\n {8}- name: program\n/)
  })

  test('stays JSON', () => {
    const text = JSON.stringify(list(service, ...manifestsIn(deployment())))
    assert.equal(JSON.parse(injected(text)).items.length, 7)
    assert.deepEqual(JSON.parse(uninjected(injected(text))), JSON.parse(text))
  })

  test('has its aliases written out where something is changed', () => {
    const text = `apiVersion: apps/v1
kind: Deployment
metadata: { name: app, labels: &labels { app: flows } }
spec:
  selector: { matchLabels: *labels }
  template:
    metadata: { labels: *labels }
    spec:
      volumes: &v [{ name: x, emptyDir: {} }]
      containers:
        - image: &image langflowai/langflow:1.13.0
          name: langflow
          readinessProbe: &probe
            httpGet: { path: /health, port: 7860 }
          livenessProbe: *probe
          command: [langflow, run]
        - { name: other, image: *image, livenessProbe: *probe }
`
    const wrapped = injected(text)
    const [langflow, other] = podOf(wrapped).containers
    assert.equal(other?.image, 'langflowai/langflow:1.13.0')
    assert.equal(langflow?.livenessProbe?.httpGet.path, '/workloadz')
    assert.equal(other?.livenessProbe?.httpGet.path, '/health')
    assert.deepEqual(manifestsIn(uninjected(wrapped)), manifestsIn(text))
  })
})
