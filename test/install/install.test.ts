import assert from 'node:assert/strict'
import { execFile, spawnSync } from 'node:child_process'
import {
  chmodSync,
  chownSync,
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { promisify } from 'node:util'
import { readInterpreter, writeInterpreter } from '../../agent/install/interpreter.ts'
import { VERSION } from '../../agent/version.ts'

const asRoot = process.getuid?.() === 0
/** Root may read and write anywhere, so it becomes somebody who can read what was installed but not this checkout. */
const SOMEBODY = { encoding: 'utf8', cwd: '/', ...(asRoot ? { uid: 65534, gid: 65534 } : {}) } as const
const ROOT = join(import.meta.dirname, '../..')
/** As much of tini as the check of an installation needs, so that the tests need none. */
const TINI = '#!/bin/sh\n[ "$1 $2" = "-s --" ] || exit 64\nshift 2\nexec "$@"\n'

describe('install', () => {
  const scratch = mkdtempSync(join(tmpdir(), 'install-test-'))
  const bundle = join(scratch, 'langflow-leader.mjs')
  const bin = join(scratch, 'bin')

  before(async () => {
    await promisify(execFile)(process.execPath, [join(ROOT, 'deploy/bundle/build.mjs'), bundle])
    chmodSync(scratch, 0o755)
    mkdirSync(bin)
    writeFileSync(join(bin, 'tini-static'), TINI, { mode: 0o755 })
  })
  after(() => rmSync(scratch, { recursive: true, force: true }))

  const run = (program: string, args: readonly string[], path = bin) =>
    spawnSync(process.execPath, [program, ...args], {
      encoding: 'utf8',
      env: { PATH: `${path}:/usr/bin:/bin` },
    })
  const fails = (result: ReturnType<typeof run>, sentence: RegExp) => {
    assert.match(result.stderr, sentence)
    assert.equal(result.stderr.trim().split('\n').length, 1, result.stderr)
    assert.equal(result.status, 1)
  }

  test('copies three programs that start by themselves, and a second time over them', () => {
    const target = join(scratch, 'installed')
    for (const round of ['first', 'second']) {
      const { status, stdout, stderr } = run(bundle, ['install', target])
      assert.equal(status, 0, `${round}: ${stderr}`)
      assert.match(
        stdout,
        new RegExp(`^installed tini, node ${process.version} and langflow-leader ${VERSION} in `),
      )
    }
    assert.deepEqual(readdirSync(target).sort(), ['langflow-leader.mjs', 'node', 'tini'])
    for (const name of readdirSync(target))
      assert.equal(statSync(join(target, name)).mode & 0o777, name === 'node' ? 0o111 : 0o755, name)

    const args = ['-s', '--', join(target, 'node'), join(target, 'langflow-leader.mjs'), 'launch', '--help']
    const started = spawnSync(join(target, 'tini'), args, { encoding: 'utf8', env: {}, cwd: '/' })
    assert.match(started.stdout, /run LangFlow as the agent in the other container says/)
  })

  test('a node with a loader of its own is copied with it, to where the path has room', (t) => {
    // As short as the path of this machine's own loader, whose place it takes.
    const [own, target] = [mkdtempSync('/tmp/i'), mkdtempSync('/tmp/j')] as const
    t.after(() => [own, target].forEach((path) => void rmSync(path, { recursive: true })))
    const { path: loader, room } = readInterpreter(process.execPath) ?? assert.fail('node is static')
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
    assert.equal(readInterpreter(join(target, 'node'))?.path, join(target, 'lib/ld.so'))

    const deep = join(target, 'x'.repeat(room))
    fails(
      install(deep),
      new RegExp(
        `the path of ${deep} is too long for node to start from: name one of at most ${room - 10} bytes`,
      ),
    )
    assert.ok(!existsSync(deep))
  })

  test('an old file is replaced as a whole: who has it open keeps the old one', () => {
    const target = join(scratch, 'replaced')
    mkdirSync(target)
    writeFileSync(join(target, 'tini'), 'old')
    const { ino } = statSync(join(target, 'tini'))
    assert.equal(run(bundle, ['install', target]).status, 0)
    assert.notEqual(statSync(join(target, 'tini')).ino, ino)
  })

  test('a file in place of the directory is named', () => {
    const file = join(scratch, 'file')
    writeFileSync(file, '')
    fails(run(bundle, ['install', file]), /cannot write to .*file: it is not a directory; name another one/)
  })

  test('a directory is made with all above it, where it can be', () => {
    assert.equal(run(bundle, ['install', join(scratch, 'made/for/it')]).status, 0)
    fails(
      run(bundle, ['install', '/proc/nowhere']),
      /there can be no directory in that place; name another one/,
    )
  })

  test('a directory of somebody else', () => {
    const [target, own] = [join(scratch, 'closed'), join(scratch, 'own')]
    assert.equal(run(bundle, ['install', own]).status, 0)
    mkdirSync(target, { mode: 0o555 })
    chmodSync(join(own, 'node'), 0o755)
    const args = [join(own, 'langflow-leader.mjs'), 'install', target]
    fails(
      spawnSync(join(own, 'node'), args, { ...SOMEBODY, env: { PATH: bin } }),
      /cannot write to .*closed: user \d+ may not; mount a volume/,
    )
  })

  test('a user who may not read the copy cannot copy it, trace it or look into it, but can install over it', async () => {
    const [own, copy] = [join(scratch, 'source'), join(scratch, 'copy')]
    assert.equal(run(bundle, ['install', own]).status, 0)
    chmodSync(join(own, 'node'), 0o755)
    mkdirSync(copy)
    if (asRoot) chownSync(copy, 65534, 65534)
    const install = (from: string, to: string) =>
      spawnSync(join(from, 'node'), [join(from, 'langflow-leader.mjs'), 'install', to], {
        ...SOMEBODY,
        env: { PATH: bin },
      })
    for (const round of ['first', 'second']) assert.equal(install(own, copy).status, 0, round)
    fails(
      install(copy, join(scratch, 'never')),
      /node may be executed and not read, .*: install from the image/,
    )

    const look = `
      const { openSync, readlinkSync } = require('node:fs')
      const tried = (act) => { try { act(); return 'done' } catch ({ code }) { return code } }
      const of = (pid) => ['mem', 'environ', 'maps'].map((file) => tried(() => openSync('/proc/' + pid + '/' + file)))
      console.log(JSON.stringify({ parent: of(process.ppid), self: of(process.pid) }))`
    const parent = `
      const { stdout } = require('node:child_process').spawnSync(${JSON.stringify(join(own, 'node'))}, ['-e', ${JSON.stringify(look)}])
      process.stdout.write(stdout)`
    const { stdout } = spawnSync(join(copy, 'node'), ['-e', parent], { ...SOMEBODY, env: { PATH: bin } })
    assert.deepEqual(JSON.parse(stdout), {
      parent: ['EACCES', 'EACCES', 'EACCES'],
      self: ['done', 'done', 'done'],
    })
  })

  test('what does not start is not called installed', () => {
    const broken = join(scratch, 'broken')
    mkdirSync(broken)
    writeFileSync(join(broken, 'tini-static'), '#!/bin/sh\necho "wrong machine" >&2\nexit 1\n', {
      mode: 0o755,
    })
    fails(run(bundle, ['install', join(scratch, 'unstarted')], broken), /does not start: wrong machine/)
  })

  test('from its source the program says how to get a built one', () => {
    fails(run(join(ROOT, 'agent/main.ts'), ['install', join(scratch, 'source')]), /run npm run build, then/)
  })
})
