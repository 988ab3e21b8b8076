import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { readFileSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { parse } from 'yaml'
import { VERSION } from '../../agent/version.ts'
import { temporaryDirectory } from '../harness/temporary-directory.ts'
import { DEPLOY } from './manifests.ts'

const URL = `https://example.org/langflow-leader/releases/download/v${VERSION}`
const NAME = 'kubectl-langflow_leader'

test('the krew plugin has a valid manifest, with the digest and the files of the archive of each platform', () => {
  const [dir, executables] = [temporaryDirectory(), temporaryDirectory()]
  const platforms = ['darwin-arm64', 'linux-amd64']
  for (const one of platforms) writeFileSync(join(executables, `${NAME}-${one}`), one)
  execFileSync(process.execPath, [join(DEPLOY, 'krew/build.mjs'), dir, URL, executables])
  const { apiVersion, kind, metadata, spec } = parse(readFileSync(join(dir, 'langflow-leader.yaml'), 'utf8'))
  assert.deepEqual([apiVersion, kind], ['krew.googlecontainertools.github.com/v1alpha2', 'Plugin'])
  assert.deepEqual([metadata.name, spec.version], ['langflow-leader', `v${VERSION}`])
  assert.equal(spec.homepage, 'https://example.org/langflow-leader')
  assert.ok(spec.shortDescription.length <= 50 && !spec.shortDescription.endsWith('.'))

  assert.equal(spec.platforms.length, platforms.length)
  for (const [n, { selector, uri, sha256, bin, files }] of spec.platforms.entries()) {
    assert.equal(Object.values(selector.matchLabels).join('-'), platforms[n])
    const archive = join(dir, `${NAME}-${platforms[n]}.tar.gz`)
    assert.equal(uri, `${URL}/${NAME}-${platforms[n]}.tar.gz`)
    assert.equal(sha256, createHash('sha256').update(readFileSync(archive)).digest('hex'))
    const held = execFileSync('tar', ['-tf', archive], { encoding: 'utf8' }).trim().split('\n').sort()
    assert.deepEqual(held, files.map(({ from }: { from: string }) => from).sort())
    execFileSync('tar', ['-C', dir, '-xf', archive])
    assert.equal(readFileSync(join(dir, bin), 'utf8'), platforms[n])
    assert.equal(statSync(join(dir, bin)).mode & 0o777, 0o755)
  }
})
