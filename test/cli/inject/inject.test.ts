import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { manifestOf } from '../../../agent/cli/manifests/manifest.ts'
import { LAUNCH, RESTRICTED, RESTRICTED_POD, VOLUMES } from '../../../agent/cli/manifests/pod-spec.ts'
import { findLangflows, readWorkload } from '../../../agent/cli/manifests/workload.ts'
import {
  LIVENESS_PROBE,
  MOUNTS,
  manifestsIn,
  only,
  plainManifests,
  STARTUP_PROBE,
} from '../../deploy/manifests.ts'
import {
  agentOf,
  asStream,
  deployment,
  find,
  fixture,
  injected,
  podOf,
  variable,
  warningsOf,
} from './streams.ts'

const ide = fixture('stateful-backend')
const runtime = fixture('runtime-deployment')
const two = (joint = '') => `${deployment()}---\n${joint}${deployment().replace('name: app', 'name: other')}`

for (const [name, text, kind, workload] of [
  ['langflow-ide', ide, 'StatefulSet', 'flows'],
  ['langflow-runtime', runtime, 'Deployment', 'flows-langflow-runtime'],
] as const) {
  describe(`the chart ${name}`, () => {
    const { containers: before } = podOf(text, kind, workload)
    const pod = podOf(injected(text), kind, workload)

    test('the output has no placeholder for the owner of the repository', () => {
      assert.doesNotMatch(injected(text, { traffic: 'front' }), /\bOWNER\b/)
    })

    test('keeps its shell and arguments below the launcher', () => {
      assert.deepEqual(pod.containers[0]?.command, [...LAUNCH, '/bin/bash', '-c'])
      assert.deepEqual(pod.containers[0]?.args, before[0]?.args)
    })

    test('gives LangFlow no token, and probes that call only the agent', () => {
      const { volumeMounts, readinessProbe, startupProbe, livenessProbe } = pod.containers[0]!
      assert.equal(pod.automountServiceAccountToken, false)
      assert.deepEqual(volumeMounts, [...MOUNTS, ...(before[0]?.volumeMounts ?? [])])
      const probes = [readinessProbe, startupProbe, livenessProbe]
      assert.deepEqual(probes, [undefined, STARTUP_PROBE, LIVENESS_PROBE])
      assert.deepEqual(pod.volumes, VOLUMES)
    })

    test('gets containers that meet the Pod Security Standard "restricted"', () => {
      const user = { runAsUser: 1000, runAsGroup: 1000 }
      for (const { securityContext } of pod.initContainers)
        assert.deepEqual(securityContext, { ...RESTRICTED, ...RESTRICTED_POD, ...user })
    })
  })
}

test('a frontend of the same chart stays unchanged', () => {
  for (const options of [{}, { container: 'langflow-ide' }])
    assert.deepEqual(find(injected(ide, options), 'Deployment'), find(ide, 'Deployment'))
})

describe('the added objects', () => {
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

  test('bind the pods’ own account if they have one, else add an account', () => {
    const subject = (text: string) => only(manifestsIn(text), 'RoleBinding').subjects
    assert.deepEqual(subject(injected(ide)), [{ kind: 'ServiceAccount', name: 'flows' }])
    const own = 'flows-langflow-runtime-langflow-leader'
    assert.deepEqual(subject(injected(runtime)), [{ kind: 'ServiceAccount', name: own, namespace: 'flows' }])
    assert.equal(podOf(injected(runtime)).serviceAccountName, own)
  })

  test('grant the same rights as the chart in each traffic mode', () => {
    const base = only(plainManifests('langflow.yaml'), 'Role').rules
    const rules = JSON.parse(JSON.stringify(base).replace('langflow-leader-lock', 'flows-leader'))
    assert.deepEqual(find(injected(ide), 'Role').rules, rules)
    assert.deepEqual(find(injected(ide, { traffic: 'front' }), 'Role').rules, rules)
    const podStatus = { apiGroups: [''], resources: ['pods/status'], verbs: ['patch'] }
    const reporting = injected(ide, { reportsLostPods: true })
    assert.deepEqual(find(reporting, 'Role').rules, [...rules, podStatus])
  })

  test('are found by the agent', () => {
    const agent = agentOf(podOf(injected(ide), 'StatefulSet'))
    assert.equal(variable(agent, 'LEADER_LEASE_NAME'), find(injected(ide), 'Lease').metadata.name)
    assert.equal(variable(agent, 'LEADER_PEERS'), 'flows-members:8090')
    const { selector } = find(injected(ide), 'Service', 'flows-members').spec
    assert.deepEqual(selector, { app: 'langflow', release: 'flows', 'langflow-scope': 'backend' })
    const named = injected(ide, { leaseName: 'lock' })
    assert.equal(find(named, 'Lease').metadata.name, 'lock')
    assert.deepEqual(find(named, 'Role').rules[0].resourceNames, ['lock'])
  })

  test('have valid names for any name of the workload', () => {
    const text = injected(deployment().replace('name: app', `name: 2.${'long-'.repeat(45)}name`))
    const service = find(text, 'Service').metadata.name
    assert.match(service, /^[a-z][-a-z0-9]{0,62}$/)
    for (const { metadata } of manifestsIn(text)) assert.ok(metadata.name.length <= 253)
    assert.equal(variable(agentOf(podOf(text)), 'LEADER_PEERS'), `${service}:8090`)
  })

  test('of two LangFlows in one stream are separate, including the Lease', () => {
    const leases = manifestsIn(injected(two())).filter(({ kind }) => kind === 'Lease')
    assert.deepEqual(
      leases.map(({ metadata }) => metadata.name),
      ['app-leader', 'other-leader'],
    )
    assert.throws(() => injected(two(), { leaseName: 'lock' }), { name: 'FatalError', message: /Lease lock/ })
  })
})

describe('the pod', () => {
  for (const [parts, seconds] of [
    [{}, 45],
    [{ pod: 'terminationGracePeriodSeconds: 30' }, 45],
    [{ pod: 'terminationGracePeriodSeconds: 300' }, 300],
  ] as const)
    test(`has a grace period of ${seconds} s with ${JSON.stringify(parts)}`, () => {
      assert.equal(podOf(injected(deployment(parts))).terminationGracePeriodSeconds, seconds)
    })

  for (const [parts, port] of [
    [{}, 7860],
    [{ container: 'ports: [{ containerPort: 9000 }]' }, 9000],
    [{ container: 'env: [{ name: LANGFLOW_PORT, value: "9001" }]' }, 9001],
    [{ container: 'args: [--port, "9002"]' }, 9002],
    [{ command: `command: [sh, -c, 'exec langflow run --port="9003"']` }, 9003],
    [{ container: 'ports: [{ containerPort: 1 }, { containerPort: 2 }]' }, 7860],
  ] as const)
    test(`has an agent whose target is LangFlow's port: ${JSON.stringify(parts)}`, () => {
      const target = variable(agentOf(podOf(injected(deployment(parts)))), 'LEADER_TARGET')
      assert.equal(target, `http://127.0.0.1:${port}`)
    })

  test('gets no variables of Services, because LangFlow reads LANGFLOW_PORT, unless it asks for them', () => {
    assert.equal(podOf(injected(deployment())).enableServiceLinks, false)
    assert.equal(podOf(injected(deployment({ pod: 'enableServiceLinks: true' }))).enableServiceLinks, true)
  })

  test('does not block a rollout in readiness mode by waiting for a second Ready pod', () => {
    const recreate = deployment({ spec: 'strategy: { type: Recreate }' })
    const { strategy } = find(injected(runtime), 'Deployment').spec
    const rollingUpdate = { maxSurge: 0, maxUnavailable: '99%' }
    assert.deepEqual(strategy, { type: 'RollingUpdate', rollingUpdate })
    const scaler =
      'kind: HorizontalPodAutoscaler\nmetadata: { name: a }\nspec: { scaleTargetRef: { kind: Deployment, name: app }, maxReplicas: 5 }'
    for (const replicas of [1, 2, 3, 100]) {
      const text = `${recreate.replace('replicas: 2', `replicas: ${replicas}`)}---\n${scaler}`
      assert.doesNotMatch(warningsOf(text).join('\n'), /rollout-strategy/)
    }
    const front = injected(recreate, { traffic: 'front' })
    assert.deepEqual(find(front, 'Deployment').spec.strategy, { type: 'Recreate' })
  })
})

describe('front mode', () => {
  const front = { traffic: 'front' } as const
  const ports = (text: string) => podOf(text).containers[0]?.ports
  const service = (port: string, more = '') =>
    `kind: Service\nmetadata: { name: s }\nspec: { selector: { app: flows }, ports: [${port}]${more} }\n`
  const both = (container: string, port: string, more?: string) =>
    `${deployment({ container })}---\n${service(port, more)}`
  const targets = (text: string) =>
    find(text, 'Service', 's').spec.ports.map((port: { targetPort?: unknown }) => port.targetPort)

  test('probes the front for readiness, and increases the memory limit and the grace period', () => {
    const pod = podOf(injected(deployment(), front))
    const agent = agentOf(pod)
    assert.equal(agent.readinessProbe?.httpGet.path, '/frontz')
    assert.equal(variable(agent, 'LEADER_TRAFFIC'), 'front')
    assert.deepEqual(agent.resources?.limits, { memory: '512Mi' })
    assert.equal(pod.terminationGracePeriodSeconds, 105)
  })

  const WEB = 'ports: [{ name: web, containerPort: 7860 }]'
  const [AT_WEB, AT_HTTP] = ['web', 'http'].map((name) => ({ name, containerPort: 8091 }))
  for (const [what, container, port, wanted, target] of [
    ['the name of LangFlow’s port', WEB, '{ port: 80, targetPort: web }', [AT_WEB], 'web'],
    ['the number of a named port', WEB, '{ port: 80, targetPort: 7860 }', [AT_WEB], 'web'],
    [
      'the number of an unnamed port',
      'ports: [{ containerPort: 7860 }]',
      '{ port: 80, targetPort: 7860 }',
      [AT_HTTP, { containerPort: 7860 }],
      'http',
    ],
    ['the number of an undeclared port', '', '{ port: 7860 }', [AT_HTTP], 'http'],
    [
      'the number of a port while another one is named http',
      'ports: [{ containerPort: 7860 }, { name: http, containerPort: 9000 }]',
      '{ name: a, port: 7860 }, { name: b, port: 9000 }',
      [{ containerPort: 7860 }, { name: 'http', containerPort: 9000 }],
      8091,
    ],
  ] as const)
    test(`routes a Service to the front if it targets ${what}`, () => {
      const text = both(container, port)
      const wrapped = injected(text, front)
      assert.deepEqual(ports(wrapped), wanted)
      assert.equal(targets(wrapped)[0], target)
    })

  test('keeps the other ports of a Service', () => {
    const two = '{ name: a, port: 80, targetPort: 7860 }, { name: b, port: 81, targetPort: 9000 }'
    assert.deepEqual(targets(injected(both('', two), front)), ['http', 9000])
  })

  for (const [own, port] of [
    ['{ containerPort: 9000, name: web }', 9000],
    ['{ containerPort: 7860, name: http }, { containerPort: 9090, name: metrics }', 7860],
  ] as const)
    test(`finds LangFlow's port ${port} again in its own output`, () => {
      const wrapped = injected(deployment({ container: `ports: [${own}]` }), { ...front, frontPort: 9091 })
      assert.equal(ports(wrapped)?.[0]?.containerPort, 9091)
      const [langflow] = findLangflows(asStream(wrapped).map(manifestOf), null)
      assert.equal(readWorkload(langflow!).port, port)
    })

  test('does not change a Service that targets another container’s port http', () => {
    const proxy = '{ name: proxy, image: proxy, ports: [{ name: http, containerPort: 4180 }] }'
    const text = `${deployment().trimEnd()}\n        - ${proxy}\n---\n${service('{ port: 7860 }')}`
    const wrapped = injected(text, front)
    assert.deepEqual(targets(wrapped), [8091])
    assert.equal(ports(wrapped), undefined)
  })

  test('leaves a headless Service unchanged, and warns that it bypasses the fronts', () => {
    const text = both('', '{ port: 7860 }', ', clusterIP: None')
    assert.deepEqual(targets(injected(text, front)), [undefined])
    assert.match(warningsOf(text, front).join('\n'), /^warning: Service\/s: .* \[service-leader\]/m)
  })
})

describe('LangFlow’s host in front mode', () => {
  const front = { traffic: 'front' } as const
  const script = (text: string) => `command: [sh, -c, ${JSON.stringify(text)}]`
  for (const [command, host, wanted] of [
    ['command: [langflow, run, --host, 0.0.0.0, --port, "1"]', undefined, '--host 127.0.0.1 --port 1'],
    ['command: [python, -m, langflow, run, --host=0.0.0.0]', undefined, 'run --host=127.0.0.1'],
    ['{ command: [langflow], args: [run, --host, $(HOST)] }', undefined, '--host 127.0.0.1'],
    [
      script('x --host db; exec langflow run \\\n --host "$H" -x'),
      undefined,
      'db; exec langflow run \\\n --host 127.0.0.1 -x',
    ],
    [script('su -c "langflow run --host 0.0.0.0"; echo "x"'), undefined, '--host 127.0.0.1"; echo "x"'],
    [script('langflow run --host $(hostname -i) &'), undefined, '--host 127.0.0.1 &'],
    [script('LANGFLOW_HOST=:: langflow run'), undefined, 'LANGFLOW_HOST=127.0.0.1 langflow run'],
    ['command: [langflow, run]', '127.0.0.1', 'langflow run'],
    [script('pg_isready --host db && langflow run'), '127.0.0.1', '--host db && langflow run'],
  ] as const)
    test(`is 127.0.0.1 with ${command}`, () => {
      const lines = command.replace(/^\{ (.*), (args.*) \}$/, '$1\n          $2')
      const text = deployment({ command: lines, container: 'env: [{ name: LANGFLOW_HOST, value: "::" }]' })
      const langflow = podOf(injected(text, front)).containers[0]!
      const words = [...(langflow.command ?? []), ...(langflow.args ?? [])].join(' ')
      assert.ok(words.endsWith(wanted), words)
      const hosts = (langflow.env ?? []).filter(({ name }) => name === 'LANGFLOW_HOST')
      assert.deepEqual(
        hosts.map(({ value }) => value),
        [host ?? '::'],
      )
    })

  test('is reported if inject cannot read it', () => {
    const text = deployment({ command: 'command: [/start]' })
    assert.match(warningsOf(text, front)[0]!, /^warning: Deployment\/app: inject cannot read which host/)
    assert.doesNotMatch(warningsOf(text).join('\n'), /which host/)
    assert.doesNotMatch(warningsOf(deployment(), front).join('\n'), /which host/)
  })
})

test('failsafe is on for two or more replicas, unless a flag sets it', () => {
  const failsafe = (text: string, options = {}) =>
    variable(agentOf(podOf(injected(text, options))), 'LEADER_FAILSAFE')
  const one = deployment().replace('replicas: 2', 'replicas: 1')
  assert.deepEqual(
    [failsafe(deployment()), failsafe(one), failsafe(one.replace('replicas: 1', ''))],
    ['peers', undefined, undefined],
  )
  const agentVariables = [{ name: 'LEADER_FAILSAFE', value: 'none' }]
  assert.equal(failsafe(deployment(), { agentVariables }), 'none')
})

test('arguments that start LangFlow need no command', () => {
  const { command, args } = podOf(injected(deployment({ command: 'args: [langflow, run, --port, "1"]' })))
    .containers[0]!
  assert.deepEqual([command, args], [LAUNCH, ['langflow', 'run', '--port', '1']])
})

test('a script that keeps the standby cold is reported', () => {
  const warnings = warningsOf(fixture('runtime-deployment'), { traffic: 'front', standby: 'warm' })
  assert.match(warnings.join('\n'), /^error: .*\[standby-command\]$/m)
})

describe('the agent’s user', () => {
  const both = { user: 1001, group: 0, pod: { runAsUser: 1001, runAsGroup: 0 } }
  const unknown = { user: undefined, group: undefined }
  const image = { user: 1000, group: 1000 }
  const grouped = (supplementalGroups: number[]) => ({ ...unknown, pod: { supplementalGroups } })
  const OF_POD = '{ runAsUser: 1001, runAsGroup: 0 }'
  for (const [what, pod, container, wanted] of [
    ['is that of LangFlow’s pod', OF_POD, '{}', both],
    ['is that of LangFlow’s container if it has one', OF_POD, '{ runAsUser: 7 }', { ...both, user: 7 }],
    ['gets a common group with LangFlow if LangFlow’s user is unknown', '{}', '{}', grouped([1000])],
    ['gets a common group in addition to others', '{ supplementalGroups: [7] }', '{}', grouped([7, 1000])],
    [
      'gets no common group if there is an fsGroup',
      '{ fsGroup: 7 }',
      '{}',
      { ...unknown, pod: { fsGroup: 7 } },
    ],
    [
      'is never root',
      '{ runAsUser: 0 }',
      '{}',
      { ...image, pod: { runAsUser: 0, supplementalGroups: [1000] } },
    ],
  ] as const)
    test(what, () => {
      const context = (own: string) => `securityContext: ${own}`
      const wrapped = podOf(injected(deployment({ pod: context(pod), container: context(container) })))
      const { runAsUser: user, runAsGroup: group } = agentOf(wrapped).securityContext
      assert.deepEqual({ user, group, pod: wrapped.securityContext }, wanted)
    })
})

describe('inject warns', () => {
  test('about containers that lose the token', () => {
    const sidecar = '        - { name: backup, image: backup }\n'
    const [warning] = warningsOf(deployment() + sidecar)
    assert.match(warning!, /^warning: Deployment\/app: the token .* is no longer mounted into backup:/)
    const without = deployment({ pod: 'automountServiceAccountToken: false' })
    assert.deepEqual(warningsOf(without + sidecar), [])
  })

  test('about running pods without an agent', () => {
    const [warning, ...others] = warningsOf(`${deployment()}status: { replicas: 2 }\n`)
    assert.match(warning!, /^warning: Deployment\/app: 2 of its pods run/)
    assert.deepEqual([others, warningsOf(deployment())], [[], []])
  })
})

describe('the form of LangFlow’s log', () => {
  const map = (data: string) => `kind: ConfigMap\nmetadata: { name: c }\ndata: { ${data} }\n---\n`
  const from = 'volumeMounts: []\n          envFrom: [{ configMapRef: { name: c } }]'
  const cases: [what: string, expected: string[], container: string, text?: string][] = [
    ['is set to "container" if it is not set', ['container'], ''],
    ['keeps the value of the variable', ['x'], 'env: [{ name: LANGFLOW_LOG_ENV, value: x }]'],
    ['keeps the value of a ConfigMap', [], from, map('LANGFLOW_LOG_ENV: x')],
  ]
  for (const [what, expected, container, text] of cases)
    test(what, () => {
      const own = deployment({ container }).replace(/ {10}envFrom: \[\{ secretRef.*\n/, '')
      const { env = [] } = podOf(injected((text ?? '') + own)).containers[0]!
      const values = env.filter(({ name }) => name === 'LANGFLOW_LOG_ENV').map(({ value }) => value)
      assert.deepEqual(values, expected)
    })
})
