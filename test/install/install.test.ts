import assert from 'node:assert/strict'
import { execFile, spawnSync } from 'node:child_process'
import {
  chmodSync,
  chownSync,
  copyFileSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import { before, describe, test } from 'node:test'
import { promisify } from 'node:util'
import { readInterpreter, writeInterpreter } from '../../agent/install/interpreter.ts'
import { VERSION } from '../../agent/version.ts'
import { temporaryDirectory } from '../harness/temporary-directory.ts'

const asRoot = process.getuid?.() === 0
/** An unprivileged user, since root may read and write any file. It can read an installation, but not this checkout. */
const UNPRIVILEGED = { encoding: 'utf8', cwd: '/', ...(asRoot ? { uid: 65534, gid: 65534 } : {}) } as const
const ROOT = join(import.meta.dirname, '../..')
/** A replacement for tini, so that the tests don't need it. */
const TINI = '#!/bin/sh\n[ "$1 $2" = "-s --" ] || exit 64\nshift 2\nexec "$@"\n'

describe('install', () => {
  const scratch = temporaryDirectory()
  const bundle = join(scratch, 'langflow-leader.mjs')
  const bin = join(scratch, 'bin')

  before(async () => {
    await promisify(execFile)(process.execPath, [join(ROOT, 'deploy/bundle/build.mjs'), bundle])
    chmodSync(scratch, 0o755)
    mkdirSync(bin)
    writeFileSync(join(bin, 'tini-static'), TINI, { mode: 0o755 })
  })

  const run = (program: string, target: string, path = bin) =>
    spawnSync(process.execPath, [program, 'install', target], {
      encoding: 'utf8',
      env: { PATH: `${path}:/usr/bin:/bin` },
    })
  /** Runs the node and the program in the directory `from` as an unprivileged user. */
  const runFrom = (from: string, target: string) =>
    spawnSync(join(from, 'node'), [join(from, 'langflow-leader.mjs'), 'install', target], {
      ...UNPRIVILEGED,
      env: { PATH: bin },
    })
  const fails = ({ stderr, status }: ReturnType<typeof run>, message: RegExp) => {
    assert.match(stderr, message)
    assert.equal(stderr.trim().split('\n').length, 1, stderr)
    assert.equal(status, 1)
  }
  /** Installs the program in a new directory, and makes its node readable for the unprivileged user. */
  const installed = (name: string) => {
    const directory = join(scratch, name)
    assert.equal(run(bundle, directory).status, 0)
    chmodSync(join(directory, 'node'), 0o755)
    return directory
  }

  test('creates the directory with three programs that can start, and replaces existing ones by new files', () => {
    const target = join(scratch, 'made/for/it')
    const replaced: number[] = []
    for (const round of ['first', 'second']) {
      const { status, stdout, stderr } = run(bundle, target)
      assert.equal(status, 0, `${round}: ${stderr}`)
      assert.ok(stdout.includes(`node ${process.version} and langflow-leader ${VERSION}`))
      replaced.push(statSync(join(target, 'tini')).ino)
    }
    assert.notEqual(replaced[0], replaced[1])
    assert.deepEqual(readdirSync(target).sort(), ['langflow-leader.mjs', 'node', 'tini'])
    for (const name of readdirSync(target))
      assert.equal(statSync(join(target, name)).mode & 0o777, name === 'node' ? 0o111 : 0o755, name)

    const args = ['-s', '--', join(target, 'node'), join(target, 'langflow-leader.mjs'), 'launch', '--help']
    const started = spawnSync(join(target, 'tini'), args, { encoding: 'utf8', env: {}, cwd: '/' })
    assert.match(started.stdout, /Usage: langflow-leader launch/)
  })

  test('copies a node together with its own loader, and fails if the path is too long for it', (t) => {
    // The paths must not be longer than the path of this machine's loader, which they replace in node.
    const [own, target] = [mkdtempSync('/tmp/i'), mkdtempSync('/tmp/j')] as const
    t.after(() => [own, target].forEach((path) => void rmSync(path, { recursive: true })))
    const loader = readInterpreter(process.execPath) ?? assert.fail('node is static')
    mkdirSync(join(own, 'lib'))
    copyFileSync(loader, join(own, 'lib/ld.so'))
    copyFileSync(process.execPath, join(own, 'node'))
    writeInterpreter(join(own, 'node'), join(own, 'lib/ld.so'))
    const install = (dir: string) =>
      spawnSync(join(own, 'node'), [bundle, 'install', dir], { encoding: 'utf8', env: { PATH: bin } })

    const { status, stderr } = install(target)
    assert.equal(status, 0, stderr)
    assert.deepEqual(readdirSync(target).sort(), ['langflow-leader.mjs', 'lib', 'node', 'tini'])
    assert.deepEqual(readdirSync(join(target, 'lib')), ['ld.so'])
    assert.equal(readInterpreter(join(target, 'node')), join(target, 'lib/ld.so'))
    fails(install(join(target, 'x'.repeat(200))), /cannot write to/)
  })

  test('reports in one line why it cannot write to the directory', () => {
    const [file, closed] = [join(scratch, 'file'), join(scratch, 'closed')]
    writeFileSync(file, '')
    mkdirSync(closed, { mode: 0o555 })
    fails(run(bundle, file), /file: file already exists/)
    fails(run(bundle, '/proc/nowhere'), /nowhere: no such file/)
    fails(runFrom(installed('own'), closed), /closed: user \d+ has no permission/)
  })

  test('makes a node that its user can execute and replace, but not read, copy or trace', () => {
    const [own, copy] = [installed('source'), join(scratch, 'copy')]
    mkdirSync(copy)
    if (asRoot) chownSync(copy, 65534, 65534)
    for (const round of ['first', 'second']) assert.equal(runFrom(own, copy).status, 0, round)
    fails(runFrom(copy, join(scratch, 'never')), /node is executable but not readable/)

    const look = `
      const { openSync, readlinkSync } = require('node:fs')
      const tried = (act) => { try { act(); return 'done' } catch ({ code }) { return code } }
      const of = (pid) => ['mem', 'environ', 'maps'].map((file) => tried(() => openSync('/proc/' + pid + '/' + file)))
      console.log(JSON.stringify({ parent: of(process.ppid), self: of(process.pid) }))`
    const parent = `
      const { stdout } = require('node:child_process').spawnSync(${JSON.stringify(join(own, 'node'))}, ['-e', ${JSON.stringify(look)}])
      process.stdout.write(stdout)`
    const { stdout } = spawnSync(join(copy, 'node'), ['-e', parent], { ...UNPRIVILEGED, env: { PATH: bin } })
    assert.deepEqual(JSON.parse(stdout), {
      parent: ['EACCES', 'EACCES', 'EACCES'],
      self: ['done', 'done', 'done'],
    })
  })

  test('refuses to install from source, and names the build command', () => {
    fails(run(join(ROOT, 'agent/main.ts'), join(scratch, 'source')), /run npm run build, then/)
  })
})
