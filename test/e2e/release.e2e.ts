import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { promisify } from 'node:util'
import { VERSION } from '../../agent/version.ts'
import { helm, helmProgram } from '../deploy/helm.ts'
import { DEPLOY } from '../deploy/manifests.ts'
import { temporaryDirectory } from '../harness/temporary-directory.ts'

const run = promisify(execFile)
const IMAGE = ['ghcr.io/owner/langflow-leader', `sha256:${'0123'.repeat(16)}`] as const
const VALUES = { database: { trial: true }, storage: { type: 'none' } }
const URL = `https://example.org/owner/langflow-leader/releases/download/v${VERSION}`

test('the files of a release: the chart and the plain files with its image, the plugin without Node, SBOM and checksums', async () => {
  const scratch = temporaryDirectory()
  const [files, executables] = [join(scratch, 'files'), join(scratch, 'executables')]
  const options = { env: { ...process.env, HELM: helmProgram(4) } }
  const release = (what: string, ...more: string[]) =>
    run(join(DEPLOY, 'release.sh'), [what, files, ...IMAGE, ...more], options)
  await run(process.execPath, [join(DEPLOY, 'executable/build.mjs'), executables])
  await release('chart')
  await release('files', URL, executables)

  const [executable] = readdirSync(executables) as [string]
  const chart = `langflow-leader-${VERSION}.tgz`
  const template = ['template', 'langflow', join(files, chart), '--kube-version=1.37.0', '--values=-']
  const plain = ['langflow-production.yaml', 'langflow.yaml']
  const others = ['langflow-leader.mjs', 'langflow-leader.yaml', 'sbom.cdx.json', chart, ...plain]
  assert.deepEqual(readdirSync(files).sort(), [`${executable}.tar.gz`, 'SHA256SUMS', ...others].sort())
  const { stdout } = await run('sha256sum', ['--check', 'SHA256SUMS'], { cwd: files })
  assert.equal(stdout.match(/: OK$/gm)?.length, 7)
  for (const text of [
    await helm(4, template, VALUES),
    ...plain.map((file) => readFileSync(join(files, file), 'utf8')),
  ]) {
    assert.ok(text.includes(IMAGE.join('@')))
    assert.doesNotMatch(text, /image: "?langflow-leader:/)
  }
  const { components } = JSON.parse(readFileSync(join(files, 'sbom.cdx.json'), 'utf8'))
  const names = components.map(({ name }: { name: string }) => name)
  assert.ok(names.includes('node') && names.includes('fastify') && !names.includes('esbuild'))

  await run('tar', ['-xf', `${executable}.tar.gz`], { cwd: files })
  const plugin = join(files, 'kubectl-langflow_leader')
  const env = { PATH: '/nowhere', NODE_OPTIONS: '--no-such-option' }
  const help = await run(plugin, ['status', '--help'], { env })
  assert.match(help.stdout, /^Usage: kubectl langflow-leader status/)
  assert.equal(help.stderr, '')
  await assert.rejects(run(plugin, ['agent'], { env }), { code: 2, stderr: /the image/ })
})
