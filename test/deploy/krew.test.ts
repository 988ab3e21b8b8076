import assert from 'node:assert/strict'
import { execFile, execFileSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { promisify } from 'node:util'
import { parse } from 'yaml'
import { VERSION } from '../../agent/version.ts'
import { DEPLOY } from './manifests.ts'

const URL = `https://example.org/langflow-leader/releases/download/v${VERSION}`
const NAME = 'kubectl-langflow_leader'

interface Plugin {
  readonly apiVersion: string
  readonly kind: string
  readonly metadata: { readonly name: string }
  readonly spec: {
    readonly version: string
    readonly homepage: string
    readonly shortDescription: string
    readonly platforms: readonly {
      readonly uri: string
      readonly sha256: string
      readonly bin: string
      readonly files: readonly { readonly from: string; readonly to: string }[]
    }[]
  }
}

describe('the krew plugin', () => {
  const dir = mkdtempSync(join(tmpdir(), 'krew-test-'))
  let plugin: Plugin
  before(async () => {
    await promisify(execFile)(process.execPath, [join(DEPLOY, 'krew/build.mjs'), dir, URL])
    plugin = parse(readFileSync(join(dir, 'langflow-leader.yaml'), 'utf8'))
  })
  after(() => rmSync(dir, { recursive: true }))

  test('has a manifest that meets the rules of the krew index', () => {
    const { apiVersion, kind, metadata, spec } = plugin
    assert.equal(apiVersion, 'krew.googlecontainertools.github.com/v1alpha2')
    assert.equal(kind, 'Plugin')
    assert.equal(metadata.name, 'langflow-leader')
    assert.equal(spec.version, `v${VERSION}`)
    assert.equal(spec.homepage, 'https://example.org/langflow-leader')
    assert.ok(spec.shortDescription.length <= 50 && !spec.shortDescription.endsWith('.'))
  })

  test('is an archive with the digest and the files that the manifest names', () => {
    for (const { uri, sha256, bin, files } of plugin.spec.platforms) {
      assert.equal(uri, `${URL}/${NAME}.tar.gz`)
      const archive = join(dir, `${NAME}.tar.gz`)
      assert.equal(sha256, createHash('sha256').update(readFileSync(archive)).digest('hex'))
      const held = execFileSync('tar', ['-tf', archive], { encoding: 'utf8' }).trim().split('\n')
      assert.deepEqual(held.sort(), files.map(({ from }) => from).sort())
      assert.ok(held.includes(bin))
    }
  })

  test('runs as kubectl-langflow_leader, and completes as kubectl_complete-langflow_leader', () => {
    mkdirSync(join(dir, 'bin'))
    execFileSync('tar', ['-C', dir, '-xf', join(dir, `${NAME}.tar.gz`)])
    const run = (name: string, args: string[]) => {
      symlinkSync(join(dir, `${NAME}.mjs`), join(dir, 'bin', name))
      return execFileSync(process.execPath, [join(dir, 'bin', name), ...args], { encoding: 'utf8' })
    }
    assert.match(run(NAME, ['status', '--help']), /^Usage: kubectl langflow-leader status/)
    assert.match(run('kubectl_complete-langflow_leader', ['hist']), /^history\t/)
  })
})
