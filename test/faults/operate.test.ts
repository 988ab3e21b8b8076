import assert from 'node:assert/strict'
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { text } from 'node:stream/consumers'
import { describe, test } from 'node:test'
import { SWITCHOVER_TO } from '../../agent/lease/operator-annotations.ts'
import { BUNDLE } from '../harness/bundle.ts'
import { freePort } from '../harness/free-port.ts'
import { FAST } from '../harness/replica.ts'
import { EmbeddedScene, LEASE } from '../harness/scene.ts'
import { Series } from '../harness/wait.ts'

/** Also where many share the machine nothing is to be lost by the clock. */
const CALM = { flags: ['--drain-timeout=1m'] }

/** One command that operates, as somebody runs it with a kubeconfig. */
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

  async end(): Promise<{ code: number; stdout: string; stderr: string }> {
    const [code] = await once(this.#child, 'close')
    return { code, stdout: this.#stdout, stderr: await this.#stderr }
  }
}

/** The status of one request after the other, until `signal`. */
async function repeated(ask: () => Promise<Response>, signal: AbortSignal): Promise<number[]> {
  const answers: number[] = []
  while (!signal.aborted) answers.push((await ask()).status)
  return answers
}

describe('operating real replicas', { concurrency: 4 }, () => {
  test('switchover: the named one serves, and each phase was told', async (t) => {
    const scene = await EmbeddedScene.open(t)
    const [a, b] = await scene.pair(CALM)
    const { code, stdout, stderr } = await new Command(
      scene,
      ...['switchover', '--to=b', '--yes', '--output=json'],
    ).end()
    assert.equal(code, 0, stderr)
    const { gapMs, phases, ...result } = JSON.parse(stdout)
    const { took, ...rest } = result
    assert.deepEqual(rest, {
      result: 'switched',
      asked: 'b',
      from: 'a',
      to: 'b',
      epoch: 2,
      crashed: false,
      gapFrom: 'leader',
      held: null,
    })
    assert.ok(gapMs > 0 && gapMs >= took.stopMs + took.healthyMs, stdout)
    assert.deepEqual([phases[0].phase, phases.at(-1).phase], ['requested', 'serving'])
    assert.match(stderr, /0\.0 s {2}requested {2}b\n(.*\n)* .* s {2}serving {4}b\n$/)
    assert.equal((await a.event('released')).code, 'switchover')
    assert.equal((await b.get('/readyz')).status, 200)
    const again = await new Command(scene, 'switchover', '--to=b', '--yes', '--output=json').end()
    assert.deepEqual([again.code, JSON.parse(again.stdout).error.code], [3, 'already_leads'])
  })

  test('switchover: a Ctrl-C when the leader drains already ends the looking on, and nothing else', async (t) => {
    const scene = await EmbeddedScene.open(t)
    const [a, b] = await scene.pair(CALM)
    const held = new AbortController()
    await fetch(`http://127.0.0.1:${a.port}/stream`, { signal: held.signal })
    const command = new Command(scene, 'switchover', '--yes')
    await command.lines.next('draining', (line) => /draining {3}a$/.test(line))
    command.ctrlC()
    const { code, stderr } = await command.end()
    assert.equal(code, 130)
    assert.match(stderr, /^langflow-leader: interrupted: a had begun to hand over already, which goes on/)
    held.abort()
    await b.event('serving')
  })

  test('switchover: what the leader does not see in time, or before a Ctrl-C, is taken back', async (t) => {
    const scene = await EmbeddedScene.open(t)
    // Long enough without a renewal for both.
    const [a] = await scene.pair({ flags: ['--lease-duration=90s', '--renew-deadline=80s'] })
    await a.link.refuse()
    scene.atEnd(() => a.link.heal())
    const late = await new Command(scene, 'switchover', '--yes', '--timeout=1s', '--output=json').end()
    assert.deepEqual([late.code, JSON.parse(late.stdout).error.code], [124, 'timed_out'])
    assert.match(late.stderr, /langflow-leader: nobody else serves after 1s: the request is taken back\n$/)
    const command = new Command(scene, 'switchover', '--yes')
    await command.lines.next('requested', (line) => /requested {2}b$/.test(line))
    assert.equal(scene.api.lease(LEASE)?.metadata.annotations?.[SWITCHOVER_TO], '*')
    command.ctrlC()
    const { code, stderr } = await command.end()
    assert.equal(code, 130)
    assert.equal(stderr, 'langflow-leader: interrupted: the request is taken back\n')
    assert.equal(scene.api.lease(LEASE)?.metadata.annotations?.[SWITCHOVER_TO], undefined)
    assert.equal((await a.get('/readyz')).status, 200)
  })

  test('pause and resume: every replica shows it, and nobody switches over meanwhile', async (t) => {
    const scene = await EmbeddedScene.open(t)
    const [a, b] = await scene.pair(CALM)
    const paused = await new Command(scene, 'pause', '--for=10m', '--reason=upgrade', '--output=json').end()
    assert.equal(paused.code, 0, paused.stderr)
    const { after, replicas } = JSON.parse(paused.stdout)
    assert.equal(after.reason, 'upgrade')
    const shows = { shows: true, problem: null }
    assert.deepEqual(replicas, [
      { pod: 'a', ...shows },
      { pod: 'b', ...shows },
    ])
    assert.deepEqual([(await a.status()).pause, (await b.status()).pause], [after, after])
    const refused = await new Command(scene, 'switchover', '--yes').end()
    assert.equal(refused.code, 3)
    assert.match(
      refused.stderr,
      /^langflow-leader: paused until \S+ \(upgrade\): resume first, with langflow-leader resume\n$/,
    )
    const resumed = await new Command(scene, 'resume').end()
    assert.equal(resumed.code, 0, resumed.stderr)
    assert.match(
      resumed.stdout,
      /^resumed; it was paused until \S+ \(upgrade\)\na leads; .*\nshown by a, b\n$/,
    )
    assert.equal((await b.status()).pause, null)
  })

  test('with fronts: a drill finds no request that failed, and status, switchover and page tell of the fronts', async (t) => {
    const scene = await EmbeddedScene.open(t)
    const ports = [await freePort(), await freePort()] as const
    const front = (port: number) => ({
      flags: [...FAST, '--traffic=front', `--front-listen=127.0.0.1:${port}`],
    })
    const a = await scene.replica('a', front(ports[0]))
    await a.event('serving')
    const b = await scene.replica('b', front(ports[1]))
    await b.event('standby_ready')

    const drill = await new Command(
      scene,
      ...['drill', `--service=http://127.0.0.1:${ports[1]}`, '--yes', '--output=json'],
    ).end()
    assert.equal(drill.code, 0, drill.stdout + drill.stderr)
    const { result, measured, to } = JSON.parse(drill.stdout)
    assert.deepEqual([result, measured.failed, to], ['ok', 0, 'b'])

    await a.event('standby_ready')
    const clients = new AbortController()
    const asked = repeated(() => fetch(`http://127.0.0.1:${ports[0]}/health`), clients.signal)
    const { code, stdout, stderr } = await new Command(scene, 'switchover', '--yes').end()
    clients.abort()
    assert.equal(code, 0, stderr)
    assert.match(stdout, /^ +0\.0 s {2}requested {2}a\n/)
    assert.match(stdout, /\n(no|1|up to \d+) requests? (at a time )?(was|were) seen to wait at the fronts/)
    assert.deepEqual([...new Set(await asked)], [200])

    const status = await new Command(scene, 'status', '--output=wide').end()
    assert.match(status.stdout, / {2}HELD {2}IN FLIGHT {2}STREAMS\n/)
    const page = (await a.get('/')).text
    assert.match(page, /<dt>Front<\/dt><dd>0 held, 0 in flight, streams: 0</)
  })

  test('without a terminal nobody can be asked: it says how to go on, and does nothing', async (t) => {
    const scene = await EmbeddedScene.open(t)
    const { code, stderr } = await new Command(scene, 'switchover').end()
    assert.equal(code, 2)
    assert.match(stderr, /^langflow-leader switchover: there is no terminal to ask on: add --yes; see /)
  })
})
