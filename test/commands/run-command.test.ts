import assert from 'node:assert/strict'
import { execFileSync, spawnSync } from 'node:child_process'
import { existsSync, mkdirSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, test } from 'node:test'
import { LANGFLOW } from '../../agent/lease/lease.ts'
import { podObstacle } from '../harness/pod.ts'
import { FAST } from '../harness/replica.ts'
import { EmbeddedScene, LEASE, lives } from '../harness/scene.ts'
import { warmLangflow } from '../harness/warm-langflow.ts'
import { noPython } from '../launcher/fixtures/write-files.ts'

describe('agent and launcher in one tree', { concurrency: 4 }, () => {
  test('the agent kills the remaining processes of a killed launcher, hands over, and starts another launcher', async (t) => {
    const scene = await EmbeddedScene.open(t)
    const [a, b] = await scene.pair()
    process.kill(a.launcherPid(), 'SIGKILL')
    await a.event('released')
    assert.ok(!lives(a.workloadPid()))
    await b.event('serving')
    await a.find(
      'a new launcher',
      (line) => /launcher connected/.test(line.msg),
      a.lines.findIndex((line) => line.event === 'released'),
    )
  })

  test('a terminal’s signals to the agent do not reach the launcher', async (t) => {
    const scene = await EmbeddedScene.open(t)
    const a = await scene.replica('a')
    await a.event('serving')
    // A terminal signals a whole session.
    const sessionOf = (pid: number) =>
      execFileSync('ps', ['-o', 'sess=', '-p', String(pid)], { encoding: 'utf8' })
    assert.notEqual(sessionOf(a.launcherPid()), sessionOf(a.pid))
  })

  test('the launcher does not obey NODE_OPTIONS in an env file: its command line has -- before the program', async (t) => {
    const scene = await EmbeddedScene.open(t)
    const [mark, preload, envFile] = ['mark', 'preload.cjs', 'env'].map((name) => join(scene.dir, name))
    // LangFlow receives the variable.
    const body = `if (process.argv.includes('launch')) require('node:fs').writeFileSync('${mark}', '')`
    writeFileSync(preload as string, body)
    writeFileSync(envFile as string, `NODE_OPTIONS=--require=${preload}\n`)
    const a = await scene.replica('a', { flags: [...FAST, `--env-file=${envFile}`] })
    await a.event('serving')
    assert.ok(!existsSync(mark as string))
  })

  test('the agent kills a frozen launcher and its workload, then hands over', async (t) => {
    const scene = await EmbeddedScene.open(t)
    const [a, b] = await scene.pair()
    process.kill(a.launcherPid(), 'SIGSTOP')
    await a.event('released')
    assert.ok(!lives(a.workloadPid()))
    await b.event('serving')
  })

  test('the agent kills the workload in time if the launcher is frozen and the API server hangs', async (t) => {
    const scene = await EmbeddedScene.open(t)
    // The agent has half the margin for the kill, and may wait for the CPU.
    const [a, b] = await scene.pair({ flags: [...FAST, '--lease-duration=8s', '--kill-margin=5s'] })
    process.kill(a.launcherPid(), 'SIGSTOP')
    a.link.partition()
    await b.event('acquired')
    assert.ok(!lives(a.workloadPid()))
    await a.link.heal()
    await b.event('serving')
  })

  test('a follower ends on SIGTERM although its launcher is frozen', async (t) => {
    const scene = await EmbeddedScene.open(t)
    const [, b] = await scene.pair()
    process.kill(b.launcherPid(), 'SIGSTOP')
    b.signal('SIGTERM')
    assert.deepEqual(await b.exited, { code: 0, signal: null })
  })
})

/** Gives an imitated LangFlow the metadata of an installed one. */
function addMetadata(modules: string, version: string): void {
  const info = join(modules, `langflow_base-${version}.dist-info`)
  mkdirSync(info, { recursive: true })
  writeFileSync(join(info, 'METADATA'), `Metadata-Version: 2.4\nName: langflow-base\nVersion: ${version}\n`)
}

test('run names the directory that it cannot create, and what to set', () => {
  const options = { encoding: 'utf8', env: { TMPDIR: import.meta.filename } } as const
  const main = join(import.meta.dirname, '../../agent/main.ts')
  const { status, stderr } = spawnSync(process.execPath, [main, 'run', '--', 'langflow'], options)
  assert.equal(status, 1)
  assert.match(stderr, /^langflow-leader: cannot create \S+ \(.+\): make \$TMPDIR .*, or set --socket .*\n$/)
})

test('a LangFlow that was replaced on disk starts only in a term that records its version', {
  skip: noPython,
}, async (t) => {
  const scene = await EmbeddedScene.open(t)
  const made = warmLangflow(scene.dir)
  const modules = made.env.PYTHONPATH as string
  addMetadata(modules, '1.12.8')
  const a = await scene.replica('a', { ...made, flags: [...made.flags, ...FAST, '--on-crash=restart'] })
  await a.event('serving')
  rmSync(join(modules, 'langflow_base-1.12.8.dist-info'), { recursive: true })
  addMetadata(modules, '1.13.0')
  const from = a.lines.length
  process.kill(a.workloadPid(), 'SIGKILL')
  await a.event('serving', from)
  assert.equal(scene.api.lease(LEASE)?.metadata.annotations?.[LANGFLOW], '1.13.0')
  const epochs = a.lines.filter(({ event }) => event === 'workload_started').map(({ epoch }) => epoch)
  // In the term of epoch 2 the launcher noticed the new version, and started nothing.
  assert.deepEqual(epochs, [1, 3])
})

describe('agent and launcher in two containers', { concurrency: 2, skip: podObstacle() ?? false }, () => {
  test('the deadman kills the workload of a killed agent even if the container’s log is not read', async (t) => {
    const scene = await EmbeddedScene.open(t)
    const a = await scene.pod('a')
    await a.agent.event('serving')
    const b = await scene.pod('b')
    await b.agent.event('standby_ready')
    // The workload fills the pipe that the launcher writes to as well.
    a.container.stopReading()
    await fetch(`http://127.0.0.1:${a.port}/shout`)
    a.agent.signal('SIGKILL')
    await b.agent.event('serving')
    assert.ok(scene.lastBeat('a') < scene.firstBeat('b'))
    process.kill(a.launcherPid(), 'SIGKILL')
  })

  test('the container ends on SIGTERM without waiting for an agent that hangs', async (t) => {
    const scene = await EmbeddedScene.open(t)
    const a = await scene.pod('a')
    await a.agent.event('serving')
    a.agent.signal('SIGSTOP')
    process.kill(a.launcherPid(), 'SIGTERM')
    await a.container.event('workload_stopped')
    assert.equal((await a.container.exited).code, 0)
  })
})
