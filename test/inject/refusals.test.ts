import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { FatalError } from '../../agent/exit.ts'
import { inject } from '../../agent/inject/inject.ts'
import { DEFAULTS, deployment, injected, podOf, uninjected } from './streams.ts'

function refused(text: string, message: RegExp, options = {}): void {
  assert.throws(
    () => injected(text, options),
    (error) => {
      assert.ok(error instanceof FatalError, String(error))
      assert.match(error.message, message)
      assert.doesNotMatch(error.message, /\n/)
      return true
    },
  )
}

describe('a pod in which one at a time could not be kept is refused', () => {
  for (const [pod, message] of [
    ['hostPID: true', /^Deployment\/app: with hostPID the launcher cannot be PID 1/],
    ['hostPID: yes', /with hostPID/],
    [
      'shareProcessNamespace: true',
      /^Deployment\/app: with shareProcessNamespace the launcher cannot be PID 1/,
    ],
    [
      'hostNetwork: true',
      /^Deployment\/app: with hostNetwork port 8090 and the loopback address are the node's/,
    ],
    ['os: { name: windows }', /^Deployment\/app: it is for Windows nodes/],
    ['nodeSelector: { kubernetes.io/os: windows }', /Windows/],
    [
      'initContainers: [{ name: install, image: x }]',
      /^Deployment\/app: it has a container named install already/,
    ],
    ['initContainers: [{ name: agent, image: x }]', /a container named agent already/],
    ['volumes: [{ name: token, emptyDir: {} }]', /^Deployment\/app: it has a volume named token already/],
    [
      'initContainers: [{ name: x, image: x, ports: [{ containerPort: 8090 }] }]',
      /its container x has port 8090/,
    ],
  ] as const) {
    test(pod, () => refused(deployment({ pod }), message))
  }

  for (const [container, message] of [
    [
      'volumeMounts: [{ name: x, mountPath: /opt/langflow-leader/ }]',
      /has a volume at \/opt\/langflow-leader already/,
    ],
    [
      'volumeMounts: [{ name: x, mountPath: /run/langflow-leader/x }]',
      /has a volume at \/run\/langflow-leader\/x already/,
    ],
    ['ports: [{ containerPort: 7860 }, { containerPort: 8090 }]', /its container langflow has port 8090/],
    ['args: [--port, "8090"]', /its container langflow listens on port 8090/],
  ] as const) {
    test(container, () => refused(deployment({ container }), message))
  }

  test('and its good relatives are not', () => {
    for (const pod of ['hostPID: false', 'hostNetwork: false', 'nodeSelector: { kubernetes.io/os: linux }'])
      injected(deployment({ pod }))
    injected(deployment({ container: 'volumeMounts: [{ name: x, mountPath: /opt/langflow-leaders }]' }))
  })
})

describe('a command that is not known is refused', () => {
  const bare = deployment({ command: '' })

  test('unless it is said', () => {
    refused(
      bare,
      /^Deployment\/app: its container langflow has no command, .* say it with --entrypoint, such as/,
    )
    injected(bare, { entrypoint: ['langflow', 'run'] })
  })

  test('and so is an entrypoint that starts nothing', () => {
    refused(bare, /has neither command nor args, so that --entrypoint must say/, { entrypoint: [] })
  })
})

describe('LangFlow', () => {
  const nginx = deployment().replaceAll(/langflow/g, 'nginx')
  const second = '        - name: other\n          image: registry.example.org:5000/team/langflow@sha256:00\n'

  test('is found by its container’s name, its image, or its command', () => {
    const plain = deployment({ command: 'command: [/start]' }).replace('langflowai/langflow:', 'x:')
    const images = [
      'langflowai/langflow',
      'r.example.org:5000/my-langflow:1',
      'langflowai/langflow-backend:1',
    ]
    const others = `${nginx}---\n`
    for (const text of [
      plain,
      ...images.map((image) => plain.replace('x:1.13.0', image).replace('name: langflow', 'name: web')),
      deployment({ command: 'command: [sh, -c, "exec python -m langflow run"]' }).replace(
        /image: .*/,
        'image: web',
      ),
    ]) {
      assert.match(injected(others + text), /langflow-leader\/injected/)
      assert.ok(injected(others + text).startsWith(others))
    }
  })

  test('may be called anything where there is nothing else', () => {
    assert.match(injected(nginx), /langflow-leader\/injected/)
    refused(
      `${nginx}---\n${nginx}`,
      /^found no LangFlow: no Deployment or StatefulSet has a container named langflow/,
    )
  })

  test('is not guessed where two containers look like it', () => {
    const two = deployment({ command: 'command: [start]' }) + second
    refused(
      two,
      /^Deployment\/app: the containers langflow and other both look like LangFlow: name .* --container/,
    )
    const launched = (text: string) =>
      podOf(text).containers.map(({ command }) => command?.includes('launch') ?? false)
    assert.deepEqual(launched(injected(two, { container: 'langflow' })), [true, false])
    // One of them says that it runs LangFlow.
    assert.deepEqual(launched(injected(deployment() + second)), [true, false])
  })

  test('must be there', () => {
    for (const text of ['', '# nothing\n', 'kind: ConfigMap\n'])
      refused(text, /^found no LangFlow: .*; name its container with --container$/)
    refused(deployment(), /no Deployment or StatefulSet has a container named web; look at --container$/, {
      container: 'web',
    })
  })

  test('of a kind that is not handled is refused, by name', () => {
    const other = (kind: string) => deployment().replace('kind: Deployment', `kind: ${kind}`)
    for (const kind of ['DaemonSet', 'ReplicaSet', 'Job', 'Rollout'])
      refused(
        `${other(kind)}---\n${deployment()}`,
        new RegExp(`^${kind}/app: its container langflow runs LangFlow`),
      )
    const pod =
      'apiVersion: v1\nkind: Pod\nmetadata: { name: p }\nspec: { containers: [{ name: langflow, image: x }] }\n'
    refused(pod, /^Pod\/p: its container langflow runs LangFlow/)
    const cron = `kind: CronJob\nmetadata: { name: c }\nspec: { jobTemplate: { spec: { template: { spec: { containers: [{ name: x, command: [langflow, run] }] } } } } }\n`
    refused(cron, /^CronJob\/c: /)
    refused(deployment().replace('apps/v1', 'extensions/v1beta1'), /^Deployment\/app: .*apps\/v1/)
  })

  test('may be what a Job uses for something else', () => {
    const job =
      'kind: Job\nmetadata: { name: j }\nspec: { template: { spec: { containers: [{ name: x, image: langflowai/langflow, command: [langflow, migration] }] } } }\n'
    assert.ok(injected(`${job}---\n${deployment()}`).startsWith(job))
  })
})

describe('YAML that cannot be handled', () => {
  test('is named with its file and line', () => {
    const input = {
      text: `${deployment()}---\na: [1\nb: 2\n`,
      parts: [
        { name: 'app.yaml', firstLine: 0 },
        { name: 'other.yaml', firstLine: 12 },
      ],
    }
    assert.throws(() => inject(input, DEFAULTS), {
      message: /^other\.yaml, line [234]: not valid YAML: [^\n]+$/,
    })
    refused('a: "\\q"\n', /^app\.yaml, line 1: not valid YAML: Invalid escape sequence \\q$/)
    refused(`${deployment()}---\na: *nobody\n`, /^app\.yaml, line 1\d: not valid YAML: Unresolved alias/)
  })

  test('is refused where an edit would reach further than it should', () => {
    const shared = deployment({ container: 'volumeMounts: &m [{ name: x, mountPath: /x }]' })
    refused(
      `${shared}        - { name: other, image: x, volumeMounts: *m }\n`,
      /^Deployment\/app: spec\.template\.spec\.containers\[langflow\]\.volumeMounts has the YAML anchor &m/,
    )
    const text = deployment({ pod: 'volumes: &v [{ name: x, emptyDir: {} }]\n      initContainers: *v' })
    refused(text, /volumes has the YAML anchor &v|initContainers is the YAML alias \*v/)
    const probe = deployment({ container: 'livenessProbe: &p { httpGet: { port: 1 } }' })
    refused(
      `${probe}        - { name: other, image: x, livenessProbe: *p }\n`,
      /^Deployment\/app: what inject replaces has a YAML anchor that is used elsewhere/,
    )
    const merged = deployment({ container: '<<: &d { readinessProbe: { httpGet: { port: 1 } } }' })
    refused(merged, /^Deployment\/app: its readinessProbe comes from a YAML merge key/)
  })

  test('is refused where it is no map, is there twice, or has a directive', () => {
    refused(
      deployment({ container: 'command: [langflow, run]' }),
      /^Deployment\/app: the key command is there twice/,
    )
    refused(
      deployment({ pod: 'volumes: { a: b }' }),
      /^Deployment\/app: spec\.template\.spec\.volumes is not a list/,
    )
    refused(deployment({ metadata: ', annotations: [a]' }), /metadata\.annotations is not a map/)
    refused(`%YAML 1.2\n---\n${deployment()}`, /^Deployment\/app: a % directive stands before it/)
    refused(deployment({ pod: '? hostIPC\n      : false' }), /is written in a rare form of YAML/)
  })

  test('elsewhere is none of inject’s business', () => {
    const odd = '%TAG ! tag:example.org,2026:\n---\n? [complex, key]\n: !thing { a: b }\n...\n'
    const text = `${odd}---\n${deployment()}`
    assert.ok(injected(text).startsWith(odd))
    assert.equal(uninjected(injected(text)), text)
  })
})
