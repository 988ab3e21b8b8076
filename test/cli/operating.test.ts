import assert from 'node:assert/strict'
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync, statSync } from 'node:fs'
import { text } from 'node:stream/consumers'
import { describe, test } from 'node:test'
import { SWITCHOVER_TO } from '../../agent/lease/operator-annotations.ts'
import { BUNDLE } from '../harness/bundle.ts'
import { EmbeddedScene, LEASE } from '../harness/scene.ts'
import { Series } from '../harness/wait.ts'

/** The default timings, so that a busy machine does not lose the Lease by a late renewal. */
const CALM = { flags: [] }

/** Runs a command as an operator does, with a kubeconfig. */
class Command {
  readonly lines = new Series<string>()
  readonly #child: ChildProcess
  readonly #stderr: Promise<string>
  #stdout = ''

  constructor(scene: EmbeddedScene, ...args: string[]) {
    const all = [BUNDLE, ...args, `--kubeconfig=${scene.kubeconfig('operator')}`]
    this.#child = spawn(process.execPath, all, { stdio: ['ignore', 'pipe', 'pipe'] })
    this.#child.stdout!.setEncoding('utf8').on('data', (chunk: string) => {
      this.#stdout += chunk
      this.lines.add(...chunk.split('\n'))
    })
    this.#stderr = text(this.#child.stderr!)
    scene.atEnd(async () => void this.#child.kill('SIGKILL'))
  }

  ctrlC(): void {
    this.#child.kill('SIGINT')
  }

  async end(): Promise<{ code: number | null; stdout: string; stderr: string }> {
    const [code] = await once(this.#child, 'close')
    return { code, stdout: this.#stdout, stderr: await this.#stderr }
  }
}

describe('operating real replicas', { concurrency: 4 }, () => {
  test('switchover: the named replica serves', async (t) => {
    const scene = await EmbeddedScene.open(t)
    const [a, b] = await scene.pair(CALM)
    const { code, stdout, stderr } = await new Command(
      scene,
      ...['switchover', '--to=b', '--yes', '--output=json'],
    ).end()
    assert.equal(code, 0, stderr)
    const { result, from, to, epoch, gapMs } = JSON.parse(stdout)
    assert.deepEqual([result, from, to, epoch], ['switched', 'a', 'b', 2])
    assert.ok(gapMs > 0, stdout)
    assert.equal((await a.event('released')).code, 'switchover')
    assert.equal((await b.get('/readyz')).status, 200)
    const again = await new Command(scene, 'switchover', '--to=b', '--yes', '--output=json').end()
    assert.deepEqual([again.code, JSON.parse(again.stdout).error.code], [3, 'already_leads'])
  })

  test('switchover: a request that the leader has not read is withdrawn after the timeout, and on Ctrl-C', async (t) => {
    const scene = await EmbeddedScene.open(t)
    // The lease is longer than both commands.
    const [a] = await scene.pair({ flags: ['--lease-duration=90s', '--renew-deadline=80s'] })
    await a.link.refuse()
    scene.atEnd(() => a.link.heal())
    const late = await new Command(scene, 'switchover', '--yes', '--timeout=1s', '--output=json').end()
    assert.deepEqual([late.code, JSON.parse(late.stdout).error.code], [124, 'timed_out'])
    assert.equal(scene.api.lease(LEASE)?.metadata.annotations?.[SWITCHOVER_TO], undefined)
    const command = new Command(scene, 'switchover', '--yes')
    await command.lines.next('the request', (line) => /is asked for/.test(line))
    assert.equal(scene.api.lease(LEASE)?.metadata.annotations?.[SWITCHOVER_TO], '*')
    command.ctrlC()
    assert.equal((await command.end()).code, 130)
    assert.equal(scene.api.lease(LEASE)?.metadata.annotations?.[SWITCHOVER_TO], undefined)
    assert.equal((await a.get('/readyz')).status, 200)
  })

  test('report: a new file that only its owner can read has all that the API server answers', async (t) => {
    const scene = await EmbeddedScene.open(t)
    await scene.pair(CALM)
    const file = scene.path('report.txt')
    // This API server has no logs, no Events and no workloads.
    const { code, stdout, stderr } = await new Command(scene, 'report', `--file=${file}`).end()
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
    const again = await new Command(scene, 'report', `--file=${file}`).end()
    assert.deepEqual([again.code, again.stdout], [1, ''])
    assert.match(again.stderr, /cannot write \S+: the file exists/)
  })

  test('status in an outage reports the holder and the time of the takeover', async (t) => {
    const scene = await EmbeddedScene.open(t)
    const [a] = await scene.pair(CALM)
    a.signal('SIGKILL')
    await a.exited
    const { code, stdout } = await new Command(scene, 'status').end()
    assert.equal(code, 1)
    assert.match(stdout, /^Lease \S+: a holds it since /)
    const [, seconds] = /: a holds the Lease, but .*; takeover in about (\d+) s unless/.exec(stdout) ?? []
    assert.ok(Number(seconds) > 0 && Number(seconds) <= 15, stdout)
  })
})
