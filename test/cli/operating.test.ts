import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync, statSync } from 'node:fs'
import { createInterface } from 'node:readline'
import { describe, test } from 'node:test'
import { SWITCHOVER_TO } from '../../agent/lease/operator-annotations.ts'
import { BUNDLE, runBundle } from '../harness/bundle.ts'
import { EmbeddedScene, LEASE } from '../harness/scene.ts'

/** The default timings, so that a busy machine does not lose the Lease by a late renewal. */
const CALM = { flags: [] }

/** Runs a command as an operator does, with a kubeconfig. */
const run = (scene: EmbeddedScene, ...args: string[]) =>
  runBundle([...args, `--kubeconfig=${scene.kubeconfig('operator')}`])

describe('operating real replicas', { concurrency: 4 }, () => {
  test('switchover: the named replica serves', async (t) => {
    const scene = await EmbeddedScene.open(t)
    const [a, b] = await scene.pair(CALM)
    const { code, stdout, stderr } = await run(scene, 'switchover', '--to=b', '--yes', '--output=json')
    assert.equal(code, 0, stderr)
    const { result, from, to, epoch, gapMs } = JSON.parse(stdout)
    assert.deepEqual([result, from, to, epoch], ['switched', 'a', 'b', 2])
    assert.ok(gapMs > 0, stdout)
    assert.equal((await a.event('released')).code, 'switchover')
    assert.equal((await b.get('/readyz')).status, 200)
    const again = await run(scene, 'switchover', '--to=b', '--yes', '--output=json')
    assert.deepEqual([again.code, JSON.parse(again.stdout).error.code], [3, 'already_leads'])
  })

  test('switchover: a request that the leader has not read is withdrawn after the timeout, and on Ctrl-C', async (t) => {
    const scene = await EmbeddedScene.open(t)
    // The lease is longer than both commands.
    const [a] = await scene.pair({ flags: ['--lease-duration=90s', '--renew-deadline=80s'] })
    await a.link.refuse()
    scene.atEnd(() => a.link.heal())
    const late = await run(scene, 'switchover', '--yes', '--timeout=1s', '--output=json')
    assert.deepEqual([late.code, JSON.parse(late.stdout).error.code], [124, 'timed_out'])
    assert.equal(scene.api.lease(LEASE)?.metadata.annotations?.[SWITCHOVER_TO], undefined)
    const words = [BUNDLE, 'switchover', '--yes', `--kubeconfig=${scene.kubeconfig('operator')}`]
    const command = spawn(process.execPath, words, { stdio: ['ignore', 'pipe', 'inherit'] })
    scene.atEnd(async () => void command.kill('SIGKILL'))
    for await (const line of createInterface(command.stdout)) if (/is asked for/.test(line)) break
    assert.equal(scene.api.lease(LEASE)?.metadata.annotations?.[SWITCHOVER_TO], '*')
    command.kill('SIGINT')
    assert.deepEqual(await once(command, 'exit'), [130, null])
    assert.equal(scene.api.lease(LEASE)?.metadata.annotations?.[SWITCHOVER_TO], undefined)
    assert.equal((await a.get('/readyz')).status, 200)
  })

  test('report: a new file that only its owner can read has all that the API server answers', async (t) => {
    const scene = await EmbeddedScene.open(t)
    await scene.pair(CALM)
    const file = scene.path('report.txt')
    // This API server has no logs, no Events and no workloads.
    const { code, stdout, stderr } = await run(scene, 'report', `--file=${file}`)
    assert.equal(code, 1)
    assert.match(stdout, /^wrote \S+: 5 parts, \d+ missing; read it before you share it\n$/)
    const text = readFileSync(file, 'utf8')
    for (const line of stderr.trim().split('\n')) {
      const [, sentence = ''] = /^langflow-leader: (.* could not be read: .*)$/.exec(line) ?? []
      assert.ok(sentence !== '' && text.includes(`\n${sentence}\n`), line)
    }
    const titles = [...text.matchAll(/^===== (.*) =====$/gm)].map(([, title]) => title)
    assert.deepEqual(titles, ['status', 'history', 'Lease', 'Pod/a', 'Pod/b'])
    assert.equal(statSync(file).mode & 0o777, 0o600)
    const again = await run(scene, 'report', `--file=${file}`)
    assert.deepEqual([again.code, again.stdout], [1, ''])
    assert.match(again.stderr, /cannot write \S+: the file exists/)
  })

  test('status in an outage reports the holder and the time of the takeover', async (t) => {
    const scene = await EmbeddedScene.open(t)
    const [a] = await scene.pair(CALM)
    a.signal('SIGKILL')
    await a.exited
    const { code, stdout } = await run(scene, 'status')
    assert.equal(code, 1)
    assert.match(stdout, /^Lease \S+: a holds it since /)
    const [, seconds] = /: a holds the Lease, but .*; takeover in about (\d+) s unless/.exec(stdout) ?? []
    assert.ok(Number(seconds) > 0 && Number(seconds) <= 15, stdout)
  })
})
