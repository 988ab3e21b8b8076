#!/usr/bin/env node
// build.mjs DIR URL EXECUTABLES: writes into DIR the archives that krew installs as `kubectl langflow-leader`, one for each file
// kubectl-langflow_leader-OS-ARCH of the directory EXECUTABLES, and their manifest. URL: the address of the archives of this
// version, without their names.
import { execFileSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import {
  chmodSync,
  copyFileSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  utimesSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

const root = join(import.meta.dirname, '../..')
const [directory, url, executables] = process.argv.slice(2)
if (executables === undefined) {
  process.stderr.write(
    'build.mjs: name a directory, the URL of the release, and the directory of the executables\n',
  )
  process.exit(2)
}
const { version } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'))
mkdirSync(directory, { recursive: true })

const archives = readdirSync(executables)
  .map((file) => /^kubectl-langflow_leader-(?<os>linux|darwin)-(?<arch>amd64|arm64)$/.exec(file))
  .filter((match) => match !== null)
  .map(({ 0: file, groups }) => ({ name: `${file}.tar.gz`, ...groups, ...pack(file) }))
if (archives.length === 0) {
  process.stderr.write(`build.mjs: ${executables} has no file kubectl-langflow_leader-OS-ARCH\n`)
  process.exit(1)
}

const base = url.replace(/\/$/, '')
const manifest = readFileSync(join(import.meta.dirname, 'langflow-leader.yaml'), 'utf8')
const [head, platform] = manifest.split(/(?<=^ {2}platforms:\n)/m)
const platforms = archives.map(({ name, os, arch, sha256 }) =>
  platform
    .replace('OS', os)
    .replace('ARCH', arch)
    .replace('URI', `${base}/${name}`)
    .replace('SHA256', sha256),
)
writeFileSync(
  join(directory, 'langflow-leader.yaml'),
  head.replace('VERSION', `v${version}`).replace('HOMEPAGE', url.replace(/\/releases\/.*/, '')) +
    platforms.join(''),
)

/** Writes the archive of an executable. The same file gives the same bytes: the manifest contains their digest. */
function pack(file) {
  const draft = mkdtempSync(join(tmpdir(), 'krew-'))
  try {
    copyFileSync(join(executables, file), join(draft, 'kubectl-langflow_leader'))
    copyFileSync(join(root, 'LICENSE'), join(draft, 'LICENSE'))
    const files = ['LICENSE', 'kubectl-langflow_leader']
    // The transfer between two jobs of a workflow drops the right to execute.
    chmodSync(join(draft, 'kubectl-langflow_leader'), 0o755)
    for (const one of files) utimesSync(join(draft, one), 0, 0)
    const same = ['--format=ustar', '--owner=0', '--group=0', '--numeric-owner', '--mode=a+rX,go-w']
    const tar = execFileSync('tar', ['-C', draft, ...same, '-cf', '-', ...files], { maxBuffer: 2 ** 28 })
    const archive = execFileSync('gzip', ['-n'], { input: tar, maxBuffer: 2 ** 28 })
    writeFileSync(join(directory, `${file}.tar.gz`), archive)
    return { sha256: createHash('sha256').update(archive).digest('hex') }
  } finally {
    rmSync(draft, { recursive: true, force: true })
  }
}
