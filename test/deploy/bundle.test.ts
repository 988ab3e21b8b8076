import assert from 'node:assert/strict'
import { type ChildProcess, execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { promisify } from 'node:util'
import { VERSION } from '../../agent/version.ts'
import { residentMb } from '../bench/usage.ts'
import { temporaryDirectory } from '../harness/temporary-directory.ts'

const ROOT = join(import.meta.dirname, '../..')
const run = promisify(execFile)
/** The launcher's target of 70 MB minus the 43 MB of bare Node. */
const LAUNCHER_OVER_NODE_MB = 27

describe('the built file', () => {
  const scratch = temporaryDirectory()
  const bundle = join(scratch, 'langflow-leader.mjs')
  const started: ChildProcess[] = []

  before(() => run(process.execPath, [join(ROOT, 'deploy/bundle/build.mjs'), bundle]))
  after(async () => {
    for (const child of started) {
      if (child.exitCode !== null || child.signalCode !== null) continue
      child.kill('SIGKILL')
      await once(child, 'exit')
    }
  })

  async function start(args: readonly string[], env: NodeJS.ProcessEnv = {}): Promise<number> {
    const child = spawn(process.execPath, args, {
      cwd: scratch,
      env,
      stdio: ['ignore', 'pipe', 'inherit'],
    })
    started.push(child)
    await once(child.stdout!, 'data')
    return child.pid as number
  }
  const launch = (env?: NodeJS.ProcessEnv) =>
    start([bundle, 'launch', `--socket=${scratch}/none.sock`, '--', 'true'], env)

  test('runs without other files, and writes nothing to stderr', async () => {
    assert.deepEqual(readdirSync(scratch), ['langflow-leader.mjs'])
    assert.doesNotMatch(readFileSync(bundle, 'utf8'), /warm_langflow\.py/)
    const { stdout, stderr } = await run(process.execPath, [bundle, '--version'], { cwd: scratch, env: {} })
    assert.deepEqual([stdout, stderr], [`${VERSION}\n`, ''])
  })

  test('reports a Node that is too old in one line', async () => {
    const older = 'delete process.execve;Object.defineProperty(process,"version",{value:"v20.1.0"})'
    const started = run(process.execPath, ['--import', `data:text/javascript,${older}`, bundle, 'status'], {
      cwd: scratch,
      env: {},
    })
    await assert.rejects(started, { code: 1, stdout: '', stderr: /^langflow-leader: .*Node 24.*\n$/ })
  })

  test('replaces its process once, by one with a closed debugger and a clean environment', async () => {
    const pid = await launch({ NODE_OPTIONS: '--no-deprecation', LD_LIBRARY_PATH: '/nowhere' })
    const words = readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0')
    assert.deepEqual([words[1], words.filter((word) => word === '--no-opt').length], ['--disable-sigusr1', 1])
    assert.ok(words.indexOf('--no-opt') < words.indexOf(bundle))
    // After `--`, Node ignores an `--env-file` of this program.
    assert.equal(words[words.indexOf(bundle) - 1], '--')
    const names = readFileSync(`/proc/${pid}/environ`, 'utf8').matchAll(/(?<=^|\0)[^=\0]+/g)
    const aside = ['NODE_OPTIONS', 'LD_LIBRARY_PATH'].map((name) => `LANGFLOW_LEADER_ASIDE_${name}`)
    assert.deepEqual([...names].map(String), aside)
  })

  test('needs at most 27 MB more memory for a launcher than an idle Node', async () => {
    const bare = await start(['-e', 'console.log(1);setInterval(() => {}, 1000)'])
    const launcher = await launch()
    const overMb = residentMb(launcher) - residentMb(bare)
    assert.ok(overMb <= LAUNCHER_OVER_NODE_MB, `the launcher uses ${overMb} MB more than an idle Node`)
  })
})
