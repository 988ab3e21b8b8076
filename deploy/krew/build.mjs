#!/usr/bin/env node
// build.mjs DIR URL: writes into DIR the archive that krew installs as `kubectl langflow-leader`, and its manifest. URL: the
// address of the archive of this version, without the archive's name.
import { execFileSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import {
  copyFileSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  utimesSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

const root = join(import.meta.dirname, '../..')
const [directory, url] = process.argv.slice(2)
if (url === undefined) {
  process.stderr.write('build.mjs: name a directory and the URL of the release\n')
  process.exit(2)
}
const { version } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'))
const archive = 'kubectl-langflow_leader.tar.gz'
mkdirSync(directory, { recursive: true })

const draft = mkdtempSync(join(tmpdir(), 'krew-'))
try {
  execFileSync(process.execPath, [
    join(root, 'deploy/bundle/build.mjs'),
    join(draft, 'kubectl-langflow_leader.mjs'),
  ])
  copyFileSync(join(root, 'LICENSE'), join(draft, 'LICENSE'))
  // The same sources give the same bytes: the manifest contains their digest.
  const files = ['LICENSE', 'kubectl-langflow_leader.mjs']
  for (const file of files) utimesSync(join(draft, file), 0, 0)
  const same = ['--format=ustar', '--owner=0', '--group=0', '--numeric-owner', '--mode=a+rX,go-w']
  const tar = execFileSync('tar', ['-C', draft, ...same, '-cf', '-', ...files], { maxBuffer: 2 ** 28 })
  writeFileSync(join(directory, archive), execFileSync('gzip', ['-9n'], { input: tar, maxBuffer: 2 ** 28 }))
} finally {
  rmSync(draft, { recursive: true, force: true })
}

const sha256 = createHash('sha256')
  .update(readFileSync(join(directory, archive)))
  .digest('hex')
const manifest = readFileSync(join(import.meta.dirname, 'langflow-leader.yaml'), 'utf8')
  .replaceAll('VERSION', `v${version}`)
  .replaceAll('URI', `${url.replace(/\/$/, '')}/${archive}`)
  .replaceAll('SHA256', sha256)
  .replaceAll('HOMEPAGE', url.replace(/\/releases\/.*/, ''))
writeFileSync(join(directory, 'langflow-leader.yaml'), manifest)
