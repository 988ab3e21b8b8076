import assert from 'node:assert/strict'
import { ChildProcess } from 'node:child_process'
import { existsSync, readFileSync } from 'node:fs'
import { constants } from 'node:os'
import { join } from 'node:path'
import { describe, type TestContext, test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { FrontProcess } from '../../../agent/front/agent-side/front-process.ts'
import { type FrontRoute, NO_COUNTS } from '../../../agent/front/front-messages.ts'
import { lives } from '../../harness/scene.ts'
import { temporaryDirectory } from '../../harness/temporary-directory.ts'
import { VirtualClock } from '../../harness/virtual-clock.ts'
import { Series, until } from '../../harness/wait.ts'

const FRONT = fileURLToPath(new URL('./scripted-front.mjs', import.meta.url))
const config = {
  listen: { host: null, port: 8091 },
  target: { host: '127.0.0.1', port: 7860 },
  from: null,
  holdTimeoutMs: 30_000,
  holdLimit: 1000,
  queueWaitMs: 10_000,
  streamGraceMs: 2_000,
}
const NO_HURRY = new Promise<void>(() => {})
const held = (epoch: number): FrontRoute => ({ to: 'nobody', epoch, key: null })
const leads = (epoch: number): FrontRoute => ({
  to: 'langflow',
  epoch,
  key: 'secret',
  until: 10_000,
  closing: null,
  untilQuiet: false,
})

class Scene {
  readonly clock = new VirtualClock()
  /** Whether the front listened, and its problem, at each possible change. */
  readonly changes = new Series<readonly [boolean, string | null]>()
  readonly front: FrontProcess
  readonly log = join(temporaryDirectory(), 'log')

  constructor(t: TestContext, option?: string) {
    this.front = new FrontProcess({
      command: [process.execPath, FRONT, this.log, ...(option === undefined ? [] : [option])],
      env: { LEADER_LOG_LEVEL: 'info' },
      config,
      clock: this.clock,
      changed: () => this.changes.add([this.front.listening, this.front.problem]),
    })
    t.after(async () => {
      const ended = this.front.end(0, NO_HURRY)
      await this.clock.pass(5_000)
      await ended
    })
  }

  /** The environment of the front's last process, and the messages that it received. */
  get received(): { pid: number; env: string[]; messages: object[] } {
    // The front may be writing the last line.
    const lines = readFileSync(this.log, 'utf8').split('\n').slice(0, -1)
    const entries = lines.map((line) => JSON.parse(line))
    const from = entries.findLastIndex((line) => 'pid' in line)
    return { ...entries[from], messages: entries.slice(from + 1) }
  }

  listens(from = 0): Promise<readonly [boolean, string | null]> {
    return this.changes.next('a front that listens', ([listening]) => listening, from)
  }

  ends(): Promise<readonly [boolean, string | null]> {
    return this.changes.next('the end of a front', ([listening, problem]) => !listening && problem !== null)
  }

  /** Waits for the end of `count` processes that could not listen. Each reports that, then ends: two changes. */
  gone(count: number): Promise<unknown> {
    return this.changes.next('another end', () => this.changes.list.length >= 2 * count)
  }
}

describe('the front’s process', () => {
  test('receives its configuration, then each route, and reports that it follows the route', async (t) => {
    const scene = new Scene(t)
    const { front } = scene
    assert.deepEqual([front.listening, front.problem, front.counts], [false, null, NO_COUNTS])
    await front.follow(held(1))
    await front.follow(leads(2))
    assert.deepEqual(scene.received.messages, [
      { type: 'begin', config },
      { type: 'route', id: 1, route: held(1) },
      { type: 'route', id: 2, route: leads(2) },
    ])
    assert.deepEqual([front.listening, front.problem], [true, null])
    assert.deepEqual([front.counts.held, front.counts.forwarded], [1, { langflow: 4, leader: 5 }])
  })

  test('reports a quiet moment of the present route, not of an earlier one', async (t) => {
    const { front } = new Scene(t)
    const quiet: boolean[] = []
    for (const route of [leads(1), { ...leads(1), untilQuiet: true }, leads(1)]) {
      await front.follow(route)
      quiet.push(front.quiet)
    }
    assert.deepEqual(quiet, [false, true, false])
  })

  test('is restarted when it dies, with its problem reported until then, and follows the latest route', async (t) => {
    const scene = new Scene(t)
    const { front, clock } = scene
    await front.follow(leads(1))
    process.kill(scene.received.pid, 'SIGKILL')
    await scene.ends()
    assert.deepEqual([front.problem, front.counts], ['the front has ended (SIGKILL)', NO_COUNTS])
    const from = scene.changes.list.length
    // Without a process, no request is forwarded, so the new route needs no confirmation.
    await front.follow(held(2))
    await clock.pass(100)
    await scene.listens(from)
    await front.follow(held(3))
    assert.deepEqual(scene.received.messages, [
      { type: 'begin', config },
      { type: 'route', id: 2, route: held(2) },
      { type: 'route', id: 3, route: held(3) },
    ])
    assert.equal(front.problem, null)
  })

  test('is killed within 4 s and restarted if it hangs', async (t) => {
    const scene = new Scene(t, 'hangs')
    const { front, clock } = scene
    await front.follow(leads(1))
    const { pid } = scene.received
    await clock.pass(3_999)
    assert.deepEqual([front.listening, front.problem], [true, null])
    const from = scene.changes.list.length
    await clock.pass(1)
    assert.deepEqual(
      [front.listening, front.problem],
      [false, 'the front did not answer 3 checks, and was ended'],
    )
    // The kill is a change, and so is the end, which may come at any moment after it.
    await scene.changes.next(
      'the end of the hanging front',
      () => scene.changes.list.length >= from + 2,
      from,
    )
    assert.ok(!lives(pid))
    await clock.pass(100)
    await scene.listens(from)
    assert.equal(front.problem, null)
  })

  test('is killed after 20 s if it hangs before it listens', async (t) => {
    const scene = new Scene(t, 'deaf')
    const { front, clock } = scene
    void front.follow(leads(1))
    await until(
      'the front has received its configuration',
      () => existsSync(scene.log) && scene.received.messages.length > 0,
    )
    await clock.pass(19_999)
    assert.equal(front.problem, null)
    await clock.pass(1)
    await scene.ends()
    assert.equal(front.problem, 'the front has ended (SIGKILL)')
  })

  test('is restarted at growing intervals while it cannot listen, and reports its own reason', async (t) => {
    const scene = new Scene(t, 'refuses')
    const { front, clock } = scene
    await front.follow(held(1))
    const pauses: number[] = []
    for (let n = 0; n < 9; n++) {
      await scene.gone(n + 1)
      assert.deepEqual([front.listening, front.problem], [false, 'another program has the port'])
      pauses.push(clock.next() - clock.mono())
      await clock.pass(clock.next() - clock.mono())
    }
    assert.deepEqual(pauses, [100, 200, 400, 800, 1600, 3200, 6400, 10_000, 10_000])
  })

  for (const code of ['EAGAIN', 'ENOMEM'] as const)
    test(`is started later if the system has no room for a process (${code})`, async (t) => {
      const { _handle } = new ChildProcess() as unknown as { _handle: { spawn: () => number } }
      const failing = t.mock.method(Object.getPrototypeOf(_handle), 'spawn', () => -constants.errno[code])
      const scene = new Scene(t)
      const { front, clock } = scene
      await front.follow(leads(1))
      await scene.ends()
      failing.mock.restore()
      assert.match(front.problem ?? '', new RegExp(`^the front cannot be started: spawn .*${code}$`))
      await clock.pass(100)
      await scene.listens()
      assert.equal(front.problem, null)
    })

  test('ends when it has nothing left to forward, and is not restarted', async (t) => {
    const scene = new Scene(t)
    const { front, clock } = scene
    await front.follow(leads(1))
    const { pid } = scene.received
    await front.end(clock.mono() + 30_000, NO_HURRY)
    assert.deepEqual(scene.received.messages.at(-1), { type: 'end', until: clock.mono() + 30_000 })
    assert.ok(!lives(pid))
    assert.equal(clock.next(), Number.POSITIVE_INFINITY)
  })

  test('is killed two seconds after its deadline if it does not end', async (t) => {
    const scene = new Scene(t, 'stays')
    const { front, clock } = scene
    await front.follow(leads(1))
    const { pid } = scene.received
    const end = front.end(clock.mono() + 30_000, NO_HURRY)
    await clock.pass(31_000)
    assert.ok(lives(pid))
    await clock.pass(1_000)
    await end
    assert.ok(!lives(pid))
  })

  test('is killed within a second in a hurry, even with requests left to forward', async (t) => {
    const scene = new Scene(t, 'stays')
    const { front, clock } = scene
    await front.follow(leads(1))
    const { pid } = scene.received
    const end = front.end(clock.mono() + 30_000, Promise.resolve())
    await clock.pass(1_000)
    await end
    assert.ok(!lives(pid))
  })
})
