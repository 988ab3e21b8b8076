import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import fc, { type GeneratorValue } from 'fast-check'
import { stringify } from 'yaml'
import { OddYaml } from './odd-yaml.ts'
import {
  deployment,
  documentsIn,
  find,
  fixture,
  injected,
  manifestsIn,
  podOf,
  uninjected,
} from './streams.ts'

/** A failure is not made smaller: each try takes a tenth of a second, and there would be thousands. */
const RUNS = { numRuns: 60, endOnFailure: true }
const OPTIONS = [{}, { traffic: 'label' }, { standby: 'warm', leaseName: 'lock' }] as const

const probe = { httpGet: { path: '/health', port: 'http' }, periodSeconds: 7 }
const script = 'set -e\n\n# not a comment\nlangflow run --port 7860\n'

/** What a Deployment or StatefulSet of LangFlow may look like, in any order of its fields. */
function workload(yaml: OddYaml): object {
  const maybe = (percent: number, key: string, ...values: unknown[]) =>
    yaml.chance(percent) ? { [key]: yaml.pick(...values) } : {}
  const langflow = shuffled(yaml, {
    name: 'langflow',
    image: 'langflowai/langflow:1.13.0',
    ...yaml.pick<object>(
      { command: ['langflow', 'run'] },
      { command: ['/bin/sh', '-c'], args: [script] },
      { command: ['sh', '-c', script] },
    ),
    ...maybe(60, 'livenessProbe', probe),
    ...maybe(60, 'readinessProbe', probe, { ...probe, initialDelaySeconds: 5 }),
    ...maybe(30, 'startupProbe', probe, null),
    ...maybe(50, 'volumeMounts', null, [], [{ name: 'data', mountPath: '/data' }]),
    ...maybe(50, 'securityContext', { runAsUser: 1000 }, { runAsUser: 0 }, {}, null),
    ...maybe(50, 'env', [
      { name: 'A', value: 'a # b' },
      { name: 'B', value: script },
    ]),
  })
  const pod = shuffled(yaml, {
    containers: [langflow, ...(yaml.chance(30) ? [{ name: 'sidecar', image: 'sidecar:1' }] : [])],
    ...maybe(40, 'initContainers', null, [], [{ name: 'wait', image: 'busybox', command: ['true'] }]),
    ...maybe(50, 'volumes', null, [], [{ name: 'data', emptyDir: {} }]),
    ...maybe(40, 'securityContext', null, {}, { fsGroup: 7 }, { supplementalGroups: [7] }),
    ...maybe(40, 'terminationGracePeriodSeconds', 30, 90),
    ...maybe(40, 'automountServiceAccountToken', true, false),
    ...maybe(40, 'serviceAccountName', 'flows'),
  })
  return shuffled(yaml, {
    apiVersion: 'apps/v1',
    kind: yaml.pick('Deployment', 'StatefulSet'),
    metadata: { name: 'app', ...maybe(50, 'annotations', null, {}, { note: 'ours' }) },
    spec: shuffled(yaml, {
      ...maybe(70, 'replicas', 2, 3),
      ...maybe(50, 'strategy', null, { type: 'Recreate' }),
      selector: { matchLabels: { app: 'flows' } },
      template: { metadata: { labels: { app: 'flows' } }, spec: pod },
    }),
  })
}

function shuffled(yaml: OddYaml, value: object): object {
  const left = Object.entries(value)
  if (yaml.chance(60)) return value
  const order: [string, unknown][] = []
  while (left.length > 0) order.push(...left.splice(yaml.pick(...left.keys()), 1))
  return Object.fromEntries(order)
}

const service = {
  apiVersion: 'v1',
  kind: 'Service',
  metadata: { name: 'app' },
  spec: { selector: { app: 'flows' }, ports: [{ port: 7860 }] },
}

/** A stream in which such a workload stands somewhere, alone or in a List. */
function stream(g: GeneratorValue): string {
  const yaml = new OddYaml(g)
  const own = workload(yaml)
  const documents = yaml.chance(20)
    ? [{ apiVersion: 'v1', kind: 'List', items: yaml.pick([own], [service, own], [own, service]) }]
    : yaml.pick([own], [service, own], [own, service])
  const texts = documents.map((document) =>
    yaml.chance(15) ? JSON.stringify(document, null, 2) : yaml.document(document),
  )
  if (yaml.chance(20))
    texts.splice(yaml.pick(0, texts.length), 0, yaml.pick('# nothing here\n', 'just: data\n'))
  const end = yaml.pick('', '---\n', '...\n', '# the end\n', '\n\n')
  const head = yaml.pick('', '---\n', '# head\n---\n', '# head\n', '--- # head\n', '\n')
  const joint = yaml.pick('---\n', '--- # next\n', '...\n---\n', '---\n\n# above\n')
  const all = head + texts.map((text) => (text.endsWith('\n') ? text : `${text}\n`)).join(joint) + end
  const cut = end === '' && yaml.chance(20) ? all.replace(/\n+$/, '') : all
  return yaml.chance(15) ? cut.replaceAll('\n', '\r\n') : cut
}

const anyStream = fc.gen().map((g) => ({ text: stream(g), options: g(fc.constantFrom, ...OPTIONS) }))

describe('whatever the stream looks like', () => {
  test('what was put in can be taken out, to the byte', () => {
    fc.assert(
      fc.property(anyStream, ({ text, options }) => {
        assert.equal(uninjected(injected(text, options)), text)
      }),
      RUNS,
    )
  })

  test('putting it in twice is putting it in once, and other flags replace it', () => {
    fc.assert(
      fc.property(anyStream, ({ text, options }) => {
        const once = injected(text, options)
        assert.equal(injected(once, options), once)
        for (const others of OPTIONS) assert.equal(injected(once, others), injected(text, others))
      }),
      { ...RUNS, numRuns: 20 },
    )
  })

  test('it is in the result, which says the same otherwise', () => {
    fc.assert(
      fc.property(anyStream, ({ text, options }) => {
        const [before, after] = [flat(text), flat(injected(text, options))]
        const [own] = after.filter(({ kind }) => /^(Deployment|StatefulSet)$/.test(kind))
        const [was] = before.filter(({ kind }) => /^(Deployment|StatefulSet)$/.test(kind))
        const [pod, podBefore] = [own?.spec.template.spec, was?.spec.template.spec]
        const [langflow, langflowBefore] = [pod.containers[0], podBefore.containers[0]]
        assert.deepEqual(langflow.command, [...langflow.command.slice(0, 5), ...langflowBefore.command])
        assert.deepEqual(rest(langflow), rest(langflowBefore))
        assert.deepEqual(rest(pod), rest(podBefore))
        assert.deepEqual(pod.containers.slice(1), podBefore.containers.slice(1))
        for (const list of ['volumes', 'initContainers'] as const) {
          const theirs = podBefore[list] ?? []
          assert.deepEqual(pod[list].slice(pod[list].length - theirs.length), theirs)
        }
        const names = pod.initContainers.map(({ name }: { name: string }) => name).slice(0, 2)
        assert.deepEqual(names, ['install', 'agent'])
        assert.equal(after.length, before.length + (podBefore.serviceAccountName ? 4 : 5))
      }),
      RUNS,
    )
  })

  test('it can be taken out after another program has written the stream anew', () => {
    fc.assert(
      fc.property(anyStream, fc.boolean(), ({ text, options }, asJson) => {
        const documents = documentsIn(injected(text, options))
        const anew = documents
          .map((one) => (asJson ? `${JSON.stringify(one)}\n` : stringify(one)))
          .join('---\n')
        assert.deepEqual(said(uninjected(anew)), said(text))
      }),
      RUNS,
    )
  })
})

/** Each object, also those in a List. */
function flat(text: string) {
  return manifestsIn(text).flatMap((manifest) => (manifest.kind === 'List' ? manifest.items : [manifest]))
}

function said(text: string): unknown[] {
  return documentsIn(text).filter((document) => document !== null)
}

const TOUCHED = [
  'command',
  'livenessProbe',
  'readinessProbe',
  'startupProbe',
  'volumeMounts',
  'containers',
  'initContainers',
  'volumes',
  'securityContext',
  'terminationGracePeriodSeconds',
  'automountServiceAccountToken',
  'serviceAccountName',
  'serviceAccount',
]

function rest(value: Record<string, unknown>): object {
  return Object.fromEntries(Object.entries(value).filter(([key]) => !TOUCHED.includes(key)))
}

describe('what others changed since', () => {
  const text = fixture('runtime-deployment')

  test('stays when it is taken out', () => {
    const edited = injected(text)
      .replace('langflow-backend:1.13.0', 'langflow-backend:1.14.0')
      .replace('      volumes:\n', '      volumes:\n        - name: extra\n          emptyDir: {}\n')
      .replace(
        '  annotations:\n    langflow-leader/injected:',
        '  annotations:\n    note: mine\n    langflow-leader/injected:',
      )
    const pod = podOf(uninjected(edited))
    assert.deepEqual(pod.volumes, [{ name: 'extra', emptyDir: {} }])
    assert.equal(pod.containers[0]?.image, 'langflowai/langflow-backend:1.14.0')
    const { metadata } = find(uninjected(edited), 'Deployment')
    assert.deepEqual((metadata as { annotations?: object }).annotations, { note: 'mine' })
  })

  test('a probe that was added by hand stays, and one that is gone comes back', () => {
    const probes = injected(text).replace(
      '          image: "langflowai',
      '          readinessProbe: { exec: { command: ["true"] } }\n          image: "langflowai',
    )
    assert.deepEqual(podOf(uninjected(probes)).containers[0]?.readinessProbe, { exec: { command: ['true'] } })
  })

  test('a record that is broken is said', () => {
    const broken = injected(text).replace('"changes":[', '"changes":[{"added":7},')
    assert.throws(() => uninjected(broken), {
      message:
        'Deployment/flows-langflow-runtime: its annotation langflow-leader/injected is not as inject wrote it: take out by hand what inject added',
    })
  })
})

describe('YAML that is rarely seen', () => {
  test('an anchor on labels and a probe that is an alias of another are kept', () => {
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
          readinessProbe: &probe
            httpGet: { path: /health, port: 7860 }   # both
          livenessProbe: *probe
          command:
            - langflow
            - run
        - { name: other, image: *image }
`
    const wrapped = injected(text)
    assert.equal(podOf(wrapped).containers[1]?.image, 'langflowai/langflow:1.13.0')
    assert.equal(podOf(wrapped).containers[0]?.livenessProbe?.httpGet.path, '/workloadz')
    assert.equal(uninjected(wrapped), text)
  })

  test('comments stay with what they are about', () => {
    const text = `${deployment({ pod: 'volumes:\n        # where flows are\n        - name: data # and nothing else\n          emptyDir: {}' })}`
    const wrapped = injected(text)
    assert.match(wrapped, /# where flows are\n +- name: data # and nothing else\n/)
    assert.match(wrapped, /volumes:\n +- name: program\n/)
    assert.equal(uninjected(wrapped), text)
  })

  test('a byte-order mark, keys that are there twice elsewhere, and long lines do no harm', () => {
    const other = `---\nkind: ConfigMap\nmetadata: { name: x }\ndata: { a: "1", a: "2", long: ${'word '.repeat(80)}end }\n`
    const text = deployment() + other
    assert.ok(injected(text).endsWith(other))
    assert.equal(uninjected(injected(text)), text)
  })
})
