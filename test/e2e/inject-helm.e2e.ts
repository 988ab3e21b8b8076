import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { delimiter, join } from 'node:path'
import { after, describe, test } from 'node:test'
import { promisify } from 'node:util'
import { LAUNCH } from '../../agent/cli/manifests/pod-spec.ts'
import { fixture } from '../cli/inject/streams.ts'
import { helmProgram } from '../deploy/helm.ts'
import { BUNDLE } from '../harness/bundle.ts'
import { startControlPlane } from '../harness/control-plane.ts'
import { temporaryDirectory } from '../harness/temporary-directory.ts'

const plane = await startControlPlane()
after(() => plane.close())

const PAGE = readFileSync(join(import.meta.dirname, '../../docs/guide/inject.md'), 'utf8')
const execute = promisify(execFile)

/** A block of the guide, with an image that exists. */
function block(language: string, mark: string): string {
  const blocks = [...PAGE.matchAll(new RegExp(`^\`\`\`${language}\n(.*?)^\`\`\`$`, 'gms'))]
  const [, text] = blocks.find(([, text]) => text?.includes(mark)) ?? []
  assert.ok(text, `docs/guide/inject.md has no block with ${mark}`)
  return text.replaceAll('REGISTRY', 'registry.example.org')
}

const dir = temporaryDirectory()
const executable = { mode: 0o755 }
mkdirSync(join(dir, 'bin'))
const program = `#!/bin/sh\nexec '${process.execPath}' '${BUNDLE}' "$@"\n`
writeFileSync(join(dir, 'bin/langflow-leader'), program, executable)
writeFileSync(join(dir, 'inject.sh'), block('sh', '#!/bin/sh'), executable)
mkdirSync(join(dir, 'langflow-leader-inject'))
writeFileSync(join(dir, 'langflow-leader-inject/plugin.yaml'), block('yaml', 'postrenderer/v1'))
for (const name of ['langflow-ide', 'langflow-runtime'] as const) {
  mkdirSync(join(dir, name, 'templates'), { recursive: true })
  writeFileSync(join(dir, name, 'Chart.yaml'), `apiVersion: v2\nname: ${name}\nversion: 0.1.1\n`)
  writeFileSync(join(dir, name, 'templates/all.yaml'), fixture(name))
}

describe("LangFlow's charts with the post-renderer of docs/guide/inject.md", () => {
  for (const [version, renderer] of [
    [3, './inject.sh'],
    [4, 'langflow-leader-inject'],
  ] as const) {
    const home = () => join(dir, String(version))
    const helm = (...args: string[]) =>
      execute(helmProgram(version), args, {
        cwd: dir,
        env: {
          PATH: [join(dir, 'bin'), process.env.PATH].join(delimiter),
          HOME: home(),
          KUBECONFIG: plane.adminKubeconfig,
        },
      })

    for (const [chart, kind, workload, client] of [
      ['langflow-ide', 'statefulset', 'flows', 'flows-backend'],
      ['langflow-runtime', 'deployment', 'flows-langflow-runtime', 'flows-langflow-runtime'],
    ] as const)
      test(`Helm ${version} installs, upgrades and removes ${chart}`, async () => {
        const namespace = `${chart}-${version}`
        const of = `--namespace=${namespace}`
        const get = async (...what: string[]) => (await plane.kubectl(['get', of, ...what])).stdout
        const json = async (...what: string[]) => JSON.parse(await get(...what, '--output=json'))
        if (version === 4) await helm('plugin', 'install', './langflow-leader-inject').catch(() => {})
        const release = ['flows', `./${chart}`, of, '--post-renderer', renderer]
        await helm('install', ...release, '--create-namespace')
        const { metadata, spec } = await json(kind, workload)
        const [container] = spec.template.spec.containers
        assert.deepEqual(container.command, [...LAUNCH, '/bin/bash', '-c'])
        assert.deepEqual(
          spec.template.spec.initContainers.map(({ name }: { name: string }) => name),
          ['install', 'agent'],
        )
        const [{ targetPort }] = (await json('service', client)).spec.ports
        const { containerPort } = container.ports.find(({ name }: { name: string }) => name === targetPort)
        assert.equal(containerPort, 8091)

        // A release that is upgraded without a change keeps its pods and its leader.
        const lease = `${workload}-leader`
        const holder = JSON.stringify({ spec: { holderIdentity: 'leader' } })
        await plane.kubectl(['patch', of, 'lease', lease, '--type=merge', '--patch', holder])
        await helm('upgrade', ...release)
        assert.equal((await json(kind, workload)).metadata.generation, metadata.generation)
        assert.equal((await json('lease', lease)).spec.holderIdentity, 'leader')

        await helm('uninstall', 'flows', of)
        const kinds = 'lease,role,rolebinding,service,deployment,statefulset'
        assert.equal(await get(kinds, '--output=name'), '')
      })
  }
})
