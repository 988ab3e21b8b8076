import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { readFileSync, symlinkSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { parse } from 'yaml'
import { VERSION } from '../../agent/version.ts'
import { temporaryDirectory } from '../harness/temporary-directory.ts'
import { DEPLOY } from './manifests.ts'

const URL = `https://example.org/langflow-leader/releases/download/v${VERSION}`
const NAME = 'kubectl-langflow_leader'

test('the krew plugin has a valid manifest, with the digest and the files of its archive, and runs', () => {
  const dir = temporaryDirectory()
  execFileSync(process.execPath, [join(DEPLOY, 'krew/build.mjs'), dir, URL])
  const { apiVersion, kind, metadata, spec } = parse(readFileSync(join(dir, 'langflow-leader.yaml'), 'utf8'))
  assert.deepEqual([apiVersion, kind], ['krew.googlecontainertools.github.com/v1alpha2', 'Plugin'])
  assert.deepEqual([metadata.name, spec.version], ['langflow-leader', `v${VERSION}`])
  assert.ok(spec.shortDescription.length <= 50 && !spec.shortDescription.endsWith('.'))

  const archive = join(dir, `${NAME}.tar.gz`)
  const held = execFileSync('tar', ['-tf', archive], { encoding: 'utf8' }).trim().split('\n').sort()
  for (const { uri, sha256, bin, files } of spec.platforms) {
    assert.equal(uri, `${URL}/${NAME}.tar.gz`)
    assert.equal(sha256, createHash('sha256').update(readFileSync(archive)).digest('hex'))
    assert.deepEqual(held, files.map(({ from }: { from: string }) => from).sort())
    assert.ok(held.includes(bin))
  }

  execFileSync('tar', ['-C', dir, '-xf', archive])
  symlinkSync(join(dir, `${NAME}.mjs`), join(dir, NAME))
  const help = execFileSync(process.execPath, [join(dir, NAME), 'status', '--help'], { encoding: 'utf8' })
  assert.match(help, /^Usage: kubectl langflow-leader status/)
})
