import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import type { Fact, Remedy, Workload, WorkloadOrder } from '../../agent/election/state.ts'
import {
  CUT_OFF_MS,
  NOTHING,
  type StandbyMode,
  type ToLauncher,
  type WorkloadCause,
  type WorkloadView,
} from '../../agent/link/link-messages.ts'
import type { LinkHandlers } from '../../agent/link/link-server.ts'
import type { HealthHandlers, ProbedState } from '../../agent/supervisor/health-probe.ts'
import { Supervisor } from '../../agent/supervisor/supervisor.ts'
import { settled, VirtualClock } from '../harness/virtual-clock.ts'
import { FROZEN, IDLE, RUNS } from './supervised.ts'

const ignore = (): void => {}
const KILLED: WorkloadCause = { kind: 'killed', durationMs: 5 }

interface Setting {
  readonly alone?: boolean
  readonly standby?: StandbyMode
  readonly reclaim?: () => Promise<void>
}

/** A supervisor. The test plays its launcher, LangFlow and machine. */
class Bench {
  readonly clock = new VirtualClock()
  readonly facts: Fact[] = []
  readonly probes: (ProbedState | null)[] = []
  /** A gate that is not closed yet. */
  gate: Promise<void> | null = null
  readonly lines: string[] = []
  /** Lateness of each timer. */
  delayMs = 0
  /** The measured lateness of each heartbeat. */
  readonly lags: number[] = []
  /** How long LangFlow had served at each failure. */
  readonly served: (number | null)[] = []
  pings = 0
  /** The launcher answers pings. */
  answers = true
  connections: readonly string[] | null = []
  portFree = true
  readonly supervisor: Supervisor
  probe!: HealthHandlers
  handlers!: LinkHandlers
  private readonly alone: boolean
  private sent: ToLauncher[] = []

  constructor({ alone = false, standby = 'cold', reclaim }: Setting = {}) {
    this.alone = alone
    const say = (line: string) => void this.lines.push(line)
    this.supervisor = new Supervisor({
      machine: {
        clock: { ...this.clock, after: (ms, fire) => this.clock.after(ms + this.delayMs, fire) },
        portFree: async () => this.portFree,
        connections: () => this.connections,
        ...(reclaim === undefined ? {} : { reclaim }),
      },
      link: (handlers) => {
        this.handlers = handlers
        return { listen: async () => {}, send: (message) => this.receive(message), close: ignore }
      },
      probe: (handlers) => {
        this.probe = handlers
        return { start: (state) => this.probes.push(state), stop: () => this.probes.push(null) }
      },
      standby,
      startTimeoutMs: 60_000,
      stopTimeoutMs: 30_000,
      killMarginMs: 1_000,
      log: { info: say, warn: say, error: say },
      metrics: { takeover: ignore, stopped: ignore, late: (ms) => void this.lags.push(ms) },
      remedy: (servedMs): Remedy => {
        this.served.push(servedMs)
        return 'restart'
      },
      dispatch: (fact) => void this.facts.push(fact),
      closeGate: () => this.gate,
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

  connect(view: Partial<WorkloadView> = {}, returning = false): void {
    const its = { pid: 1, alone: this.alone, mono: this.clock.mono(), view: { ...NOTHING, ...view } }
    this.handlers.connected({ type: 'hello', version: 1, ...its }, returning, null)
  }

  report(cause: WorkloadCause, view: Partial<WorkloadView> = {}): void {
    this.handlers.received({ type: 'workload', view: { ...NOTHING, ...view }, cause })
  }

  loseWorker(): void {
    const loss = { role: 'worker', pids: [7] } as const
    this.report({ kind: 'serving_lost', loss }, { ...RUNS, loss })
  }

  drain(ms: number, graceMs = 0): void {
    this.order({ type: 'drain', drainDeadline: this.clock.mono() + ms, graceMs })
  }

  order(order: WorkloadOrder): void {
    this.supervisor.dispatch(order)
  }

  get alive(): Workload['alive'] | undefined {
    return this.facts.findLast((fact) => fact.type === 'workload')?.workload.alive
  }

  get failures(): Fact[] {
    return this.facts.filter(({ type }) => type === 'workload_failed')
  }

  /** The orders since the last call. */
  takeOrders(): ToLauncher[] {
    return this.sent.splice(0)
  }

  async ordersAfter(ms: number): Promise<ToLauncher[]> {
    await this.clock.pass(ms)
    return this.takeOrders()
  }

  async running(): Promise<this> {
    await this.supervisor.listen()
    this.connect()
    this.report({ kind: 'met' })
    this.order({ type: 'start', epoch: 3 })
    this.report({ kind: 'started' }, RUNS)
    return this
  }

  async serving(...clients: string[]): Promise<this> {
    await this.running()
    this.probe.healthy()
    await this.clock.pass(1_000)
    this.connections = clients
    this.sent = []
    this.lines.length = 0
    return this
  }
}

describe('a launcher', () => {
  test('gets a ping each second while it is connected, and is silent after four unanswered pings', async () => {
    const b = await new Bench().running()
    await b.clock.pass(3_500)
    assert.deepEqual([b.pings, b.supervisor.launcher], [3, 'connected'])
    b.answers = false
    await b.clock.pass(4_000)
    assert.equal(b.supervisor.launcher, 'silent')
    b.handlers.received({ type: 'pong', id: 0 })
    assert.equal(b.supervisor.launcher, 'connected')
    b.handlers.gone(true)
    await b.clock.pass(10_000)
    assert.deepEqual([b.pings, b.supervisor.launcher], [7, 'missing'])
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

  test('that was alone in its PID namespace and is gone has left no process once the port is free', async () => {
    const b = await new Bench({ alone: true }).running()
    b.portFree = false
    b.handlers.gone(true)
    await b.clock.pass(2_000)
    assert.equal(b.alive, 'maybe')
    b.portFree = true
    await b.clock.pass(50)
    assert.equal(b.alive, 'no')
  })

  test('that was alone in its PID namespace has left processes for half a second', async () => {
    const b = await new Bench({ alone: true }).running()
    b.handlers.gone(true)
    await b.clock.pass(499)
    assert.equal(b.alive, 'maybe')
    await b.clock.pass(1)
    assert.equal(b.alive, 'no')
  })

  test('that is gone in `run` has left no process once the agent has killed them', async () => {
    const { promise, resolve: done } = Promise.withResolvers<void>()
    const b = await new Bench({ reclaim: () => promise }).running()
    b.handlers.gone(true)
    await settled()
    assert.match(b.lines.at(-1) ?? '', /^killing the workload/)
    assert.equal(b.alive, 'maybe')
    done()
    await settled()
    assert.equal(b.alive, 'no')
  })
})

describe('a workload', () => {
  test('starts colder than configured until it is healthy in its term or starts from the warm standby', async () => {
    const warm = { mode: 'warm', state: 'none', reason: null, memoryBytes: null } as const
    const b = new Bench({ standby: 'warm' })
    const { supervisor } = b
    b.connect({}, true)
    const is = () => ({ colder: supervisor.startsColder, served: supervisor.served })
    assert.deepEqual(is(), { colder: false, served: false })
    // The launcher has run no workload yet, and waits for its standby.
    b.report({ kind: 'standby' }, { standby: { ...warm, state: 'preparing' } })
    b.order({ type: 'start', epoch: 3 })
    assert.equal(is().colder, true)
    b.report({ kind: 'started' }, { ...RUNS, standby: warm })
    assert.equal(is().colder, false)
    b.report({ kind: 'started' }, RUNS)
    assert.deepEqual(is(), { colder: true, served: false })
    b.probe.healthy()
    assert.deepEqual(is(), { colder: false, served: true })
    // A restart in place.
    b.report(KILLED, IDLE)
    b.order({ type: 'start', epoch: 3 })
    b.report({ kind: 'started' }, RUNS)
    assert.deepEqual(is(), { colder: false, served: true })
  })

  test('that fails by itself gets the remedy for the time that it has served', async () => {
    const b = await new Bench().serving()
    b.probe.unhealthy('/health: 500')
    assert.deepEqual(
      [b.served, b.failures.map((fact) => 'remedy' in fact && fact.remedy)],
      [[1_000], ['restart']],
    )
  })

  test('that lost its worker is stopped without grace, even if the stop is ordered while the loss is reported', async () => {
    const b = await new Bench().serving()
    const push = b.facts.push.bind(b.facts)
    b.facts.push = (...facts) => {
      if (facts[0]?.type === 'workload_failed') b.order({ type: 'stop', graceMs: 30_000 })
      return push(...facts)
    }
    b.loseWorker()
    assert.deepEqual(b.takeOrders(), [{ type: 'stop', graceMs: 0 }])
    b.report(KILLED, IDLE)
    assert.equal(b.failures.length, 1)
  })
})

describe('a workload that is being stopped', () => {
  for (const [when, drainMs, streamsMs, notForMs, graceMs] of [
    ['2 s after the gate closed', 5_000, 0, 1_900, 33_000],
    ['2 s after the grace for streams', 5_000, 1_000, 2_900, 32_000],
    [
      'but late in a long one, because LangFlow ends its requests itself after 30 s',
      60_000,
      0,
      34_900,
      55_000,
    ],
  ] as const) {
    test(`gets the stop order before the end of a drain, ${when}`, async () => {
      const b = await new Bench().serving('10.1.2.3')
      b.drain(drainMs, streamsMs)
      assert.deepEqual(await b.ordersAfter(notForMs), [])
      assert.deepEqual(await b.ordersAfter(100), [{ type: 'stop', graceMs }])
    })
  }

  test('is drained once no connection is open; until then, the log names the clients', async () => {
    const b = await new Bench().serving('10.1.2.3')
    b.drain(5_000)
    await b.clock.pass(2_100)
    assert.equal(b.supervisor.draining, '1 connection from 10.1.2.3')
    b.connections = ['10.1.2.3', '10.1.2.3']
    await b.clock.pass(1_500)
    b.connections = []
    await b.clock.pass(100)
    assert.deepEqual([b.facts.at(-1), b.supervisor.draining], [{ type: 'drained' }, null])
    assert.deepEqual(b.lines, [
      'draining: 1 connection from 10.1.2.3, 5 s left',
      'draining: 2 connections from 10.1.2.3 (2), 3 s left',
    ])
  })

  test('is drained immediately if its worker is lost, because no process can answer open requests', async () => {
    const b = await new Bench().serving('10.1.2.3')
    b.loseWorker()
    b.drain(5_000)
    await b.clock.pass(0)
    assert.deepEqual(b.facts.at(-1), { type: 'drained' })
  })

  test('gets no stop order while it is frozen, because that would kill it', async () => {
    const b = await new Bench().serving('10.1.2.3')
    b.report({ kind: 'frozen' }, FROZEN)
    b.drain(5_000)
    assert.deepEqual(await b.ordersAfter(3_000), [])
    b.report({ kind: 'thawed' }, RUNS)
    assert.deepEqual(await b.ordersAfter(100), [{ type: 'stop', graceMs: 31_900 }])
  })

  test('gets the order once the gate is closed', async () => {
    const b = await new Bench().serving('10.1.2.3')
    const { promise, resolve: closed } = Promise.withResolvers<void>()
    b.gate = promise
    b.order({ type: 'stop', graceMs: 30_000 })
    assert.deepEqual(await b.ordersAfter(1_000), [])
    closed()
    assert.deepEqual(await b.ordersAfter(0), [{ type: 'stop', graceMs: CUT_OFF_MS }])
  })
})
