import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, test } from 'node:test'
import { type Manifest, manifestsIn } from '../../deploy/manifests.ts'
import { deployment, injected, podOf } from './streams.ts'

function refused(text: string, message: RegExp, options = {}): void {
  assert.throws(() => injected(text, options), { name: 'FatalError', message })
}

describe('inject refuses a pod in which two LangFlows could act at the same time', () => {
  for (const [parts, message] of [
    [{ pod: 'hostPID: true' }, /^Deployment\/app: it sets hostPID/],
    [
      { pod: 'initContainers: [{ name: x, image: x, ports: [{ containerPort: 8090 }] }]' },
      /its container x has the agent's port 8090/,
    ],
    [
      { container: 'volumeMounts: [{ name: x, mountPath: /opt/langflow-leader/ }]' },
      /its container langflow already has a volume at \/opt\/langflow-leader\//,
    ],
    [
      { container: 'volumeMounts: [{ name: x, mountPath: /run/langflow-leader/x }]' },
      /already has a volume at \/run\/langflow-leader\/x/,
    ],
    [
      { container: 'ports: [{ containerPort: 8090 }, { containerPort: 1 }]' },
      /langflow has the agent's port 8090/,
    ],
    [{ container: 'args: [--port, "8090"]' }, /--listen and --target have the same port/],
  ] as const)
    test(Object.values(parts).join(), () => refused(deployment(parts), message))

  test('and its good relatives are not', () => {
    for (const pod of ['hostPID: false', 'hostNetwork: false', 'nodeSelector: { kubernetes.io/os: linux }'])
      injected(deployment({ pod }))
    injected(deployment({ container: 'volumeMounts: [{ name: x, mountPath: /opt/langflow-leaders }]' }))
  })
})

test('inject refuses a container without a command, and its own output', () => {
  refused(deployment({ command: '' }), /^Deployment\/app: its container langflow has no command/)
  for (const args of ['[run]', '[--port, "1"]', '[-c, "langflow run"]', '["langflow run"]'])
    refused(
      deployment({ command: `args: ${args}` }),
      /has no command.* add the image's ENTRYPOINT as command$/,
    )
  const already = /^Deployment\/langflow: it already has langflow-leader; nothing to inject:/
  refused(injected(deployment().replace('name: app', 'name: langflow')), already)
  refused(
    readFileSync(join(import.meta.dirname, '../../../deploy/langflow-production.yaml'), 'utf8'),
    already,
  )
})

describe('LangFlow', () => {
  const nginx = deployment().replaceAll(/langflow/g, 'nginx')
  const second = '        - name: other\n          image: registry.example.org:5000/team/langflow@sha256:00\n'
  const plain = deployment({ command: 'command: [/start]' }).replace('langflowai/langflow:', 'x:')
  const unnamed = plain.replace('name: langflow', 'name: web')

  for (const [how, text] of [
    ['its container’s name', plain],
    ['its image', unnamed.replace('x:1.13.0', 'langflowai/langflow')],
    ['its image in another registry', unnamed.replace('x:1.13.0', 'r.example.org:5000/my-langflow:1')],
    ['the image of the backend', unnamed.replace('x:1.13.0', 'langflowai/langflow-backend:1')],
    ['its command', unnamed.replace('[/start]', '[sh, -c, "exec python -m langflow run"]')],
  ] as const)
    test(`is found by ${how}`, () => {
      const wrapped = manifestsIn(injected(`${nginx.replace('name: app', 'name: web')}---\n${text}`))
      const isWrapped = ({ spec }: Manifest) => spec?.template?.spec.initContainers?.length === 2
      assert.deepEqual(
        wrapped.filter(isWrapped).map(({ metadata }) => metadata.name),
        ['app'],
      )
    })

  test('can have any name if it is the only container', () => {
    assert.match(injected(nginx), /name: agent/)
    refused(`${nginx}---\n${nginx}`, /^found no LangFlow: no Deployment or StatefulSet has a container/)
  })

  test('must be named if two containers look like it', () => {
    const two = deployment({ command: 'command: [start]' }) + second
    refused(two, /^Deployment\/app: the containers langflow and other both look like LangFlow: .*--container/)
    const launched = (text: string) =>
      podOf(text).containers.map(({ command }) => command?.includes('launch') ?? false)
    assert.deepEqual(launched(injected(two, { container: 'langflow' })), [true, false])
    // One of them has "langflow run" in its command.
    assert.deepEqual(launched(injected(deployment() + second)), [true, false])
  })

  test('must be in the stream', () => {
    for (const text of ['', '# nothing\n', 'kind: ConfigMap\n'])
      refused(text, /^found no LangFlow: .*; set the name of the container with --container$/)
    const options = { container: 'web' }
    refused(deployment(), /has a container named web; correct --container$/, options)
  })

  test('is refused, with its name, in an unsupported kind of workload', () => {
    for (const kind of ['DaemonSet', 'ReplicaSet', 'Job', 'Rollout']) {
      const other = deployment().replace('kind: Deployment', `kind: ${kind}`)
      const sentence = new RegExp(`^${kind}/app: its container langflow runs LangFlow`)
      refused(`${other}---\n${deployment()}`, sentence)
    }
    const pod = 'kind: Pod\nmetadata: { name: p }\nspec: { containers: [{ name: langflow, image: x }] }\n'
    refused(pod, /^Pod\/p: its container langflow runs LangFlow/)
    const cron = `kind: CronJob\nmetadata: { name: c }\nspec: { jobTemplate: { spec: { template: { spec: { containers: [{ name: x, command: [langflow, run] }] } } } } }\n`
    refused(cron, /^CronJob\/c: /)
    refused(deployment().replace('apps/v1', 'extensions/v1beta1'), /^Deployment\/app: .*apps\/v1/)
  })

  test('stays unchanged in a Job that runs another command of it', () => {
    const job =
      'kind: Job\nmetadata: { name: j }\nspec: { template: { spec: { containers: [{ name: x, image: langflowai/langflow, command: [langflow, migration] }] } } }\n'
    assert.deepEqual(manifestsIn(injected(`${job}---\n${deployment()}`))[0], manifestsIn(job)[0])
  })
})

test('a map in place of a list is refused', () => {
  refused(deployment({ pod: 'volumes: { a: b }' }), /^Deployment\/app: volumes is not a list/)
})
