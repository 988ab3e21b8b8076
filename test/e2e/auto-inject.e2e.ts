import assert from 'node:assert/strict'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { stringify } from 'yaml'
import { VERSION } from '../../agent/version.ts'
import { agentOptionsOf, plainEnv } from '../deploy/consistency.ts'
import { type Container, DEPLOY, type Manifest, named, type PodSpec } from '../deploy/manifests.ts'
import { type ControlPlane, startControlPlane } from '../harness/control-plane.ts'
import { until } from '../harness/wait.ts'
import { find, injected, podOf } from '../inject/streams.ts'

const FOLDER = join(DEPLOY, 'components/auto-inject')
const TOKEN = '/var/run/secrets/kubernetes.io/serviceaccount'

/** As the API server answers. */
interface Pod extends Manifest {
  spec: PodSpec
}

/** A pod with LangFlow as others deploy it. `more`: what is otherwise in its spec, or in LangFlow's container. */
function plainPod(more: { spec?: object; langflow?: object; annotations?: object; labelled?: boolean } = {}) {
  return {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: {
      name: 'one',
      labels: more.labelled === false ? {} : { 'langflow-leader/inject': 'true' },
      annotations: more.annotations ?? {},
    },
    spec: {
      containers: [
        {
          name: 'langflow',
          image: 'langflowai/langflow:1.13.0',
          command: ['langflow', 'run'],
          args: ['--port', '7860'],
          readinessProbe: { httpGet: { path: '/health', port: 7860 } },
          ...more.langflow,
        },
      ],
      ...more.spec,
    },
  }
}

/** The same pod, with lists whose order means nothing sorted. */
function inOrder(spec: PodSpec) {
  const byName = <T extends { name: string }>(list: readonly T[] = []) =>
    [...list].sort((a, b) => a.name.localeCompare(b.name))
  const sorted = (containers: readonly Container[]) =>
    containers.map((one) => ({ ...one, env: byName(one.env), volumeMounts: byName(one.volumeMounts) }))
  return {
    ...spec,
    volumes: byName(spec.volumes),
    initContainers: sorted(spec.initContainers),
    containers: sorted(spec.containers),
  }
}

describe('deploy/components/auto-inject on kube-apiserver', () => {
  let plane: ControlPlane
  let namespace: string
  let here: string

  before(async () => {
    plane = await startControlPlane({ podAdmission: true })
    await plane.kubectl(['apply', '-k', FOLDER, '--validate=strict'])
    namespace = await preparedNamespace()
    here = `--namespace=${namespace}`
    // Each policy, and what it reads, is in force some moments after it was made, in no order.
    const unfit = plainPod({ spec: { hostPID: true } })
    const refused = async () => /ValidatingAdmissionPolicy.*hostPID/.test(await refusal(unfit))
    await until('the validating policy is in force', refused)
    await until('the mutating policy is in force', async () => (await refusal(plainPod())) === '')
  })
  after(() => plane?.close())

  async function preparedNamespace(): Promise<string> {
    const name = await plane.newNamespace()
    await plane.kubectl(['create', 'serviceaccount', 'default', `--namespace=${name}`])
    await plane.kubectl([
      'apply',
      '-k',
      join(FOLDER, 'namespace'),
      '--validate=strict',
      `--namespace=${name}`,
    ])
    return name
  }
  /** The pod as the API server would store it. Rejects with the sentence of the refusal. */
  async function admitted(pod: object, inNamespace = namespace): Promise<Pod> {
    const args = ['create', '--dry-run=server', '--output=json', `--namespace=${inNamespace}`, '-f', '-']
    return JSON.parse((await plane.kubectl(args, JSON.stringify(pod))).stdout) as Pod
  }
  /** Why the API server refuses the pod, empty if it does not. */
  const refusal = (pod: object, inNamespace = namespace) => admitted(pod, inNamespace).then(() => '', String)

  /** What its author wrote: LangFlow's container, and the rest of the spec. `inject`'s own tests say what becomes of it. */
  const pods: Record<string, Parameters<typeof plainPod>[0]> = {
    'a LangFlow alone': {},
    'volumes, containers, variables and a time to end of its own': {
      langflow: {
        env: [{ name: 'A', value: 'b' }],
        volumeMounts: [{ name: 'mine', mountPath: '/mine' }],
        ports: [{ name: 'http', containerPort: 7860 }],
      },
      spec: {
        terminationGracePeriodSeconds: 300,
        volumes: [{ name: 'mine', emptyDir: {} }],
        initContainers: [{ name: 'first', image: 'first' }],
      },
    },
    'a form of the log of its own': {
      langflow: { env: [{ name: 'LANGFLOW_LOG_ENV', value: 'container_csv' }] },
    },
    'a form of the log in its script': { langflow: { args: ['LANGFLOW_LOG_ENV=x langflow run'] } },
    'variables from elsewhere': { langflow: { envFrom: [{ configMapRef: { name: 'c' } }] } },
    'variables from a Secret': { langflow: { envFrom: [{ secretRef: { name: 's' } }] } },
    'a user of the pod': { spec: { securityContext: { runAsUser: 1234 } } },
    'a user and a group of the container': {
      spec: { securityContext: { runAsUser: 5 } },
      langflow: { securityContext: { runAsUser: 6, runAsGroup: 7 } },
    },
    'an owner of volumes': { spec: { securityContext: { fsGroup: 9 } } },
    groups: { spec: { securityContext: { runAsGroup: 8, supplementalGroups: [3] } } },
    root: { spec: { securityContext: { runAsUser: 0, supplementalGroups: [3] } } },
    'a port as an argument': {
      langflow: {
        args: ['--port=7861'],
        env: [{ name: 'LANGFLOW_PORT', value: '7862' }],
        ports: [{ containerPort: 8000 }],
      },
    },
    'a port as a variable': {
      langflow: {
        args: [],
        env: [{ name: 'LANGFLOW_PORT', value: '7862' }],
        ports: [{ containerPort: 8000 }],
      },
    },
    'ports of other names': {
      langflow: {
        ports: [
          { name: 'web', containerPort: 7860 },
          { name: 'http', containerPort: 9000 },
        ],
      },
    },
    'a port without a name beside one that has the usual': {
      langflow: { ports: [{ containerPort: 7860 }, { name: 'http', containerPort: 9000 }] },
    },
    'a container whose port has the usual name': {
      spec: {
        containers: [
          ...plainPod().spec.containers,
          { name: 'proxy', image: 'proxy', ports: [{ name: 'http', containerPort: 4180 }] },
        ],
      },
    },
    'a port of the container': { langflow: { args: [], ports: [{ containerPort: 8000 }] } },
    'a shell': { langflow: { command: ['bash', '-c', 'langflow run --port "7863"'], args: [] } },
  }
  for (const [what, parts] of Object.entries(pods)) {
    test(`a labelled pod comes out as \`inject\` writes it: ${what}`, async () => {
      for (const [standby, traffic] of [
        ['cold', 'readiness'],
        ['warm', 'front'],
      ] as const) {
        const { spec } = plainPod(parts)
        const manifest = { apiVersion: 'apps/v1', kind: 'Deployment', metadata: { name: 'a' } }
        const template = { metadata: { labels: { app: 'a' } }, spec }
        const image = `langflow-leader:${VERSION}`
        const text = injected(stringify({ ...manifest, spec: { template } }), { image, standby, traffic })
        const account = find(text, 'ServiceAccount').metadata.name
        await plane.kubectl(['create', 'serviceaccount', account, here]).catch(() => {})
        const wanted = await admitted({ ...plainPod({ labelled: false }), spec: podOf(text) })
        const annotations = {
          'langflow-leader/lease-name': find(text, 'Lease').metadata.name,
          'langflow-leader/peers': `${find(text, 'Service').metadata.name}:8090`,
          ...(standby === 'cold' ? {} : { 'langflow-leader/standby': standby }),
          ...(traffic === 'readiness' ? {} : { 'langflow-leader/traffic': traffic }),
        }
        const own = { ...plainPod({ annotations }), spec: { ...spec, serviceAccountName: account } }
        assert.deepEqual(inOrder((await admitted(own)).spec), inOrder(wanted.spec))
      }
    })
  }

  test('a pod keeps its account, and only the agent has a token', async () => {
    await plane.kubectl(['create', 'serviceaccount', 'mine', here])
    const { spec } = await admitted(plainPod({ spec: { serviceAccountName: 'mine' } }))
    assert.equal(spec.serviceAccountName, 'mine')
    assert.equal((await admitted(plainPod())).spec.serviceAccountName, 'langflow-leader')
    const mounts = [...spec.containers, ...spec.initContainers].flatMap(({ name, volumeMounts = [] }) =>
      volumeMounts.flatMap(({ mountPath }) => (mountPath === TOKEN ? [name] : [])),
    )
    assert.deepEqual(mounts, ['agent'])
  })

  test('a pod without the label is left alone', async () => {
    const { spec } = await admitted(plainPod({ labelled: false }))
    assert.equal(spec.initContainers, undefined)
    assert.deepEqual(named(spec.containers, 'langflow').command, ['langflow', 'run'])
  })

  test('a pod that has it all already is left alone', async () => {
    const once = await admitted(plainPod())
    const again = await admitted({ ...once, metadata: plainPod().metadata })
    assert.deepEqual(again.spec, once.spec)
  })

  test('every flag is an annotation of the pod, or a default of its namespace', async () => {
    const own = await preparedNamespace()
    const data = { standby: 'cold', 'drain-timeout': '5s' }
    const settings = ['configmap', 'langflow-leader', `--namespace=${own}`]
    await plane.kubectl(['patch', ...settings, '--type=merge', '--patch', JSON.stringify({ data })])
    const annotations = {
      'langflow-leader/standby': 'warm',
      'langflow-leader/traffic': 'front',
      'langflow-leader/hold-timeout': '10s',
      'langflow-leader/stop-timeout': '20s',
      'langflow-leader/entrypoint': 'tini -- langflow  run',
      'langflow-leader/target': 'http://127.0.0.1:7',
    }
    const ports = [{ containerPort: 8000 }, { name: 'web', containerPort: 7 }]
    const pod = plainPod({ annotations, langflow: { command: undefined, args: [], ports } })
    const patched = async () => {
      const { spec } = await admitted(pod, own)
      return plainEnv(named(spec.initContainers, 'agent')).LEADER_DRAIN_TIMEOUT === '5s'
    }
    await until('the policies read what was patched', () => patched().catch(() => false))
    const { spec } = await admitted(pod, own)
    const agent = named(spec.initContainers, 'agent')
    const told = await agentOptionsOf(agent)
    assert.deepEqual(
      [told.standby, told.traffic.mode, told.drainTimeoutMs, told.stopTimeoutMs, told.holdTimeoutMs],
      ['warm', 'front', 5_000, 20_000, 10_000],
    )
    assert.deepEqual(told.peers, [{ host: 'langflow-members', port: 8090 }])
    const targets = agent.env?.flatMap(({ name, value }) => (name === 'LEADER_TARGET' ? [value] : []))
    assert.deepEqual(targets, ['http://127.0.0.1:7'])
    const led = named(spec.containers, 'langflow').ports?.map(({ name, containerPort }) => [
      name,
      containerPort,
    ])
    assert.deepEqual(led, [
      [undefined, 8000],
      ['web', 8091],
    ])
    assert.equal(agent.readinessProbe?.httpGet.path, '/frontz')
    const langflow = named(spec.containers, 'langflow')
    assert.deepEqual(langflow.env, [
      { name: 'LEADER_STOP_TIMEOUT', value: '20s' },
      { name: 'LANGFLOW_LOG_ENV', value: 'container' },
    ])
    assert.deepEqual(langflow.command!.slice(-4), ['tini', '--', 'langflow', 'run'])
  })

  const refused: Record<string, [Parameters<typeof plainPod>[0], RegExp]> = {
    hostPID: [{ spec: { hostPID: true } }, /cannot run with hostPID: .*Remove hostPID\.$/],
    hostNetwork: [{ spec: { hostNetwork: true } }, /Remove hostNetwork\.$/],
    shareProcessNamespace: [{ spec: { shareProcessNamespace: true } }, /Remove shareProcessNamespace\.$/],
    'an image whose entrypoint is unknown': [
      { langflow: { command: undefined } },
      /cannot know what the image of the container langflow starts: .* annotation langflow-leader\/entrypoint/,
    ],
    'several containers of which none is named': [
      {
        spec: {
          containers: [
            { name: 'a', image: 'a' },
            { name: 'b', image: 'b' },
          ],
        },
      },
      /finds no container named langflow: say in the annotation langflow-leader\/container/,
    ],
    'an annotation that nobody knows': [
      { annotations: { 'langflow-leader/stand-by': 'warm' } },
      /does not know the annotation langflow-leader\/stand-by: use container, entrypoint, lease-name, /,
    ],
    'an agent that is not ours': [
      { spec: { initContainers: [{ name: 'agent', image: 'a' }] } },
      /the container langflow was not given the launcher: .* no init container of your own named agent\?$/,
    ],
    'a token of its own in LangFlow': [
      {
        langflow: { volumeMounts: [{ name: 'mine', mountPath: TOKEN }] },
        spec: {
          volumes: [{ name: 'mine', emptyDir: {} }],
          containers: [
            { ...plainPod().spec.containers[0], volumeMounts: [{ name: 'mine', mountPath: TOKEN }] },
          ],
        },
      },
      /the container langflow must have no token of its own/,
    ],
  }
  for (const [what, [more, sentence]] of Object.entries(refused)) {
    test(`refused with a sentence: ${what}`, async () => {
      await assert.rejects(admitted(plainPod(more)), (error: Error) => {
        assert.match(error.message.trim(), sentence)
        return true
      })
    })
  }

  test('refused with a sentence: a namespace that was not prepared, or names no image', async () => {
    const bare = await plane.newNamespace()
    await plane.kubectl(['create', 'serviceaccount', 'default', `--namespace=${bare}`])
    await assert.rejects(admitted(plainPod(), bare), /no params found/)
    await plane.kubectl(['create', 'configmap', 'langflow-leader', `--namespace=${bare}`])
    await until('the policy reads the ConfigMap', async () =>
      /names no image: set image to where/.test(await refusal(plainPod(), bare)),
    )
  })

  test('refused, not run unprotected: the mutating policy is gone', async () => {
    await plane.kubectl(['delete', 'mutatingadmissionpolicybinding', 'langflow-leader-inject'])
    await until('it is in force no more', async () => (await refusal(plainPod())) !== '')
    assert.match(
      await refusal(plainPod()),
      /was not given the launcher: is the MutatingAdmissionPolicy .* there/,
    )
  })
})
