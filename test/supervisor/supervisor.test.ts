import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import type { Fact, Remedy, Workload, WorkloadOrder } from '../../agent/election/state.ts'
import {
  CUT_OFF_MS,
  NOTHING,
  type ToLauncher,
  type WorkloadCause,
  type WorkloadView,
} from '../../agent/link/link-messages.ts'
import type { LinkHandlers } from '../../agent/link/link-server.ts'
import type { HealthHandlers } from '../../agent/supervisor/health-probe.ts'
import { Supervisor } from '../../agent/supervisor/supervisor.ts'
import { settled, VirtualClock } from '../harness/virtual-clock.ts'
import { FROZEN, IDLE, RUNS } from './supervised.ts'

const ignore = (): void => {}

interface Setting {
  readonly alone?: boolean
  readonly reclaim?: () => Promise<void>
}

/** A supervisor. The test plays its launcher, LangFlow and machine. */
class Bench {
  readonly clock = new VirtualClock()
  readonly facts: Fact[] = []
  /** The states from which LangFlow was probed. `null`: a probe was stopped. */
  readonly probes: unknown[] = []
  readonly lines: string[] = []
  readonly takeover: unknown[] = []
  /** The measured lateness of each heartbeat, and the lateness of all timers. */
  readonly lags: number[] = []
  delayMs = 0
  pings = 0
  /** The launcher answers pings. */
  answers = true
  connections = 0
  /** A probe holds a connection. */
  probing = false
  gate: Promise<void> | null = null
  portFree = true
  readonly supervisor: Supervisor
  probe!: HealthHandlers
  handlers!: LinkHandlers
  private readonly alone: boolean
  private sent: ToLauncher[] = []

  constructor({ alone = false, reclaim }: Setting = {}) {
    this.alone = alone
    const log = (line: string) => void this.lines.push(line)
    this.supervisor = new Supervisor({
      machine: {
        clock: { ...this.clock, after: (ms, fire) => this.clock.after(ms + this.delayMs, fire) },
        portFree: async () => this.portFree,
        connections: () => this.connections + Number(this.probing),
        ...(reclaim === undefined ? {} : { reclaim }),
      },
      link: (handlers) => {
        this.handlers = handlers
        return { listen: async () => {}, send: (message) => this.receive(message), close: ignore }
      },
      probe: (handlers) => {
        this.probe = handlers
        const stop = () => {
          this.probing = false
          this.probes.push(null)
        }
        return { last: null, start: (state) => this.probes.push(state), stop }
      },
      standby: 'cold',
      startTimeoutMs: 60_000,
      stopTimeoutMs: 30_000,
      busyTimeoutMs: 30_000,
      killMarginMs: 1_000,
      log: { info: log, warn: log, error: log },
      metrics: {
        takeover: (...phase) => this.takeover.push(phase),
        stopped: (ms) => this.takeover.push(['stopped', ms]),
        late: (ms) => this.lags.push(ms),
      },
      remedy: (servedMs): Remedy => (servedMs === null ? 'handover' : 'restart'),
      dispatch: (fact) => void this.facts.push(fact),
      closeGate: () => this.gate,
      answeredAt: () => 0,
      changed: ignore,
    })
  }

  private receive(message: ToLauncher): void {
    if (message.type !== 'ping') this.sent.push(message)
    else {
      this.pings++
      if (this.answers) this.clock.after(1, () => this.handlers.received({ type: 'pong', id: message.id }))
    }
  }

  connect(view: Partial<WorkloadView> = {}): void {
    const its = { pid: 1, alone: this.alone, mono: this.clock.mono(), view: { ...NOTHING, ...view } }
    this.handlers.connected({ type: 'hello', version: 1, ...its }, false, null)
  }

  report(cause: WorkloadCause, view: Partial<WorkloadView> = {}): void {
    this.handlers.received({ type: 'workload', view: { ...NOTHING, ...view }, cause })
  }

  order(order: WorkloadOrder): void {
    this.supervisor.dispatch(order)
  }

  drain(ms: number, graceMs = 0): void {
    this.order({ type: 'drain', drainDeadline: this.clock.mono() + ms, graceMs })
  }

  get alive(): Workload['alive'] | undefined {
    return this.facts.findLast((fact) => fact.type === 'workload')?.workload.alive
  }

  /** The orders to the launcher since the last call, after `ms` have passed. */
  async ordersAfter(ms = 0): Promise<ToLauncher[]> {
    await this.clock.pass(ms)
    return this.sent.splice(0)
  }

  async running(): Promise<this> {
    await this.supervisor.listen()
    this.connect()
    this.report({ kind: 'met' })
    this.order({ type: 'start', epoch: 3 })
    this.report({ kind: 'started' }, RUNS)
    return this
  }

  async serving(connections = 0): Promise<this> {
    await this.running()
    this.probe.healthy()
    await this.ordersAfter(1_000)
    this.connections = connections
    this.lines.length = 0
    return this
  }
}

describe('a launcher', () => {
  test('gets a ping each second while it is connected, and is silent after four unanswered pings', async () => {
    const b = await new Bench().running()
    const state = () => b.supervisor.status.launcher
    await b.clock.pass(3_500)
    assert.deepEqual([b.pings, state()], [3, 'connected'])
    b.answers = false
    await b.clock.pass(4_000)
    assert.equal(state(), 'silent')
    b.handlers.received({ type: 'pong', id: 0 })
    assert.equal(state(), 'connected')
    b.handlers.gone(true)
    await b.clock.pass(10_000)
    assert.deepEqual([b.pings, state()], [7, 'missing'])
    b.connect()
    await b.clock.pass(1_000)
    assert.equal(b.pings, 8)
    b.supervisor.close()
    await b.clock.pass(10_000)
    assert.equal(b.pings, 8)
  })

  test('gets its pings from a timer whose lateness is measured', async () => {
    const b = await new Bench().running()
    await b.clock.pass(2_000)
    b.delayMs = 300
    await b.clock.pass(2_500)
    assert.deepEqual([b.lags[0], b.lags.at(-1)], [0, 300])
  })

  test('that was alone in its PID namespace leaves no process after half a second, once the port is free', async () => {
    const b = await new Bench({ alone: true }).running()
    b.portFree = false
    b.handlers.gone(true)
    await b.clock.pass(2_000)
    assert.equal(b.alive, 'maybe')
    b.portFree = true
    await b.clock.pass(50)
    assert.equal(b.alive, 'no')
    const other = await new Bench({ alone: true }).running()
    other.handlers.gone(true)
    await other.clock.pass(499)
    assert.equal(other.alive, 'maybe')
    await other.clock.pass(1)
    assert.equal(other.alive, 'no')
  })

  test('that is gone in `run` has left no process once the agent has killed them', async () => {
    const { promise, resolve: done } = Promise.withResolvers<void>()
    const b = await new Bench({ reclaim: () => promise }).running()
    b.handlers.gone(true)
    await settled()
    assert.equal(b.alive, 'maybe')
    done()
    await settled()
    assert.equal(b.alive, 'no')
  })
})

describe('a workload', () => {
  test('is probed while it runs, and its start and stop are timed', async () => {
    const b = await new Bench().serving()
    b.report({ kind: 'frozen' }, FROZEN)
    b.report({ kind: 'thawed' }, RUNS)
    b.report({ kind: 'killed', durationMs: 5 }, IDLE)
    assert.deepEqual(b.probes, ['starting', null, 'healthy', null])
    assert.deepEqual(b.takeover, [
      ['start', 0],
      ['healthy', 0],
      ['stopped', 5],
    ])
  })

  test('that a restarted agent has found is probed anew after the loss of its worker', async () => {
    const b = new Bench()
    b.connect({ ...RUNS, servedSince: 1 })
    b.probe.healthy()
    const loss = { role: 'worker', pids: [7] } as const
    b.report({ kind: 'serving_lost', loss }, { ...RUNS, loss })
    assert.deepEqual(b.probes, ['served', 'served'])
  })

  test('that fails by itself gets the remedy for the time that it has served', async () => {
    const b = await new Bench().serving()
    b.probe.unhealthy('/health: 500')
    assert.deepEqual(
      b.facts.flatMap((fact) => (fact.type === 'workload_failed' ? [fact.remedy] : [])),
      ['restart'],
    )
  })
})

describe('a workload that is being stopped', () => {
  for (const [when, drainMs, streamsMs, notForMs, graceMs] of [
    ['2 s after the gate closed', 5_000, 0, 1_900, 33_000],
    ['2 s after the grace for streams', 5_000, 1_000, 2_900, 32_000],
    ['late in a long drain, because LangFlow ends requests after 30 s', 60_000, 0, 34_900, 55_000],
  ] as const)
    test(`gets the stop order ${when}`, async () => {
      const b = await new Bench().serving(1)
      b.drain(drainMs, streamsMs)
      assert.deepEqual(await b.ordersAfter(notForMs), [])
      assert.deepEqual(await b.ordersAfter(100), [{ type: 'stop', graceMs }])
    })

  test('is drained once no connection is open, and logs the open ones once', async () => {
    const b = await new Bench().serving(1)
    b.drain(5_000)
    await b.clock.pass(100)
    assert.deepEqual(b.lines, ['draining: 1 connection, 5 s left'])
    b.connections = 0
    await b.clock.pass(100)
    assert.deepEqual(b.facts.at(-1), { type: 'drained' })
  })

  test('is drained at once if only a probe holds a connection', async () => {
    const b = await new Bench().serving()
    b.probing = true
    b.drain(5_000)
    assert.deepEqual([b.lines, b.facts.at(-1)], [[], { type: 'drained' }])
  })

  test('gets the order once the gate is closed for this order', async () => {
    const b = await new Bench().serving(1)
    const [first, second] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()]
    b.gate = first.promise
    b.drain(0)
    b.gate = second.promise
    b.order({ type: 'stop', graceMs: 30_000 })
    first.resolve()
    assert.deepEqual(await b.ordersAfter(1_000), [])
    second.resolve()
    assert.deepEqual(await b.ordersAfter(), [{ type: 'stop', graceMs: CUT_OFF_MS }])
  })
})
