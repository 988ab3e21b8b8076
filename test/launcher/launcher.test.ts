import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { later } from '../../agent/clock.ts'
import { Launcher, type LauncherOptions } from '../../agent/launcher/launcher.ts'
import type { KeptStandby } from '../../agent/launcher/standby/standby.ts'
import type { LinkClientHandlers } from '../../agent/link/link-client.ts'
import {
  COLD,
  type Digests,
  type Loss,
  type ToAgent,
  type ToLauncher,
  type WorkloadCause,
  type WorkloadState,
} from '../../agent/link/link-messages.ts'
import { settled, VirtualClock } from '../harness/virtual-clock.ts'
import { FakeTree } from './fake-tree.ts'

const DOUBT_MS = 10_000
const KILL_MS = 14_000
const STOP_MS = 5_000
const ignore = () => {}
const TAKEN = 'port 7860 is already taken by "nginx" (pid 7)'
const unreadable = (): never => {
  throw new Error('/proc cannot be read')
}

type Content = ReturnType<LauncherOptions['content']>

class Bench {
  readonly clock = new VirtualClock()
  readonly tree = new FakeTree()
  readonly causes: WorkloadCause[] = []
  holder: () => Promise<string | null> = async () => null
  /** The losses that the next checks of the serving processes find. */
  readonly losses: Loss[] = []
  /** Number of checks for a serving process that has ended. */
  finished = 0
  standby: KeptStandby | null = null
  /** The calls of the standby. */
  readonly calls: string[] = []
  /** LangFlow can cut off its requests. */
  cutsOff = true
  version = '1.13.0'
  /** The reason why the environment allows no start. */
  refusal: string | null = null
  contentChanged = ignore
  readonly content: { -readonly [K in keyof Content]: Content[K] } = {
    found: null,
    look: ignore,
    started: () => void this.sent.push('content'),
    ended: () => void this.sent.push('no content'),
    close: ignore,
  }
  readonly link = {
    connected: true,
    start: ignore,
    send: (message: ToAgent) => this.record(message),
    close: ignore,
  }
  /** The messages to the agent. */
  readonly sent: string[] = []
  readonly digests: Digests[] = []
  readonly readings: (number | null)[] = []
  private handlers!: LinkClientHandlers
  readonly options = {
    langflow: () => this.version,
    content: (changed: () => void) => {
      this.contentChanged = changed
      return this.content
    },
    stopTimeoutMs: STOP_MS,
    alone: false,
    log: { event: ignore, info: ignore, warn: ignore, error: ignore },
    link: (handlers: LinkClientHandlers) => {
      this.handlers = handlers
      return this.link
    },
    machine: {
      clock: this.clock,
      command: ['langflow'],
      tree: () => this.tree,
      newStandby: () => this.standby as KeptStandby,
      lock: () => null,
      portHolder: () => this.holder(),
      serving: () => ({
        check: () => this.losses.pop() ?? null,
        finish: () => void this.finished++,
        cutOff: () => this.tree.calls.push('cut off') > 0 && this.cutsOff,
      }),
      readEnvironment: async () => this.refusal,
      environment: () => ({}),
    },
  }
  readonly launcher = new Launcher(this.options)

  constructor(tree: Partial<FakeTree> = {}) {
    Object.assign(this.tree, tree)
  }

  get view() {
    return this.handlers.hello().view
  }

  private record(message: ToAgent): void {
    const isView = message.type === 'workload'
    this.sent.push(isView ? `${message.type} ${message.cause.kind}` : message.type)
    if (isView) this.causes.push(message.cause)
    if (message.type === 'digests') this.digests.push(message.digests)
    if (message.type === 'measured') this.readings.push(message.cpuMs)
  }

  receive(message: ToLauncher): void {
    this.handlers.received(message)
  }

  meet(): void {
    const standby = this.standby === null ? 'cold' : 'warm'
    this.receive({ type: 'welcome', token: '', tree: '', port: 7860, standby, startTimeoutMs: 1_000 })
  }

  get state(): WorkloadState {
    return this.view.state
  }
  get kinds(): string[] {
    return this.causes.map(({ kind }) => kind)
  }
  get reasons(): string[] {
    return this.causes.flatMap((cause) => ('reason' in cause ? cause.reason : []))
  }

  grant(epoch = 1): void {
    const now = this.clock.now()
    const [doubtAt, killAt] = [later(now, DOUBT_MS), later(now, KILL_MS)]
    const grant = { epoch, identity: 'me', doubtAt, killAt, onDoubt: 'freeze' } as const
    this.receive({ type: 'grant', grant })
  }

  async start(): Promise<void> {
    this.receive({ type: 'start', epoch: 1 })
    await settled()
  }

  async started(): Promise<this> {
    this.grant()
    await this.start()
    assert.equal(this.state, 'running')
    this.causes.length = 0
    return this
  }

  stop(graceMs: number): void {
    this.receive({ type: 'stop', graceMs })
  }

  async kill(): Promise<void> {
    this.receive({ type: 'kill' })
    await settled()
  }

  /** Asserts that the state is `before` until `ms` have passed, and `after` then. */
  async becomes(after: WorkloadState, ms: number, before: WorkloadState): Promise<void> {
    await this.clock.pass(ms - 1)
    assert.equal(this.state, before, `until ${ms} ms`)
    await this.clock.pass(1)
    assert.equal(this.state, after, `after ${ms} ms`)
  }
}

/** A delayed preparation is ready immediately. */
function fakeStandby(calls: string[], used: Promise<void>) {
  const standby = {
    view: COLD,
    verify: () => void calls.push('verify'),
    prepare(afterMs = 0) {
      calls.push(`prepare after ${afterMs} ms`)
      if (afterMs > 0) standby.view = { ...COLD, mode: 'warm', state: 'ready' }
    },
    discard() {
      calls.push('discard')
      standby.view = COLD
    },
    use() {
      calls.push('use')
      return used
    },
  }
  return standby
}

describe('the deadman', () => {
  test('freezes when doubt begins and kills at the end of the grant, without any message', async () => {
    const b = await new Bench().started()
    await b.becomes('frozen', DOUBT_MS, 'running')
    await b.becomes('idle', KILL_MS - DOUBT_MS, 'frozen')
    assert.deepEqual(b.tree.calls, ['start', 'freeze', 'kill'])
    assert.deepEqual(b.kinds, ['frozen', 'deadman', 'stopping', 'killed'])
    assert.deepEqual([b.view.deadmanFirings, b.view.freezes], [1, 1])
  })

  for (const signal of ['freeze', 'thaw'] as const)
    test(`kills the workload if /proc cannot be read for a ${signal}`, async () => {
      const b = await new Bench().started()
      b.tree[signal] = unreadable
      await b.clock.pass(DOUBT_MS)
      if (signal === 'thaw') b.grant()
      await settled()
      assert.deepEqual(b.kinds.slice(-3), ['deadman', 'stopping', 'killed'])
      assert.match(b.reasons.join(), /^the workload could not be (frozen|thawed)$/)
      assert.equal(b.state, 'idle')
    })
})

describe('a stop', () => {
  test('is confirmed only when no process is alive and the port is free', async () => {
    const b = await new Bench().started()
    b.holder = async () => TAKEN
    b.stop(3_000)
    await b.clock.pass(1_000)
    assert.equal(b.state, 'stopping')
    b.holder = async () => null
    await b.clock.pass(100)
    assert.equal(b.state, 'idle')
    assert.deepEqual(b.kinds, ['stopping', 'stopped'])
  })

  test('cuts off open requests a second before its deadline, and checks the serving processes until then', async () => {
    const b = await new Bench({ obeysTerm: false }).started()
    b.stop(3_000)
    await b.clock.pass(1_900)
    assert.deepEqual(b.tree.calls, ['start', 'terminate'])
    await b.clock.pass(1_000)
    assert.deepEqual(b.tree.calls, ['start', 'terminate', 'cut off'])
    assert.ok(b.finished > 100)
  })
})

describe('a kill', () => {
  test('waits until the kernel has closed the sockets of the killed processes', async () => {
    const b = await new Bench().started()
    b.holder = async () => TAKEN
    await b.kill()
    await b.clock.pass(25)
    assert.equal(b.state, 'stopping')
    b.holder = async () => null
    await b.clock.pass(10)
    assert.deepEqual([b.state, b.tree.calls], ['idle', ['start', 'kill']])
  })

  test('raises an alarm if the port is still held after three seconds, and is tried again until it is free', async () => {
    const b = await new Bench().started()
    b.holder = async () => TAKEN
    await b.kill()
    await b.becomes('unstoppable', 3_000, 'stopping')
    assert.deepEqual(b.reasons, [TAKEN])
    b.holder = async () => null
    await b.becomes('idle', 1_000, 'unstoppable')
  })

  test('raises an alarm that names up to five live processes, and is tried again until none is alive', async () => {
    const b = await new Bench().started()
    const { kill } = b.tree
    b.tree.kill = async () =>
      [1, 2, 3, 4, 5, 6].map((pid) => ({ pid, startTime: '1', state: 'D', comm: 'python' }))
    await b.kill()
    assert.equal(b.state, 'unstoppable')
    assert.match(b.reasons[0] ?? '', /^SIGKILL did not end python \(pid 1, state D\), .*\(pid 5, state D\)$/)
    b.tree.kill = kill
    await b.clock.pass(1_000)
    assert.equal(b.state, 'idle')
  })

  test('has not succeeded while /proc cannot be read', async () => {
    for (const method of ['kill', 'alive'] as const) {
      const b = await new Bench({ obeysTerm: false }).started()
      const usual = b.tree[method]
      b.tree[method] = unreadable
      b.stop(1_000)
      await b.clock.pass(1_500)
      assert.notEqual(b.state, 'idle', method)
      Object.assign(b.tree, { [method]: usual })
      await b.clock.pass(2_000)
      assert.equal(b.state, 'idle', method)
    }
  })
})

describe('the serving processes', () => {
  const loss: Loss = { role: 'worker', pids: [43] }

  test('are checked every 100 ms; the launcher reports a loss once, and leaves the workload running', async () => {
    const b = await new Bench().started()
    b.losses.push(loss)
    await b.clock.pass(100)
    assert.deepEqual(b.causes, [{ kind: 'serving_lost', loss }])
    assert.deepEqual(b.view.loss, loss, 'an agent that connects later must see the loss')
    await b.clock.pass(1_000)
    assert.deepEqual([b.state, b.causes.length, b.tree.calls], ['running', 1, ['start']])
  })
})

describe('the workload', () => {
  test('whose start fails after a process exists is refused, and counts as idle only when that process is gone', async () => {
    const b = new Bench()
    const start = b.tree.start.bind(b.tree)
    b.tree.start = async (...args) => {
      await start(...args)
      throw new Error('EMFILE: too many open files')
    }
    b.tree.obeysKill = false
    b.grant()
    await b.start()
    assert.deepEqual(b.causes[0], { kind: 'start_refused', reason: 'EMFILE: too many open files' })
    assert.notEqual(b.state, 'idle')
    b.tree.obeysKill = true
    await b.clock.pass(2_000)
    assert.deepEqual([b.state, b.tree.running, b.kinds.at(-1)], ['idle', false, 'killed'])
  })

  test('that is killed during its start leaves no process when the start completes', async () => {
    const b = new Bench()
    const { promise, resolve } = Promise.withResolvers<void>()
    const start = b.tree.start.bind(b.tree)
    b.tree.start = async (...args) => promise.then(() => start(...args))
    b.grant()
    await b.start()
    await b.kill()
    resolve()
    await settled()
    assert.deepEqual([b.state, b.tree.running, b.view.pid], ['idle', false, null])
  })

  test('of an earlier launcher is killed at the first welcome; a later welcome kills nothing', async () => {
    const b = new Bench()
    b.tree.running = true
    b.meet()
    assert.deepEqual([b.state, b.view.epoch], ['stopping', null])
    b.grant(5)
    await settled()
    assert.deepEqual([b.state, b.kinds.includes('grant_refused')], ['idle', false])
    b.tree.running = true
    b.meet()
    await b.clock.pass(100)
    assert.deepEqual(b.tree.calls, ['kill'])
  })
})

describe('a standby', () => {
  test('is discarded if its start is killed; the launcher is idle only once no process is alive', async () => {
    const b = new Bench()
    const used = Promise.withResolvers<void>()
    b.standby = fakeStandby(b.calls, used.promise)
    b.meet()
    b.grant()
    await b.start()
    b.tree.running = true
    b.tree.obeysKill = false
    await b.kill()
    used.resolve()
    await b.clock.pass(100)
    assert.deepEqual([b.state, b.calls], ['unstoppable', ['prepare after 10000 ms', 'use', 'discard']])
    b.tree.obeysKill = true
    await b.clock.pass(2_000)
    assert.deepEqual([b.state, b.kinds.at(-1), b.calls.at(-1)], ['idle', 'killed', 'prepare after 10000 ms'])
    assert.ok(!b.kinds.includes('start_refused'))
  })
})

describe('the content', () => {
  const found = (digest: string): Digests => {
    const view = { since: 0, running: null, startedAt: 0, earlier: [], problem: null, unfit: false }
    return { flows: null, secretKey: null, content: { digest, ...view } }
  }

  test('is reported at each welcome and after each change', () => {
    const b = new Bench()
    b.content.found = found('c1')
    b.meet()
    b.content.found = found('c2')
    b.contentChanged()
    b.meet()
    assert.deepEqual(b.digests, [found('c1'), found('c2'), found('c2')])
  })

  test('verifies the standby before the agent receives a report of a change, but only while no LangFlow runs', async () => {
    const b = new Bench()
    b.standby = fakeStandby(b.calls, Promise.resolve())
    b.meet()
    const verified = () => b.calls.filter((call) => call === 'verify').length
    b.content.found = found('c1')
    b.contentChanged()
    assert.equal(verified(), 1)
    b.grant()
    await b.start()
    b.contentChanged()
    assert.equal(verified(), 1)
  })

  test('is noted at a start and an end before the agent receives a report of it', async () => {
    const b = await new Bench().started()
    assert.deepEqual(b.sent.slice(-2), ['content', 'workload started'])
    await b.kill()
    assert.deepEqual(b.sent.slice(-2), ['no content', 'workload killed'])
  })

  test('prevents a start if the environment cannot be read', async () => {
    const b = new Bench()
    b.refusal = '--env-file /env does not exist'
    b.meet()
    b.grant()
    await b.start()
    assert.deepEqual([b.reasons, b.tree.calls], [[b.refusal], []])
  })
})

describe('a launcher', () => {
  test('ignores a message of a peer that has the type of an internal event', async () => {
    const b = await new Bench().started()
    await b.clock.pass(DOUBT_MS)
    for (const forged of [{ type: 'thaw' }, { type: 'killed', left: null }])
      b.receive(forged as unknown as ToLauncher)
    assert.deepEqual([b.state, b.kinds], ['frozen', ['frozen']])
  })

  test('refuses to start another version of LangFlow than it has reported, and exits with code 1', async () => {
    const b = new Bench()
    b.meet()
    b.version = '1.14.0'
    b.grant()
    await b.start()
    assert.deepEqual([b.sent.at(-1), b.tree.calls], ['workload start_refused', []])
    assert.equal(await b.launcher.ended, 1)
  })

  test('reports the CPU time of its workload when the agent asks, or that it is unknown', async () => {
    const b = new Bench()
    const asked = () => b.receive({ type: 'measure' })
    asked()
    await b.started()
    asked()
    b.tree.cpuMs = unreadable
    asked()
    assert.deepEqual(b.readings, [null, 70, null])
  })

  test('stops the workload itself if it must leave and has no agent', async () => {
    const b = await new Bench().started()
    b.link.connected = false
    b.launcher.dispatch({ type: 'leave', defect: null })
    await b.clock.pass(STOP_MS)
    assert.deepEqual([b.state, await b.launcher.ended], ['idle', 0])
  })
})
