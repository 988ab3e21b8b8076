import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { uninject } from '../../agent/inject/inject.ts'
import { BASE, only, readManifests } from '../deploy/manifests.ts'
import {
  agentOf,
  asInput,
  deployment,
  find,
  fixture,
  injected,
  manifestsIn,
  podOf,
  uninjected,
  variable,
  warningsOf,
} from './streams.ts'

const LAUNCH = [
  '/opt/langflow-leader/node',
  '--disable-sigusr1',
  '/opt/langflow-leader/langflow-leader.mjs',
  'launch',
  '--',
]
/** Lines that are changed, and kept in the record. */
const OF_PROBES_AND_COMMAND =
  /^ *((readiness|liveness)Probe:|httpGet:|path: \/.*|port: http|\w+(Seconds|Threshold): \d+ *|command: .*|)$/
const ide = fixture('stateful-backend')
const runtime = fixture('runtime-deployment')

describe('the charts’ workloads', () => {
  for (const [name, text, kind, workload] of [
    ['langflow-ide', ide, 'StatefulSet', 'flows'],
    ['langflow-runtime', runtime, 'Deployment', 'flows-langflow-runtime'],
  ] as const) {
    test(`${name}: its shell is started by the launcher, with the same arguments`, () => {
      const [before] = podOf(text, kind, workload).containers
      const [after] = podOf(injected(text), kind, workload).containers
      assert.deepEqual(after?.command, [...LAUNCH, '/bin/bash', '-c'])
      assert.deepEqual(after?.args, before?.args)
    })

    test(`${name}: only the agent has a token, and probes ask only the agent`, () => {
      const pod = podOf(injected(text), kind, workload)
      assert.equal(pod.automountServiceAccountToken, false)
      const all = [...pod.initContainers, ...pod.containers]
      const mounting = (volume: string) =>
        all
          .filter(({ volumeMounts }) => volumeMounts.some(({ name }) => name === volume))
          .map(({ name }) => name)
      assert.deepEqual(mounting('token'), ['agent'])
      assert.deepEqual(mounting('agent-state'), ['agent'])
      const [langflow] = pod.containers
      assert.equal(langflow?.readinessProbe, undefined)
      for (const probe of [langflow?.startupProbe, langflow?.livenessProbe])
        assert.deepEqual(probe?.httpGet, { path: '/workloadz', port: 8090 })
      const readOnly = langflow?.volumeMounts.filter((mount) => mount.readOnly).map(({ name }) => name)
      assert.deepEqual(readOnly, ['program', 'socket'])
    })

    test(`${name}: the added containers meet the Pod Security Standard "restricted" by themselves`, () => {
      for (const { securityContext } of podOf(injected(text), kind, workload).initContainers) {
        assert.deepEqual(securityContext, {
          allowPrivilegeEscalation: false,
          readOnlyRootFilesystem: true,
          runAsNonRoot: true,
          runAsUser: 1000,
          runAsGroup: 1000,
          capabilities: { drop: ['ALL'] },
          seccompProfile: { type: 'RuntimeDefault' },
        })
      }
    })

    test(`${name}: everything else of the stream stays as it is`, () => {
      for (const options of [{}, { traffic: 'label' }] as const) {
        const lines = new Set(injected(text, options).split('\n'))
        const gone = text.split('\n').filter((line) => !lines.has(line))
        assert.deepEqual(
          gone.filter((line) => !OF_PROBES_AND_COMMAND.test(line)),
          [],
        )
      }
    })

    test(`${name}: has what deploy/base has`, () => {
      const pod = podOf(injected(text), kind, workload)
      const base = only(readManifests(BASE).values(), 'Deployment').spec.template.spec
      const [install, agent] = pod.initContainers
      const part = ({ name, image, env, securityContext, ...rest }: Record<string, unknown>) => rest
      assert.deepEqual(part({ ...install }), part(base.initContainers[0]))
      assert.deepEqual(part({ ...agent }), part(base.initContainers[1]))
      const names = agent?.env?.map(({ name }) => name) ?? []
      for (const { name } of base.initContainers[1].env) assert.ok(names.includes(name), name)
      for (const probe of ['startupProbe', 'livenessProbe'] as const)
        assert.deepEqual(pod.containers[0]?.[probe], base.containers[0][probe])
      for (const volume of pod.volumes.slice(0, 4))
        assert.deepEqual(
          volume,
          base.volumes.find(({ name }: { name: string }) => name === volume.name),
        )
    })
  }

  test('a sidecar and a frontend of the same chart are left alone', () => {
    const text = injected(ide)
    assert.deepEqual(find(text, 'Deployment', 'flows-frontend'), find(ide, 'Deployment', 'flows-frontend'))
    assert.deepEqual(
      find(injected(ide, { container: 'langflow-ide' }), 'Deployment'),
      find(ide, 'Deployment'),
    )
  })

  test('the agent asks LangFlow where it listens', () => {
    assert.equal(variable(agentOf(podOf(injected(runtime))), 'LEADER_TARGET'), 'http://127.0.0.1:7861')
    assert.equal(variable(agentOf(podOf(injected(ide), 'StatefulSet')), 'LEADER_TARGET'), undefined)
    const port = (container: string, command?: string) =>
      variable(
        agentOf(podOf(injected(deployment({ container, ...(command ? { command } : {}) })))),
        'LEADER_TARGET',
      )
    assert.equal(port('ports: [{ containerPort: 9000 }]'), 'http://127.0.0.1:9000')
    assert.equal(port('env: [{ name: LANGFLOW_PORT, value: "9001" }]'), 'http://127.0.0.1:9001')
    assert.equal(port('args: [--port, "9002"]'), 'http://127.0.0.1:9002')
    assert.equal(port('ports: [{ containerPort: 1 }, { containerPort: 2 }]'), undefined)
  })
})

describe('the objects beside it', () => {
  test('are named after the workload, in its namespace, and come before it', () => {
    const all = manifestsIn(injected(runtime))
    assert.deepEqual(
      all.map(({ kind, metadata }) => `${kind}/${metadata.name}`),
      [
        'Service/flows-langflow-runtime',
        'ServiceAccount/flows-langflow-runtime-langflow-leader',
        'Role/flows-langflow-runtime-langflow-leader',
        'RoleBinding/flows-langflow-runtime-langflow-leader',
        'Lease/flows-langflow-runtime-leader',
        'Service/flows-langflow-runtime-members',
        'Deployment/flows-langflow-runtime',
      ],
    )
    for (const { metadata } of all.slice(1, 6)) {
      assert.equal((metadata as { namespace?: string }).namespace, 'flows')
      assert.equal(metadata.labels?.['app.kubernetes.io/managed-by'], 'langflow-leader')
    }
  })

  test('bind the pods’ own account where they have one, and make one where they have none', () => {
    const subject = (text: string) => only(manifestsIn(text), 'RoleBinding').subjects
    assert.deepEqual(subject(injected(ide)), [{ kind: 'ServiceAccount', name: 'flows' }])
    const own = 'flows-langflow-runtime-langflow-leader'
    assert.deepEqual(subject(injected(runtime)), [{ kind: 'ServiceAccount', name: own, namespace: 'flows' }])
    assert.equal(podOf(injected(runtime)).serviceAccountName, own)
  })

  test('give the rights that deploy/base gives, and in label mode those on pods', () => {
    const base = only(readManifests(BASE).values(), 'Role').rules
    const rules = (lease: string) => JSON.parse(JSON.stringify(base).replace('langflow-leader-lock', lease))
    assert.deepEqual(find(injected(ide), 'Role').rules, rules('flows-leader'))
    assert.deepEqual(find(injected(ide, { traffic: 'label' }), 'Role').rules, [
      ...rules('flows-leader'),
      { apiGroups: [''], resources: ['pods'], verbs: ['get', 'list', 'patch'] },
    ])
  })

  test('are found by the agent', () => {
    const agent = agentOf(podOf(injected(ide), 'StatefulSet'))
    assert.equal(variable(agent, 'LEADER_LEASE_NAME'), find(injected(ide), 'Lease').metadata.name)
    assert.equal(variable(agent, 'LEADER_PEERS'), 'flows-members:8090')
    const members = find(injected(ide), 'Service', 'flows-members')
    assert.deepEqual(members.spec.selector, {
      app: 'langflow',
      release: 'flows',
      'langflow-scope': 'backend',
    })
    const named = injected(ide, { leaseName: 'lock' })
    assert.equal(find(named, 'Lease').metadata.name, 'lock')
    assert.deepEqual(find(named, 'Role').rules[0].resourceNames, ['lock'])
  })

  test('have names that the API takes, whatever the workload is called', () => {
    const name = `2.${'long-'.repeat(45)}name`
    const text = deployment().replace('name: app', `name: ${name}`)
    const all = manifestsIn(injected(text))
    const service = only(all, 'Service').metadata.name
    assert.match(service, /^[a-z][-a-z0-9]{0,62}$/)
    for (const { metadata } of all) assert.ok(metadata.name.length <= 253)
    assert.equal(variable(agentOf(podOf(injected(text))), 'LEADER_PEERS'), `${service}:8090`)
  })

  test('of two LangFlows in one stream are two sets, and share no Lease', () => {
    const text = `${deployment()}---\n${deployment().replace('name: app', 'name: other')}`
    const leases = manifestsIn(injected(text)).filter(({ kind }) => kind === 'Lease')
    assert.deepEqual(
      leases.map(({ metadata }) => metadata.name),
      ['app-leader', 'other-leader'],
    )
    assert.throws(() => injected(text, { leaseName: 'lock' }), {
      message: /^Deployment\/other: it would need a Lease named lock, which Deployment\/app has already/,
    })
    assert.throws(() => injected(`${deployment()}---\nkind: Lease\nmetadata: { name: app-leader }\n`), {
      message:
        /^Deployment\/app: it would need a Lease named app-leader, which the stream itself has already/,
    })
  })
})

describe('the rollout', () => {
  test('in readiness mode never waits for a second Ready pod', () => {
    assert.deepEqual(find(injected(runtime), 'Deployment').spec.strategy, {
      type: 'RollingUpdate',
      rollingUpdate: { maxSurge: 0, maxUnavailable: 2 },
    })
    const one = injected(
      deployment({ spec: 'strategy: { type: Recreate }' }).replace('replicas: 2', 'replicas: 1'),
    )
    assert.equal(find(one, 'Deployment').spec.strategy.rollingUpdate.maxUnavailable, 1)
  })

  test('in label mode is as it was', () => {
    const text = deployment({ spec: 'strategy: { type: Recreate }' })
    assert.deepEqual(find(injected(text, { traffic: 'label' }), 'Deployment').spec.strategy, {
      type: 'Recreate',
    })
  })

  test('leaves time to drain and to stop, and a longer time alone', () => {
    assert.equal(podOf(injected(deployment())).terminationGracePeriodSeconds, 45)
    for (const [seconds, wanted] of [
      [30, 45],
      [300, 300],
    ]) {
      const text = deployment({ pod: `terminationGracePeriodSeconds: ${seconds}` })
      assert.equal(podOf(injected(text)).terminationGracePeriodSeconds, wanted)
    }
  })
})

describe('label mode', () => {
  const text = injected(ide, { traffic: 'label' })

  test('lets a standby that could take over be Ready', () => {
    const agent = agentOf(podOf(text, 'StatefulSet'))
    assert.equal(agent.readinessProbe?.httpGet.path, '/readyz?exclude=leadership')
    assert.equal(variable(agent, 'LEADER_TRAFFIC'), 'label')
  })

  test('has the Services that lead to LangFlow select the leader, and no others', () => {
    const role = (name: string) => find(text, 'Service', name).spec.selector['langflow-leader/role']
    assert.deepEqual(
      [role('flows-backend'), role('flows'), role('flows-members')],
      ['leader', undefined, undefined],
    )
  })

  test('leaves a Service for another port, and one in another namespace', () => {
    const services = ['', 'namespace: other, '].map(
      (namespace, i) =>
        `---\nkind: Service\nmetadata: { ${namespace}name: s${i} }\nspec: { selector: { app: flows }, ports: [{ port: ${i === 0 ? 8000 : 7860} }] }\n`,
    )
    const own = deployment({ metadata: ', namespace: flows' })
    assert.deepEqual(warningsOf(own + services.join(''), { traffic: 'label' }), [
      'Deployment/app: no Service in this stream leads to it: add langflow-leader/role: leader to the selector of the one that its clients use',
    ])
  })

  test('can have two LangFlows behind one Service', () => {
    const service =
      'kind: Service\nmetadata: { name: s }\nspec: { selector: { app: flows }, ports: [{ port: 7860 }] }\n'
    const both = [service, deployment(), deployment().replace('name: app', 'name: other')].join('---\n')
    const wrapped = injected(both, { traffic: 'label' })
    assert.deepEqual(find(wrapped, 'Service', 's').spec.selector, {
      app: 'flows',
      'langflow-leader/role': 'leader',
    })
    assert.equal(uninjected(wrapped), both)
  })

  test('leaves a Service that selects the leader already', () => {
    const service =
      '---\nkind: Service\nmetadata: { name: s }\nspec: { selector: { app: flows, langflow-leader/role: leader }, ports: [{ port: 7860 }] }\n'
    const wrapped = injected(deployment() + service, { traffic: 'label' })
    assert.ok(wrapped.endsWith(service))
    assert.equal(uninjected(wrapped), deployment() + service)
  })
})

describe('the user', () => {
  const contexts = (pod: string, container: string) => {
    const wrapped = podOf(injected(deployment({ pod, container })))
    const { runAsUser, runAsGroup } = agentOf(wrapped).securityContext
    return { user: runAsUser, group: runAsGroup, pod: wrapped.securityContext }
  }

  test('is LangFlow’s, so that both can use the socket', () => {
    const pod = 'securityContext: { runAsUser: 1001, runAsGroup: 0 }'
    assert.deepEqual(contexts(pod, ''), { user: 1001, group: 0, pod: { runAsUser: 1001, runAsGroup: 0 } })
    const own = contexts(pod, 'securityContext: { runAsUser: 1002 }')
    assert.deepEqual([own.user, own.group], [1002, 0])
  })

  test('where LangFlow’s is not known, the agent’s group is LangFlow’s as well, and no volume changes its owner', () => {
    const unknown = { user: undefined, group: undefined }
    assert.deepEqual(contexts('', ''), { ...unknown, pod: { supplementalGroups: [1000] } })
    assert.deepEqual(contexts('securityContext: {}', ''), { ...unknown, pod: { supplementalGroups: [1000] } })
    assert.deepEqual(contexts('securityContext: { supplementalGroups: [7] }', '').pod, {
      supplementalGroups: [7, 1000],
    })
    assert.deepEqual(contexts('securityContext: { fsGroup: 7 }', ''), { ...unknown, pod: { fsGroup: 7 } })
    assert.deepEqual(contexts('securityContext: { runAsGroup: 7 }', '').pod, { runAsGroup: 7 })
  })

  test('is never root, also where LangFlow is', () => {
    assert.deepEqual(contexts('securityContext: { runAsUser: 0 }', ''), {
      user: 1000,
      group: 1000,
      pod: { runAsUser: 0, supplementalGroups: [1000] },
    })
  })
})

describe('the command', () => {
  const commandOf = (text: string) => podOf(text).containers[0]?.command

  test('is the image’s own where the template has none, as it was given', () => {
    const entrypoint = ['langflow', 'run']
    const bare = injected(deployment({ command: '' }), { entrypoint })
    assert.deepEqual(commandOf(bare), [...LAUNCH, ...entrypoint])
    const empty = injected(deployment({ command: 'command: []', container: 'args: [--port, "7860"]' }), {
      entrypoint,
    })
    assert.deepEqual(commandOf(empty), [...LAUNCH, ...entrypoint])
    assert.deepEqual(podOf(empty).containers[0]?.args, ['--port', '7860'])
    // An image without an entrypoint: the args are the whole command.
    const args = deployment({ command: '', container: 'args: [langflow, run]' })
    assert.deepEqual(commandOf(injected(args, { entrypoint: [] })), LAUNCH)
  })

  test('of the template comes before one that was given', () => {
    assert.deepEqual(commandOf(injected(deployment(), { entrypoint: ['other'] })), [
      ...LAUNCH,
      'langflow',
      'run',
    ])
  })

  test('hooks of the container’s lifecycle stay', () => {
    const lifecycle = 'lifecycle: { preStop: { exec: { command: [sleep, "1"] } } }'
    const [langflow] = podOf(injected(deployment({ container: lifecycle }))).containers
    assert.deepEqual((langflow as unknown as { lifecycle: unknown }).lifecycle, {
      preStop: { exec: { command: ['sleep', '1'] } },
    })
  })
})

describe('a warning', () => {
  test('says that one replica has none to take over', () => {
    const text = deployment().replace('replicas: 2', 'replicas: 1')
    assert.deepEqual(warningsOf(text), [
      'Deployment/app: it has one replica, so that none can take over: set replicas to 2 or more',
    ])
    assert.deepEqual(warningsOf(deployment()), [])
  })

  test('says what cannot be changed in a StatefulSet that makes its pods one by one', () => {
    const three = ide.replace('replicas: 2', 'replicas: 3')
    assert.match(warningsOf(three)[0] ?? '', /^StatefulSet\/flows: of its 3 replicas the third is never made/)
    assert.deepEqual(warningsOf(three, { traffic: 'label' }), [])
    assert.deepEqual(
      warningsOf(three.replace('serviceName:', 'podManagementPolicy: Parallel\n  serviceName:')),
      [],
    )
    assert.deepEqual(warningsOf(ide), [])
  })

  test('says who loses the token', () => {
    const text = `${deployment()}        - { name: backup, image: backup }\n`
    assert.match(warningsOf(text)[0] ?? '', /^Deployment\/app: backup loses the API server's token/)
    const without = text.replace(
      '      containers:',
      '      automountServiceAccountToken: false\n      containers:',
    )
    assert.deepEqual(warningsOf(without), [])
  })

  test('says that pods which run without an agent would act beside those with one, and the other way round', () => {
    const sentence =
      'Deployment/app: it has 2 running pods: scale it to 0 before you apply this, and back afterwards, since pods with an agent and pods without one act at once'
    const running = `${deployment()}status: { replicas: 2 }\n`
    assert.deepEqual(warningsOf(running), [sentence])
    const wrapped = injected(running)
    assert.deepEqual(warningsOf(wrapped), [])
    assert.deepEqual(uninject(asInput(wrapped)).warnings, [sentence])
    assert.deepEqual(warningsOf(running.replace('{ replicas: 2 }', '{}')), [])
  })
})

test('--standby and --image are the agent’s', () => {
  const pod = podOf(injected(deployment(), { standby: 'warm', image: 'registry.example.org/leader:2' }))
  assert.equal(variable(agentOf(pod), 'LEADER_STANDBY'), 'warm')
  for (const { image } of pod.initContainers) assert.equal(image, 'registry.example.org/leader:2')
})
