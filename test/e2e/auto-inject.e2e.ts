import assert from 'node:assert/strict'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { stringify } from 'yaml'
import { inject } from '../../agent/inject/inject.ts'
import { VERSION } from '../../agent/version.ts'
import { agentOptionsOf, plainEnv } from '../deploy/consistency.ts'
import { BASE, DEPLOY, manifestsIn, named, only, type PodSpec, readManifests } from '../deploy/manifests.ts'
import { type ControlPlane, startControlPlane } from '../harness/control-plane.ts'
import { until } from '../harness/wait.ts'
import { inOrder, type Pod, plainPod } from './plain-pod.ts'

const FOLDER = join(DEPLOY, 'components/auto-inject')
const TOKEN = '/var/run/secrets/kubernetes.io/serviceaccount'
const template = only(readManifests(BASE).values(), 'Deployment').spec.template as { spec: PodSpec }

describe('deploy/components/auto-inject on kube-apiserver', () => {
  let plane: ControlPlane
  let namespace: string

  before(async () => {
    plane = await startControlPlane({ podAdmission: true })
    await plane.kubectl(['apply', '-k', FOLDER, '--validate=strict'])
    namespace = await preparedNamespace()
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

  test('a labelled pod comes out as deploy/base has it', async () => {
    const { spec } = await admitted(plainPod())
    const based = (
      await admitted({
        ...plainPod({ labelled: false }),
        spec: template.spec,
      })
    ).spec
    for (const name of ['install', 'agent']) {
      const { securityContext, image, imagePullPolicy: _, ...rest } = named(spec.initContainers, name)
      const {
        securityContext: restricted,
        image: _image,
        imagePullPolicy: _policy,
        ...wanted
      } = named(based.initContainers, name)
      assert.deepEqual(rest, wanted)
      assert.equal(image, `langflow-leader:${VERSION}`)
      const more = { runAsNonRoot: true, seccompProfile: { type: 'RuntimeDefault' } }
      assert.deepEqual(securityContext, { ...restricted, ...more })
    }
    // As whom LangFlow runs is unknown: it shares the agent's group.
    assert.deepEqual(spec.securityContext, { supplementalGroups: [1000] })
    const ours = ['program', 'socket', 'agent-state', 'token']
    assert.deepEqual(
      spec.volumes,
      ours.map((name) => named(based.volumes, name)),
    )
    const langflow = named(spec.containers, 'langflow')
    const wanted = named(based.containers, 'langflow')
    assert.deepEqual(langflow.command, [...wanted.command!, 'langflow', 'run'])
    assert.deepEqual(langflow.args, ['--port', '7860'])
    assert.deepEqual(langflow.volumeMounts, wanted.volumeMounts.slice(0, 2))
    assert.deepEqual(langflow.livenessProbe, wanted.livenessProbe)
    assert.deepEqual(langflow.startupProbe, wanted.startupProbe)
    assert.equal(langflow.readinessProbe, undefined)
    assert.equal(spec.serviceAccountName, 'langflow-leader')
    assert.equal(spec.automountServiceAccountToken, false)
    assert.equal(spec.terminationGracePeriodSeconds, based.terminationGracePeriodSeconds)
  })

  test('what its author wrote stays, behind and beside it', async () => {
    const mine = { name: 'mine', emptyDir: {} }
    const mount = { name: 'mine', mountPath: '/mine' }
    const pod = plainPod({
      langflow: { env: [{ name: 'A', value: 'b' }], volumeMounts: [mount] },
      spec: {
        serviceAccountName: 'mine',
        terminationGracePeriodSeconds: 300,
        securityContext: { runAsUser: 1234 },
        volumes: [mine],
        initContainers: [{ name: 'first', image: 'first' }],
      },
    })
    await plane.kubectl(['create', 'serviceaccount', 'mine', `--namespace=${namespace}`])
    const { spec } = await admitted(pod)
    assert.deepEqual(
      spec.initContainers.map(({ name }) => name),
      ['install', 'agent', 'first'],
    )
    assert.equal(named(spec.initContainers, 'agent').securityContext.runAsUser, 1234)
    assert.deepEqual([spec.serviceAccountName, spec.terminationGracePeriodSeconds], ['mine', 300])
    assert.deepEqual(named(spec.volumes, 'mine'), mine)
    const { env, volumeMounts } = named(spec.containers, 'langflow')
    assert.deepEqual([env, volumeMounts[0]], [[{ name: 'A', value: 'b' }], mount])
    const mounts = [...spec.containers, ...spec.initContainers].flatMap((container) =>
      (container.volumeMounts ?? []).map(({ mountPath }) => [container.name, mountPath]),
    )
    assert.deepEqual(
      mounts.filter(([, path]) => path === TOKEN),
      [['agent', TOKEN]],
    )
  })

  test('agent and LangFlow share a user or a group', async () => {
    const added = async (pod: object, langflow: object) => {
      const { spec } = await admitted(
        plainPod({ spec: { securityContext: pod }, langflow: { securityContext: langflow } }),
      )
      const { runAsUser, runAsGroup } = named(spec.initContainers, 'agent').securityContext
      return [runAsUser, runAsGroup, spec.securityContext.supplementalGroups]
    }
    const none = undefined
    assert.deepEqual(await added({ runAsUser: 5 }, { runAsUser: 6, runAsGroup: 7 }), [6, 7, none])
    assert.deepEqual(await added({ fsGroup: 9 }, {}), [none, none, none])
    assert.deepEqual(await added({ runAsGroup: 8, supplementalGroups: [3] }, {}), [none, none, [3]])
    assert.deepEqual(await added({ runAsUser: 0, supplementalGroups: [3] }, {}), [1000, 1000, [3, 1000]])
  })

  test('the agent asks LangFlow where it listens', async () => {
    const target = async (langflow: object, annotations = {}) => {
      const { spec } = await admitted(plainPod({ langflow, annotations }))
      return plainEnv(named(spec.initContainers, 'agent')).LEADER_TARGET
    }
    const ports = [{ containerPort: 8000 }]
    const env = [{ name: 'LANGFLOW_PORT', value: '7862' }]
    assert.equal(await target({ args: ['--port', '7860'], ports }), undefined)
    assert.equal(await target({ args: ['--port=7861'], env, ports }), 'http://127.0.0.1:7861')
    assert.equal(await target({ args: [], env, ports }), 'http://127.0.0.1:7862')
    assert.equal(await target({ args: [], ports }), 'http://127.0.0.1:8000')
    const said = { 'langflow-leader/target': 'http://127.0.0.1:7' }
    assert.equal(await target({ ports }, said), 'http://127.0.0.1:7')
    const shell = { command: ['bash', '-c', 'langflow run --port "7863"'], args: [] }
    assert.equal(await target(shell), 'http://127.0.0.1:7863')
  })

  test('it is what `inject` writes into a template', async () => {
    const port = { name: 'http', containerPort: 7861 }
    const { spec } = plainPod({
      langflow: { args: ['--port=7861'], ports: [port], env: [{ name: 'A', value: 'b' }] },
      spec: {
        volumes: [{ name: 'data', emptyDir: {} }],
        initContainers: [{ name: 'first', image: 'first' }],
      },
    })
    const options = {
      container: null,
      entrypoint: null,
      image: `langflow-leader:${VERSION}`,
      leaseName: null,
    }
    const manifest = { apiVersion: 'apps/v1', kind: 'Deployment', metadata: { name: 'a' } }
    const text = stringify({ ...manifest, spec: { template: { metadata: { labels: { app: 'a' } }, spec } } })
    const written = inject(
      { text, parts: [{ name: 'a.yaml', firstLine: 0 }] },
      { ...options, standby: 'warm', traffic: 'label' },
    )
    const manifests = manifestsIn(written.text)
    const account = only(manifests, 'ServiceAccount').metadata.name
    await plane.kubectl(['create', 'serviceaccount', account, `--namespace=${namespace}`])
    const wanted = await admitted({
      ...plainPod({ labelled: false }),
      spec: only(manifests, 'Deployment').spec.template.spec,
    })
    const annotations = {
      'langflow-leader/lease-name': only(manifests, 'Lease').metadata.name,
      'langflow-leader/peers': `${only(manifests, 'Service').metadata.name}:8090`,
      'langflow-leader/standby': 'warm',
      'langflow-leader/traffic': 'label',
    }
    const pod = plainPod({ annotations })
    const injected = await admitted({ ...pod, spec: { ...spec, serviceAccountName: account } })
    assert.deepEqual(inOrder(injected.spec), inOrder(wanted.spec))
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
      'langflow-leader/traffic': 'label',
      'langflow-leader/stop-timeout': '20s',
      'langflow-leader/entrypoint': 'tini -- langflow  run',
    }
    const pod = plainPod({ annotations, langflow: { command: undefined } })
    const patched = async () => {
      const { spec } = await admitted(pod, own)
      return plainEnv(named(spec.initContainers, 'agent')).LEADER_DRAIN_TIMEOUT === '5s'
    }
    await until('the policies read what was patched', () => patched().catch(() => false))
    const { spec } = await admitted(pod, own)
    const agent = named(spec.initContainers, 'agent')
    const told = await agentOptionsOf(agent)
    assert.deepEqual(
      [told.standby, told.traffic.mode, told.drainTimeoutMs, told.stopTimeoutMs],
      ['warm', 'label', 5_000, 20_000],
    )
    assert.deepEqual(told.peers, { host: 'langflow-members', port: 8090 })
    assert.equal(agent.readinessProbe?.httpGet.path, '/readyz?exclude=leadership')
    const langflow = named(spec.containers, 'langflow')
    assert.deepEqual(langflow.env, [{ name: 'LEADER_STOP_TIMEOUT', value: '20s' }])
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
