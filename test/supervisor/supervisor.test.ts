import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import type { Fact, Remedy, Workload } from '../../agent/election/state.ts'
import {
  CUT_OFF_MS,
  NOTHING,
  type ToLauncher,
  type WorkloadCause,
  type WorkloadView,
} from '../../agent/link/messages.ts'
import type { Hello, LinkHandlers } from '../../agent/link/server.ts'
import type { StandbyMode } from '../../agent/link/standby.ts'
import type { HealthHandlers } from '../../agent/supervisor/health-probe.ts'
import { Supervisor } from '../../agent/supervisor/supervisor.ts'
import { VirtualClock } from '../support/virtual-clock.ts'

const ignore = (): void => {}

/** A supervisor whose launcher is the test. */
class Bench {
  readonly clock = new VirtualClock()
  readonly sent: ToLauncher[] = []
  readonly facts: Fact[] = []
  readonly supervisor: Supervisor
  readonly probes: string[] = []
  probe!: HealthHandlers
  connected = false
  alone = false
  connections: readonly string[] | null = []
  remedy: Remedy = 'handover'
  readonly said: string[] = []
  /** What it was asked about. */
  readonly served: (number | null)[] = []
  private handlers!: LinkHandlers

  constructor(reclaim?: () => Promise<void>, standby: StandbyMode = 'cold') {
    this.supervisor = new Supervisor({
      repeats: { happened: () => {}, over: () => {} },
      machine: {
        clock: this.clock,
        portFree: async () => true,
        connections: () => this.connections,
        ...(reclaim === undefined ? {} : { reclaim }),
      },
      link: (handlers) => {
        this.handlers = handlers
        const bench = this
        return {
          get connected() {
            return bench.connected
          },
          listen: async () => {},
          send: (message) => bench.sent.push(message),
          close: ignore,
        }
      },
      probe: (handlers) => {
        this.probe = handlers
        return { start: (patience) => this.probes.push(patience), stop: ignore }
      },
      standby,
      startTimeoutMs: 60_000,
      stopTimeoutMs: 30_000,
      killMarginMs: 1_000,
      log: {
        event: ignore,
        debug: ignore,
        info: (line) => this.said.push(line),
        warn: (line) => this.said.push(line),
        error: ignore,
      },
      metrics: { takeover: ignore, stopped: ignore },
      remedy: (servedMs) => {
        this.served.push(servedMs)
        return this.remedy
      },
      tell: (fact) => this.facts.push(fact),
      changed: ignore,
    })
  }

  /** A launcher; a new one has not looked for remains yet. */
  connect(view: Partial<WorkloadView> = {}, returning = false): void {
    this.connected = true
    const hello: Hello = {
      type: 'hello',
      version: 1,
      pid: 1,
      alone: this.alone,
      mono: this.clock.mono(),
      view: { ...NOTHING, ...view },
    }
    this.handlers.connected(hello, returning)
  }

  hear(cause: WorkloadCause, view: Partial<WorkloadView> = {}): void {
    this.handlers.received({ type: 'workload', view: { ...NOTHING, ...view }, cause })
  }

  terminating(): void {
    this.handlers.received({ type: 'terminating' })
  }

  pong(): void {
    this.handlers.received({ type: 'pong', id: 0 })
  }

  disconnect(byPeer = true): void {
    this.connected = false
    this.handlers.gone(byPeer)
  }

  get workload(): Workload {
    const last = this.facts.findLast((fact) => fact.type === 'workload')
    assert.ok(last)
    return last.workload
  }

  /** But for pings. */
  get orders(): ToLauncher[] {
    return this.sent.filter(({ type }) => type !== 'ping')
  }

  get failures(): Fact[] {
    return this.facts.filter(({ type }) => type === 'workload_failed')
  }

  /** A workload that has served for so long. */
  async serving(ms: number): Promise<this> {
    await this.idle()
    this.supervisor.start(3)
    this.hear({ kind: 'started' }, { state: 'running', epoch: 3 })
    await this.clock.pass(500)
    this.probe.healthy()
    for (let left = ms; left > 0; left -= 1_000) {
      this.pong()
      await this.clock.pass(Math.min(left, 1_000))
    }
    return this
  }

  async idle(): Promise<this> {
    await this.supervisor.listen()
    this.connect()
    this.hear({ kind: 'met' })
    assert.deepEqual([this.workload.alive, this.workload.canRun], ['no', true])
    return this
  }
}

describe('the workload, as its agent knows it', () => {
  test('may run again once a silent launcher answers', async () => {
    const b = await new Bench().idle()
    await b.clock.pass(5_000)
    assert.equal(b.workload.canRun, false)
    b.pong()
    assert.equal(b.workload.canRun, true)
    b.supervisor.close()
  })

  test('may live from the order to start until the launcher has answered it', async () => {
    for (const answer of ['start_refused', 'killed'] as const) {
      const b = await new Bench().idle()
      b.supervisor.start(3)
      assert.deepEqual([b.workload.alive, b.workload.canRun], ['yes', false])
      b.hear({ kind: 'grant_refused', reason: 'it is older than the one in force' })
      assert.equal(b.workload.alive, 'yes')
      b.hear(answer === 'killed' ? { kind: answer, durationMs: 1 } : { kind: answer, reason: 'no grant' })
      assert.equal(b.workload.alive, 'no')
      b.supervisor.close()
    }
  })

  test('may live where its launcher went away with the order to start', async () => {
    const b = await new Bench().idle()
    b.supervisor.start(3)
    b.disconnect()
    assert.equal(b.workload.alive, 'maybe')
    b.supervisor.close()
  })

  test('is reclaimed half a kill margin after the first order to kill, however often that is repeated', async () => {
    let reclaimed = 0
    const b = await new Bench(async () => {
      reclaimed++
    }).idle()
    b.supervisor.start(3)
    b.hear({ kind: 'started' }, { state: 'running', epoch: 3 })
    b.supervisor.kill()
    await b.clock.pass(400)
    b.supervisor.kill()
    await b.clock.pass(100)
    assert.equal(reclaimed, 1)
    b.supervisor.close()
  })

  test('is told again to stop when the first order was lost with the link', async () => {
    const b = await new Bench().idle()
    b.supervisor.start(3)
    b.hear({ kind: 'started' }, { state: 'running', epoch: 3 })
    b.disconnect()
    b.supervisor.stop(5_000)
    b.sent.length = 0
    b.connect({ state: 'running', epoch: 3 }, true)
    assert.deepEqual(b.sent, [{ type: 'stop', graceMs: 5_000 }])
    b.supervisor.close()
  })

  test('is as healthy after a thaw as before its freeze, and asked again at once', () => {
    const b = new Bench()
    b.connect({}, true)
    b.supervisor.start(3)
    b.hear({ kind: 'started' }, { state: 'running', epoch: 3 })
    const freeze = () => b.hear({ kind: 'frozen' }, { state: 'frozen', epoch: 3 })
    const thaw = () => b.hear({ kind: 'thawed' }, { state: 'running', epoch: 3 })
    freeze()
    thaw()
    assert.equal(b.supervisor.healthy, false)
    b.probe.healthy()
    freeze()
    assert.equal(b.supervisor.healthy, false)
    thaw()
    assert.equal(b.supervisor.healthy, true)
    assert.equal(b.probes.at(-1), 'healthy')
    b.hear({ kind: 'stopping' }, { state: 'stopping', epoch: 3 })
    assert.equal(b.supervisor.healthy, false)
  })

  test('counts its failures after a thaw where it served before, and has its whole start where it did not', async () => {
    const b = await new Bench().idle()
    b.supervisor.start(3)
    b.hear({ kind: 'started' }, { state: 'running', epoch: 3 })
    b.hear({ kind: 'frozen' }, { state: 'frozen', epoch: 3 })
    b.hear({ kind: 'thawed' }, { state: 'running', epoch: 3 })
    b.probe.healthy()
    b.hear({ kind: 'frozen' }, { state: 'frozen', epoch: 3 })
    b.hear({ kind: 'thawed' }, { state: 'running', epoch: 3 })
    assert.deepEqual(b.probes, ['until healthy', 'until healthy', 'healthy'])
    b.supervisor.close()
  })

  test('without a worker is handed over at once: nobody answers what is open, and nothing ends in order', async () => {
    const b = await new Bench().idle()
    b.supervisor.start(3)
    b.hear({ kind: 'started' }, { state: 'running', epoch: 3 })
    b.connections = ['10.1.2.3', '10.1.2.3']
    const loss = { role: 'worker', pids: [1234] } as const
    b.hear({ kind: 'bereft', loss }, { state: 'running', epoch: 3, loss })
    assert.equal(b.workload.failed, 'LangFlow lost its worker (pid 1234)')
    b.supervisor.drain(b.clock.mono() + 5_000)
    await b.clock.pass(0)
    assert.deepEqual(b.facts.at(-1), { type: 'drained' })
    b.supervisor.stop(30_000)
    assert.deepEqual(b.sent.at(-1), { type: 'stop', graceMs: 0 })
    b.hear({ kind: 'killed', durationMs: 5 }, { state: 'idle', loss: null })
    b.connections = []
    b.supervisor.start(4)
    b.supervisor.stop(30_000)
    assert.deepEqual(b.sent.at(-1), { type: 'stop', graceMs: 30_000 })
    b.supervisor.close()
  })

  test('without a master is handed over in order: its workers may still answer', async () => {
    const b = await new Bench().idle()
    b.supervisor.start(3)
    b.hear({ kind: 'started' }, { state: 'running', epoch: 3 })
    b.connections = ['10.1.2.3', '10.1.2.3']
    const loss = { role: 'master', pids: [12] } as const
    b.hear({ kind: 'bereft', loss }, { state: 'running', epoch: 3, loss })
    assert.equal(b.workload.failed, 'LangFlow lost its master (pid 12)')
    b.supervisor.drain(b.clock.mono() + 5_000)
    await b.clock.pass(1_000)
    assert.ok(!b.facts.some(({ type }) => type === 'drained'))
    b.connections = []
    await b.clock.pass(100)
    assert.ok(b.facts.some(({ type }) => type === 'drained'))
    b.supervisor.stop(30_000)
    assert.deepEqual(b.sent.at(-1), { type: 'stop', graceMs: 30_000 })
    b.supervisor.close()
  })

  test('is told to end while it drains, once everybody knows that the gate is closed', async () => {
    const b = await new Bench().serving(1_000)
    b.connections = ['10.1.2.3']
    b.said.length = b.sent.length = 0
    b.supervisor.drain(b.clock.mono() + 5_000)
    await b.clock.pass(1_900)
    assert.deepEqual(b.orders, [])
    assert.equal(b.supervisor.draining, '1 connection from 10.1.2.3')
    await b.clock.pass(200)
    b.pong()
    assert.deepEqual(b.orders, [{ type: 'stop', graceMs: 33_000 }])
    b.hear({ kind: 'stopping' }, { state: 'stopping', epoch: 3 })
    b.connections = ['10.1.2.3', '10.1.2.3']
    await b.clock.pass(1_500)
    b.connections = []
    await b.clock.pass(100)
    assert.deepEqual(b.facts.at(-1), { type: 'drained' })
    assert.equal(b.supervisor.draining, null)
    assert.deepEqual(b.said, [
      'draining: 1 connection from 10.1.2.3, 5 s left',
      'draining: 2 connections from 10.1.2.3 (2), 3 s left',
    ])
    b.supervisor.stop(30_000)
    assert.deepEqual(b.orders.at(-1), { type: 'stop', graceMs: 30_000 })
    b.supervisor.close()
  })

  test('is not told to end while it drains where it stands still: it would be killed', async () => {
    const b = await new Bench().serving(1_000)
    b.connections = ['10.1.2.3']
    b.hear({ kind: 'frozen' }, { state: 'frozen', epoch: 3 })
    b.sent.length = 0
    b.supervisor.drain(b.clock.mono() + 5_000)
    await b.clock.pass(3_000)
    assert.deepEqual(b.orders, [])
    b.hear({ kind: 'thawed' }, { state: 'running', epoch: 3 })
    await b.clock.pass(100)
    assert.deepEqual(b.orders, [{ type: 'stop', graceMs: 31_900 }])
    b.supervisor.close()
  })

  test('is told to end late in a long drain: it would end its requests by itself after 30 s', async () => {
    const b = await new Bench().serving(1_000)
    b.connections = ['10.1.2.3']
    b.sent.length = 0
    b.supervisor.drain(b.clock.mono() + 60_000)
    await b.clock.pass(34_900)
    assert.deepEqual(b.orders, [])
    await b.clock.pass(100)
    assert.deepEqual(b.orders, [{ type: 'stop', graceMs: 55_000 }])
    b.supervisor.close()
  })

  test('does not wait for what is still open when it is stopped, or cannot be told', async () => {
    for (const open of [['10.1.2.3'], null]) {
      const b = await new Bench().serving(1_000)
      b.connections = open
      b.sent.length = 0
      b.supervisor.stop(30_000)
      b.supervisor.stop(200)
      assert.deepEqual(b.orders, [
        { type: 'stop', graceMs: CUT_OFF_MS },
        { type: 'stop', graceMs: 200 },
      ])
      b.supervisor.close()
    }
  })

  test('that is stopped without a drain has the time of one for what is open', async () => {
    const b = await new Bench().serving(1_000)
    b.connections = ['10.1.2.3']
    b.sent.length = 0
    b.supervisor.restart(30_000, 5_000)
    await b.clock.pass(4_900)
    assert.deepEqual(b.orders, [{ type: 'stop', graceMs: 30_000, restarts: true }])
    await b.clock.pass(100)
    assert.deepEqual(b.orders.at(-1), { type: 'stop', graceMs: CUT_OFF_MS, restarts: true })
    b.supervisor.close()
  })

  test('whose start was given up in doubt, while it waited for its standby, is started again', async () => {
    const b = await new Bench().idle()
    b.supervisor.start(3)
    b.hear({ kind: 'frozen' }, { state: 'frozen', epoch: 3, orderedAt: 1 })
    b.hear({ kind: 'stopping' }, { state: 'stopping', epoch: 3, orderedAt: 1 })
    b.hear({ kind: 'killed', durationMs: 5 }, { state: 'idle', epoch: 3 })
    const told = {
      type: 'workload_failed',
      reason: 'the launcher gave up a start in doubt',
      remedy: 'restart',
    }
    assert.deepEqual(b.failures, [told])
    b.supervisor.close()
  })

  test('that ends by itself leaves a spare, which ends before the term does unless a start follows', async () => {
    for (const remedy of ['restart', 'handover'] as const) {
      const b = await new Bench().serving(1_000)
      b.sent.length = 0
      if (remedy === 'restart') b.supervisor.restart(30_000, 5_000)
      b.sent.length = 0
      b.hear({ kind: 'killed', durationMs: 5 }, { state: 'idle', epoch: 3, spare: true })
      const handedOver = remedy === 'handover'
      assert.deepEqual(b.orders, handedOver ? [{ type: 'stop', graceMs: 0 }] : [])
      assert.equal(b.workload.alive, handedOver ? 'yes' : 'no')
      b.supervisor.drain(b.clock.mono() + 5_000)
      assert.deepEqual(b.orders.at(-1), { type: 'stop', graceMs: 0 })
      b.hear({ kind: 'killed', durationMs: 5 }, { state: 'idle', epoch: 3 })
      assert.equal(b.workload.alive, 'no')
      b.supervisor.close()
    }
  })

  test('that is started again is not stopped for what was open before', async () => {
    const b = await new Bench().serving(1_000)
    b.supervisor.restart(30_000, 5_000)
    b.hear({ kind: 'stopped', durationMs: 5 }, { state: 'idle', epoch: 3 })
    b.supervisor.start(3)
    b.hear({ kind: 'started' }, { state: 'running', epoch: 3 })
    b.connections = ['10.1.2.3']
    b.sent.length = 0
    await b.clock.pass(6_000)
    assert.deepEqual(b.orders, [])
    b.supervisor.close()
  })

  test('may be restarted where LangFlow itself failed: it is told for how long that had served', async () => {
    const loss = { role: 'worker', pids: [7] } as const
    const failures: [(b: Bench) => void, string][] = [
      [
        (b) => b.hear({ kind: 'exited', code: null, signal: 'SIGKILL' }, { state: 'stopping', epoch: 3 }),
        'LangFlow ended by itself (SIGKILL)',
      ],
      [
        (b) => b.hear({ kind: 'bereft', loss }, { state: 'running', epoch: 3, loss }),
        'LangFlow lost its worker (pid 7)',
      ],
      [(b) => b.probe.unhealthy('/health: 500'), 'LangFlow is unhealthy: /health: 500'],
    ]
    for (const [fail, reason] of failures) {
      const b = await new Bench().serving(20_000)
      b.remedy = 'restart'
      fail(b)
      assert.deepEqual(b.served, [20_000])
      assert.deepEqual(b.failures, [{ type: 'workload_failed', reason, remedy: 'restart' }])
      b.supervisor.close()
    }
  })

  test('counts how long it has served anew with each start, and through a freeze', async () => {
    const b = await new Bench().serving(20_000)
    b.hear({ kind: 'frozen' }, { state: 'frozen', epoch: 3 })
    b.hear({ kind: 'thawed' }, { state: 'running', epoch: 3 })
    b.probe.healthy()
    b.hear({ kind: 'exited', code: 1, signal: null }, { state: 'stopping', epoch: 3 })
    b.hear({ kind: 'killed', durationMs: 5 }, { state: 'idle', epoch: 3 })
    b.supervisor.start(3)
    b.hear({ kind: 'exited', code: 1, signal: null }, { state: 'stopping', epoch: 3 })
    assert.deepEqual(b.served, [20_000, null])
    b.supervisor.close()
  })

  test('is handed over where its launcher is at fault, or would not start it', async () => {
    const failures: ((b: Bench) => unknown)[] = [
      (b) => b.disconnect(),
      (b) => b.clock.pass(5_000),
      (b) => b.hear({ kind: 'start_refused', reason: 'the port is taken' }, { state: 'idle' }),
      (b) => b.hear({ kind: 'killed', durationMs: 5 }, { state: 'idle' }),
    ]
    for (const fail of failures) {
      const b = await new Bench().serving(20_000)
      b.remedy = 'restart'
      await fail(b)
      assert.deepEqual(
        b.failures.map((fact) => fact.type === 'workload_failed' && fact.remedy),
        ['handover'],
      )
      b.supervisor.close()
    }
  })

  test('without a worker is stopped at once also where the order comes with the news', async () => {
    const b = await new Bench().serving(20_000)
    const loss = { role: 'worker', pids: [7] } as const
    const tell = b.facts.push.bind(b.facts)
    b.facts.push = (fact) => {
      if (fact?.type === 'workload_failed') b.supervisor.stop(30_000)
      return tell(fact as Fact)
    }
    b.hear({ kind: 'bereft', loss }, { state: 'running', epoch: 3, loss })
    assert.deepEqual(b.sent.at(-1), { type: 'stop', graceMs: 0 })
    b.hear({ kind: 'killed', durationMs: 5 }, { state: 'idle' })
    assert.equal(b.failures.length, 1)
    b.supervisor.close()
  })

  test('that a restarted agent finds running has a limited time to become healthy', async () => {
    const b = new Bench()
    await b.supervisor.listen()
    b.connect({ state: 'running', epoch: 3 }, true)
    b.facts.length = 0
    for (let second = 0; second < 60; second++) {
      b.pong()
      await b.clock.pass(1_000)
    }
    assert.ok(
      b.facts.some((fact) => fact.type === 'workload_failed' && /not healthy within 60 s/.test(fact.reason)),
    )
    b.supervisor.close()
  })

  test('that a restarted agent finds starting has what is left of its start', async () => {
    const b = new Bench()
    await b.supervisor.listen()
    b.connect({ state: 'running', epoch: 3, orderedAt: b.clock.mono() - 59_000 }, true)
    assert.deepEqual(b.probes, ['until healthy'])
    await b.clock.pass(999)
    assert.deepEqual(b.failures, [])
    await b.clock.pass(1)
    assert.equal(b.failures.length, 1)
    b.supervisor.close()
  })

  test('that was healthy before its agent restarted has as many failures as when it serves, and counts on', async () => {
    const b = new Bench()
    await b.supervisor.listen()
    const now = b.clock.mono()
    b.connect({ state: 'running', epoch: 3, orderedAt: now - 70_000, servedSince: now - 20_000 }, true)
    assert.deepEqual(b.probes, ['failures count'])
    b.probe.unhealthy('/health: no answer within 2 s')
    assert.deepEqual([b.failures.length, b.served], [1, [20_000]])
    b.supervisor.close()
  })

  test('that became healthy is told to its launcher, again where that may have been lost', async () => {
    const b = await new Bench().serving(1_000)
    const told = () => b.sent.filter(({ type }) => type === 'healthy').length
    assert.equal(told(), 1)
    b.disconnect()
    b.connect({ state: 'running', epoch: 3 }, true)
    assert.equal(b.probes.at(-1), 'failures count')
    b.probe.healthy()
    assert.equal(told(), 2)
    b.supervisor.close()
  })

  test('is given up one start timeout after the order, however long its launcher waited before it started', async () => {
    const b = await new Bench().idle()
    b.supervisor.start(3)
    // Sent before the order had come.
    b.hear({ kind: 'standby' }, { state: 'idle' })
    const pass = async (ms: number) => {
      for (const until = b.clock.mono() + ms; b.clock.mono() < until; b.pong()) {
        await b.clock.pass(Math.min(1_000, until - b.clock.mono()))
      }
    }
    await pass(40_000)
    b.hear({ kind: 'started' }, { state: 'running', epoch: 3 })
    await pass(10_000)
    b.hear({ kind: 'frozen' }, { state: 'frozen', epoch: 3 })
    await pass(4_000)
    b.hear({ kind: 'thawed' }, { state: 'running', epoch: 3 })
    await pass(5_999)
    assert.deepEqual(b.failures, [])
    await pass(1)
    assert.equal(b.failures.length, 1)
    b.supervisor.close()
  })

  test('is given up in time also where its launcher never starts it', async () => {
    const b = await new Bench().idle()
    b.supervisor.start(3)
    b.hear({ kind: 'standby' }, { state: 'idle' })
    for (let second = 0; second < 60; second++, b.pong()) await b.clock.pass(1_000)
    assert.equal(b.failures.length, 1)
    b.supervisor.close()
  })

  test('starts from less than was asked for until it is healthy once in its term, or goes on from the standby', async () => {
    const warm = { mode: 'warm', state: 'none', reason: null, memoryBytes: null } as const
    const b = await new Bench(undefined, 'warm').idle()
    assert.equal(b.supervisor.startsColder, false)
    // Of a launcher that has run nothing yet, and waits for its standby without a word.
    b.hear({ kind: 'standby' }, { standby: { ...warm, state: 'preparing' } })
    b.supervisor.start(3)
    assert.equal(b.supervisor.startsColder, true)
    const running = { state: 'running', epoch: 3 } as const
    b.hear({ kind: 'standby' }, { ...running, standby: { ...warm, state: 'preparing' } })
    assert.equal(b.supervisor.startsColder, true)
    b.hear({ kind: 'started' }, { ...running, standby: warm })
    assert.equal(b.supervisor.startsColder, false)
    b.hear({ kind: 'started' }, running)
    assert.equal(b.supervisor.startsColder, true)
    assert.equal(b.supervisor.served, false)
    b.probe.healthy()
    assert.equal(b.supervisor.startsColder, false)
    assert.equal(b.supervisor.served, true)
    // Started again in place.
    b.hear({ kind: 'killed', durationMs: 5 }, { state: 'idle', epoch: 3 })
    b.supervisor.start(3)
    b.hear({ kind: 'started' }, running)
    assert.equal(b.supervisor.startsColder, false)
    assert.equal(b.supervisor.served, true)
    b.supervisor.close()
  })

  test('of a launcher that is ending has to be handed over', async () => {
    const b = await new Bench().idle()
    b.terminating()
    assert.deepEqual([b.workload.ending, b.workload.canRun], [true, false])
    b.supervisor.close()
  })

  test('is dead with a launcher that was alone and closed the link itself, not with one that this agent cut off', async () => {
    for (const byPeer of [true, false]) {
      const b = new Bench()
      b.alone = true
      await b.idle()
      b.supervisor.start(3)
      b.hear({ kind: 'started' }, { state: 'running', epoch: 3 })
      b.disconnect(byPeer)
      await b.clock.pass(5_000)
      assert.equal(b.workload.alive, byPeer ? 'no' : 'maybe')
      b.supervisor.close()
    }
  })

  test('may still live after a launcher came and went without having looked', async () => {
    const b = await new Bench(() => new Promise(ignore)).idle()
    b.supervisor.start(3)
    b.hear({ kind: 'started' }, { state: 'running', epoch: 3 })
    b.disconnect()
    b.connect()
    assert.equal(b.workload.alive, 'maybe')
    b.disconnect()
    assert.equal(b.workload.alive, 'maybe')
    b.connect()
    b.hear({ kind: 'met' })
    assert.equal(b.workload.alive, 'no')
    b.supervisor.close()
  })
})
