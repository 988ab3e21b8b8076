import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { later } from '../../agent/clock.ts'
import type { Fact, Remedy, Workload } from '../../agent/election/state.ts'
import {
  COLD,
  CUT_OFF_MS,
  type Grant,
  NOTHING,
  type StandbyMode,
  type StandbyView,
  type ToLauncher,
  type WorkloadCause,
  type WorkloadView,
} from '../../agent/link/link-messages.ts'
import type { LinkHandlers } from '../../agent/link/link-server.ts'
import type { HealthHandlers, ProbedState } from '../../agent/supervisor/health.ts'
import { Supervisor } from '../../agent/supervisor/supervisor.ts'
import { settled, VirtualClock } from '../harness/virtual-clock.ts'

const ignore = (): void => {}
const IDLE: Partial<WorkloadView> = { state: 'idle', epoch: 3 }
const RUNNING: Partial<WorkloadView> = { state: 'running', epoch: 3, identity: 'me', pid: 42, killAt: 9 }
const FROZEN: Partial<WorkloadView> = { ...RUNNING, state: 'frozen' }
const STOPPING: Partial<WorkloadView> = { ...RUNNING, state: 'stopping' }
const KILLED: WorkloadCause = { kind: 'killed', durationMs: 5 }
const NOW = { mono: 1_000, boot: 1_000, wall: 1_000 }
const GRANT: Grant = {
  epoch: 3,
  identity: 'me',
  doubtAt: later(NOW, 10_000),
  killAt: later(NOW, 14_000),
  onDoubt: 'freeze',
}

type Setting = Partial<Pick<Bench, 'alone' | 'connections' | 'portFree' | 'remedy'>> & {
  readonly standby?: StandbyMode
  readonly reclaim?: () => Promise<void>
}

/** A supervisor whose launcher, LangFlow and machine are the test. */
class Bench {
  readonly clock = new VirtualClock()
  readonly pings: number[] = []
  readonly facts: Fact[] = []
  readonly probes: ProbedState[] = []
  readonly said: string[] = []
  /** How long LangFlow had served, each time that the remedy for its failure was asked for. */
  readonly served: (number | null)[] = []
  readonly supervisor: Supervisor
  probe!: HealthHandlers
  connected = false
  /** Its launcher is alone in its PID namespace. */
  alone = false
  /** By how many ms timers come too late. */
  delayMs = 0
  readonly lags: number[] = []
  /** Its launcher answers pings. */
  answers = true
  connections: readonly string[] | null = []
  portFree = true
  remedy: Remedy = 'handover'
  handlers!: LinkHandlers
  private sent: ToLauncher[] = []

  constructor({ standby = 'cold', reclaim, ...setting }: Setting = {}) {
    Object.assign(this, setting)
    const bench = this
    const say = (line: string) => void this.said.push(line)
    this.supervisor = new Supervisor({
      machine: {
        clock: {
          ...this.clock,
          after: (ms, fire) => this.clock.after(ms + this.delayMs, fire),
        },
        portFree: async () => this.portFree,
        connections: () => this.connections,
        ...(reclaim === undefined ? {} : { reclaim }),
      },
      link: (handlers) => {
        this.handlers = handlers
        return {
          get connected() {
            return bench.connected
          },
          listen: async () => {},
          send: (message) => this.receive(message),
          close: ignore,
        }
      },
      probe: (handlers) => {
        this.probe = handlers
        return { start: (state) => this.probes.push(state), stop: ignore }
      },
      standby,
      startTimeoutMs: 60_000,
      stopTimeoutMs: 30_000,
      killMarginMs: 1_000,
      log: { event: ignore, debug: ignore, info: say, warn: say, error: say },
      repeats: { happened: (_, msg) => say(msg), over: (_, msg) => say(msg) },
      metrics: { takeover: ignore, stopped: ignore, late: (ms) => void this.lags.push(ms) },
      remedy: (servedMs) => {
        this.served.push(servedMs)
        return this.remedy
      },
      tell: (fact) => void this.facts.push(fact),
      changed: ignore,
    })
  }

  private receive(message: ToLauncher): void {
    if (message.type !== 'ping') this.sent.push(message)
    else {
      this.pings.push(message.id)
      if (this.answers) this.clock.after(1, () => this.pong())
    }
  }

  pong(): void {
    this.handlers.received({ type: 'pong', id: 0 })
  }

  /** `returning`: not a new launcher, which has not looked for remains yet. */
  connect(view: Partial<WorkloadView> = {}, returning = false, langflow?: string, ended?: string): void {
    this.connected = true
    const { alone, clock } = this
    const its = { pid: 1, alone, mono: clock.mono(), view: { ...NOTHING, ...view } }
    this.handlers.connected(
      { type: 'hello', version: 1, ...its, ...(langflow === undefined ? {} : { langflow }) },
      returning,
      ended ?? null,
    )
  }

  hear(cause: WorkloadCause, view: Partial<WorkloadView> = {}): void {
    this.handlers.received({ type: 'workload', view: { ...NOTHING, ...view }, cause })
  }

  disconnect(byPeer = true): void {
    this.connected = false
    this.handlers.gone(byPeer)
  }

  /** The same launcher comes back at once. */
  reconnect(view: Partial<WorkloadView> = {}): void {
    this.disconnect()
    this.connect(view, true)
  }

  /** It has ended, and is started anew. */
  startAnew(epoch: number): void {
    this.hear(KILLED, IDLE)
    this.supervisor.start(epoch)
    this.hear({ kind: 'started' }, RUNNING)
  }

  get workload(): Workload {
    const last = this.facts.findLast((fact) => fact.type === 'workload')
    assert.ok(last)
    return last.workload
  }

  /** What was ordered since this was asked last. */
  takeOrders(): ToLauncher[] {
    return this.sent.splice(0)
  }

  async ordersAfter(ms: number): Promise<ToLauncher[]> {
    await this.clock.pass(ms)
    return this.takeOrders()
  }

  async aliveAfter(ms: number): Promise<Workload['alive']> {
    await this.clock.pass(ms)
    return this.workload.alive
  }

  get failures(): { reason: string; remedy: Remedy }[] {
    return this.facts.flatMap((fact) =>
      fact.type === 'workload_failed' ? [{ reason: fact.reason, remedy: fact.remedy }] : [],
    )
  }

  async idle(): Promise<this> {
    await this.supervisor.listen()
    this.connect()
    this.hear({ kind: 'met' })
    return this
  }

  async starting(): Promise<this> {
    await this.idle()
    this.supervisor.start(3)
    return this
  }

  async running(): Promise<this> {
    await this.starting()
    this.hear({ kind: 'started' }, RUNNING)
    return this
  }

  /** A workload that has served for so long. */
  async serving(ms: number): Promise<this> {
    await this.running()
    await this.clock.pass(500)
    this.probe.healthy()
    await this.clock.pass(ms)
    this.sent = []
    return this
  }

  freeze(): void {
    this.hear({ kind: 'frozen' }, FROZEN)
  }

  thaw(): void {
    this.hear({ kind: 'thawed' }, RUNNING)
  }

  lose(role: 'worker' | 'master'): void {
    const loss = { role, pids: [7] }
    this.hear({ kind: 'bereft', loss }, { ...RUNNING, loss })
  }
}

/** Kills what the launcher left once `done` is called. */
function reclaiming() {
  const { promise, resolve: done } = Promise.withResolvers<void>()
  return { reclaim: () => promise, done }
}

describe('a launcher', () => {
  test('that says it is idle is believed once it has looked for what an earlier one left, at once when it is back', async () => {
    const fresh = new Bench()
    await fresh.supervisor.listen()
    assert.equal(fresh.supervisor.canRun, false)
    fresh.connect()
    assert.deepEqual([fresh.workload.alive, fresh.workload.canRun], ['no', false])
    fresh.hear({ kind: 'met' })
    assert.deepEqual([fresh.workload.alive, fresh.workload.canRun], ['no', true])
    const back = new Bench()
    back.connect({}, true)
    assert.equal(back.workload.canRun, true)
  })

  test('that was asked to end runs nothing more; the next one does', async () => {
    const b = await new Bench().idle()
    b.handlers.received({ type: 'terminating' })
    assert.deepEqual([b.workload.ending, b.workload.canRun], [true, false])
    b.connect({}, true)
    assert.deepEqual([b.workload.ending, b.workload.canRun], [false, true])
  })

  test('is told that the leader serves when that begins, and with each meeting while it lasts', async () => {
    const b = await new Bench().idle()
    const told = () => b.takeOrders().map(({ type }) => type)
    b.supervisor.leaderServes = false
    assert.deepEqual(told(), [])
    b.supervisor.leaderServes = true
    b.supervisor.leaderServes = true
    assert.deepEqual(told(), ['prepare'])
    b.reconnect()
    assert.deepEqual(told(), [])
    b.hear({ kind: 'met' })
    assert.deepEqual(told(), ['prepare'])
    b.supervisor.leaderServes = false
    b.hear({ kind: 'met' })
    assert.deepEqual(told(), [])
    b.supervisor.leaderServes = true
    assert.deepEqual(told(), ['prepare'])
  })

  test('is asked for a sign of life by a timer whose lateness tells how busy the agent is', async () => {
    const b = await new Bench().idle()
    await b.clock.pass(2_000)
    b.delayMs = 300
    await b.clock.pass(2_500)
    assert.deepEqual(b.lags.slice(0, 3), [0, 0, 0])
    assert.equal(b.lags.at(-1), 300)
  })

  test('is asked each second whether it is there, for as long as it is connected', async () => {
    const b = await new Bench().idle()
    await b.clock.pass(2_999)
    assert.deepEqual(b.pings, [0, 1])
    b.connected = false
    await b.clock.pass(10_000)
    assert.deepEqual([b.pings, b.supervisor.launcher], [[0, 1], 'missing'])
    b.connected = true
    await b.clock.pass(1_000)
    assert.deepEqual(b.pings, [0, 1, 2])
    b.supervisor.close()
    await b.clock.pass(10_000)
    assert.equal(b.pings.length, 3)
  })

  test('is silent from the fourth ping that it does not answer until it is heard, and its workload is handed over once', async () => {
    const b = await new Bench().serving(500)
    b.answers = false
    for (const failures of [1, 2]) {
      await b.clock.pass(3_999)
      assert.equal(b.supervisor.launcher, 'connected')
      await b.clock.pass(1)
      assert.equal(b.supervisor.launcher, 'silent')
      await b.clock.pass(10_000)
      assert.equal(b.failures.length, failures)
      b.pong()
      assert.equal(b.supervisor.launcher, 'connected')
    }
    assert.equal(b.failures[0]?.reason, 'the launcher does not answer')
  })

  test('that is silent runs nothing until it answers, and with nothing that may live is no failure', async () => {
    const b = await new Bench().idle()
    b.answers = false
    await b.clock.pass(5_000)
    assert.deepEqual([b.workload.canRun, b.failures], [false, []])
    b.pong()
    assert.equal(b.workload.canRun, true)
  })

  test('that refuses grants is told of until it accepts one, or another launcher comes', async () => {
    const b = await new Bench().idle()
    const refuse = () => b.hear({ kind: 'grant_refused', reason: 'it has expired' })
    refuse()
    assert.equal(b.supervisor.refusedGrant, 'the launcher refuses grants: it has expired')
    assert.equal(b.said.at(-1), b.supervisor.refusedGrant)
    b.hear({ kind: 'grant_accepted' })
    assert.equal(b.supervisor.refusedGrant, null)
    refuse()
    b.connect()
    assert.equal(b.supervisor.refusedGrant, null)
  })
})

describe('orders', () => {
  const grant: ToLauncher = { type: 'grant', grant: GRANT }
  const start: ToLauncher = { type: 'start', epoch: 3 }
  const stop: ToLauncher = { type: 'stop', graceMs: 5_000 }
  const kill: ToLauncher = { type: 'kill' }
  const give = new Map<ToLauncher, (to: Supervisor) => void>([
    [grant, (to) => to.grant(GRANT)],
    [start, (to) => to.start(3)],
    [stop, (to) => to.stop(5_000)],
    [kill, (to) => to.kill()],
  ])
  const cases: [what: string, given: ToLauncher[], again: ToLauncher[]][] = [
    ['nothing', [], []],
    ['a grant', [grant], [grant]],
    ['a start, not again', [start], []],
    ['a stop, and the grant under which it is carried out', [grant, stop], [grant, stop]],
    ['a kill, which ends the grant', [grant, kill], [kill]],
    ['no stop that a start has followed', [stop, start], []],
  ]
  for (const [what, given, again] of cases) {
    test(`that a launcher gets, and again when it is back: ${what}`, async () => {
      const b = await new Bench().idle()
      for (const order of given) give.get(order)?.(b.supervisor)
      assert.deepEqual(b.takeOrders(), given)
      b.reconnect()
      assert.deepEqual(b.takeOrders(), again)
    })
  }
})

describe('a workload', () => {
  for (const [alive, answer] of [
    ['no', { kind: 'start_refused', reason: 'no grant' }],
    ['no', { kind: 'stopped', durationMs: 1 }],
    ['no', KILLED],
    ['yes', { kind: 'grant_refused', reason: 'it is older than the one in force' }],
    ['yes', { kind: 'standby' }],
  ] as ['no' | 'yes', WorkloadCause][]) {
    test(`may live from the order to start until that is answered: ${answer.kind}`, async () => {
      const b = await new Bench().starting()
      assert.deepEqual([b.workload.alive, b.workload.canRun], ['yes', false])
      b.hear(answer)
      assert.equal(b.workload.alive, alive)
    })
  }

  test('may live in every state but idle', () => {
    for (const state of ['running', 'frozen', 'stopping', 'unstoppable'] as const) {
      const b = new Bench()
      b.connect({ ...RUNNING, state }, true)
      assert.deepEqual([b.workload.alive, b.workload.canRun], ['yes', false], state)
    }
  })

  test('is reported as its launcher sees it', async () => {
    const b = await new Bench().running()
    const { epoch, identity, killAt, failed, stopFailed } = b.workload
    assert.deepEqual([epoch, identity, killAt, failed, stopFailed], [3, 'me', 9, null, null])
    b.lose('worker')
    assert.equal(b.workload.failed, 'LangFlow lost its worker (pid 7)')
    b.hear({ kind: 'stop_failed', reason: 'pid 42 lives' }, { ...RUNNING, state: 'unstoppable' })
    assert.equal(b.workload.stopFailed, 'the workload could not be stopped')
    assert.equal(b.said.at(-1), 'ALARM: pid 42 lives; the Lease is kept while something may live')
  })

  test('is of the version that its launcher says, also while that is away', async () => {
    const b = await new Bench().idle()
    assert.equal(b.workload.langflow, null)
    b.connect({}, true, '1.13.0')
    b.disconnect()
    assert.equal(b.workload.langflow, '1.13.0')
    b.connect()
    assert.equal(b.workload.langflow, null)
  })

  test('has the digests that its launcher tells, and none of an earlier launcher', () => {
    const b = new Bench()
    b.connect()
    assert.deepEqual(b.supervisor.digests, { flows: null, secretKey: null })
    const digests = { flows: '0123456789ab', secretKey: '01234567', inputs: '0123456789abcdef' }
    b.handlers.received({ type: 'digests', digests })
    assert.deepEqual([b.supervisor.digests, b.workload.inputs], [digests, '0123456789abcdef'])
    b.connect()
    assert.deepEqual([b.supervisor.digests, b.workload.inputs], [{ flows: null, secretKey: null }, null])
  })

  test('is prepared while what stands by is ready, and as warm as was asked for', () => {
    const cases: [StandbyMode, Partial<StandbyView>, prepared: boolean][] = [
      ['cold', {}, true],
      ['warm', { mode: 'warm', state: 'ready' }, true],
      ['warm', {}, false],
      ['warm', { mode: 'warm', state: 'preparing' }, false],
    ]
    for (const [standby, view, prepared] of cases) {
      const b = new Bench({ standby })
      b.connect({ standby: { ...COLD, ...view } }, true)
      assert.equal(b.workload.prepared, prepared)
    }
  })

  test('starts from less than was asked for until it is healthy once in its term, or goes on from the standby', async () => {
    const warm = { mode: 'warm', state: 'none', reason: null, memoryBytes: null } as const
    const b = await new Bench({ standby: 'warm' }).idle()
    const is = () => ({ colder: b.supervisor.startsColder, served: b.supervisor.served })
    assert.deepEqual(is(), { colder: false, served: false })
    // Of a launcher that has run nothing yet, and waits for its standby without a word.
    b.hear({ kind: 'standby' }, { standby: { ...warm, state: 'preparing' } })
    b.supervisor.start(3)
    assert.equal(is().colder, true)
    b.hear({ kind: 'standby' }, { ...RUNNING, standby: { ...warm, state: 'preparing' } })
    assert.equal(is().colder, true)
    b.hear({ kind: 'started' }, { ...RUNNING, standby: warm })
    assert.equal(is().colder, false)
    b.hear({ kind: 'started' }, RUNNING)
    assert.deepEqual(is(), { colder: true, served: false })
    b.probe.healthy()
    assert.deepEqual(is(), { colder: false, served: true })
    // Started again in place.
    b.startAnew(3)
    assert.deepEqual(is(), { colder: false, served: true })
  })
})

describe('what a launcher left that is gone', () => {
  test('may live, also where it was only told to start, until a launcher has looked or is back', async () => {
    for (const left of [await new Bench().running(), await new Bench().starting()]) {
      left.disconnect()
      const { alive, canRun, stopFailed } = left.workload
      assert.deepEqual([alive, canRun], ['maybe', false])
      assert.match(stopFailed ?? '', /nothing proves yet/)
      // One that came and went without having looked changes nothing.
      left.connect()
      left.disconnect()
      left.connect()
      assert.equal(left.workload.alive, 'maybe')
      left.hear({ kind: 'met' })
      assert.equal(left.workload.alive, 'no')
    }
    const back = await new Bench().running()
    back.reconnect()
    assert.equal(back.workload.alive, 'no')
    const idle = await new Bench().idle()
    idle.disconnect()
    assert.equal(idle.workload.alive, 'no')
  })

  test('ends with its namespace in a pod: dead once the port is free, and no sooner than after half a second', async () => {
    const b = await new Bench({ alone: true }).running()
    b.disconnect()
    assert.equal(await b.aliveAfter(499), 'maybe')
    assert.equal(await b.aliveAfter(1), 'no')
    assert.deepEqual(b.supervisor.view, { ...NOTHING, epoch: 3, identity: 'me' })
    const slow = await new Bench({ alone: true, portFree: false }).running()
    slow.disconnect()
    assert.equal(await slow.aliveAfter(2_000), 'maybe')
    slow.portFree = true
    assert.equal(await slow.aliveAfter(50), 'no')
  })

  test('is not taken for dead where a launcher has come, was not alone, or was cut off by this agent', async () => {
    const cases: [alone: boolean, byPeer: boolean, then: (b: Bench) => void, alive: string][] = [
      [true, true, (b) => b.connect(RUNNING, true), 'yes'],
      [true, false, ignore, 'maybe'],
      [false, true, ignore, 'maybe'],
    ]
    for (const [alone, byPeer, then, alive] of cases) {
      const b = await new Bench({ alone }).running()
      b.disconnect(byPeer)
      then(b)
      assert.equal(await b.aliveAfter(5_000), alive)
    }
  })

  test('is killed by the agent in `run`, and dead once that is done unless a launcher has come meanwhile', async () => {
    for (const returns of [false, true]) {
      const { reclaim, done } = reclaiming()
      const b = await new Bench({ reclaim }).running()
      b.disconnect()
      assert.equal(b.said.at(-1), 'killing the workload without its launcher: the launcher is gone')
      await settled()
      assert.equal(b.workload.alive, 'maybe')
      if (returns) b.connect(RUNNING, true)
      done()
      await settled()
      assert.equal(b.workload.alive, returns ? 'yes' : 'no')
    }
  })
})

describe('a launcher that does nothing any more', () => {
  const killings = (b: Bench) => b.said.filter((line) => line.startsWith('killing'))

  test('is done without in `run` alone', async () => {
    for (const options of [reclaiming(), {}]) {
      const b = await new Bench(options).running()
      b.answers = false
      await b.clock.pass(4_000)
      assert.equal(killings(b).length, 'reclaim' in options ? 1 : 0)
    }
  })

  test('is done without half a kill margin after the first order to kill since the last start, in `run`', async () => {
    const b = await new Bench(reclaiming()).running()
    b.supervisor.kill()
    await b.clock.pass(400)
    b.supervisor.start(4)
    b.supervisor.kill()
    await b.clock.pass(400)
    b.supervisor.kill()
    await b.clock.pass(99)
    assert.deepEqual(killings(b), [])
    await b.clock.pass(1)
    assert.deepEqual(killings(b), [
      'killing the workload without its launcher: the launcher did not confirm a kill',
    ])
  })

  test('is not done without once it has killed, or is to start again, where nothing lives, nor in a pod', async () => {
    const kill = (b: Bench) => b.supervisor.kill()
    const cases: [reclaim: boolean, lives: boolean, ...acts: ((b: Bench) => void)[]][] = [
      [true, true, kill, (b) => b.hear(KILLED, IDLE)],
      [true, true, kill, (b) => b.supervisor.start(4)],
      [true, false, kill, (b) => b.supervisor.start(3)],
      [false, true, kill],
    ]
    for (const [reclaim, lives, ...acts] of cases) {
      const b = new Bench(reclaim ? reclaiming() : {})
      await (lives ? b.running() : b.idle())
      for (const act of acts) act(b)
      await b.clock.pass(1_000)
      assert.deepEqual(killings(b), [])
    }
  })
})

describe('the health of a workload', () => {
  test('is after a thaw as before its freeze, and asked for again at once', async () => {
    const b = await new Bench().running()
    b.freeze()
    b.thaw()
    assert.equal(b.supervisor.healthy, false)
    b.probe.healthy()
    b.freeze()
    assert.equal(b.supervisor.healthy, false)
    b.thaw()
    assert.equal(b.supervisor.healthy, true)
    assert.deepEqual(b.probes, ['starting', 'starting', 'healthy'])
    b.hear({ kind: 'stopping' }, STOPPING)
    assert.equal(b.supervisor.healthy, false)
  })

  test('has one start timeout from the order, however long its launcher waited or was in doubt', async () => {
    const b = await new Bench().starting()
    // Sent before the order had come.
    b.hear({ kind: 'standby' })
    await b.clock.pass(40_000)
    b.hear({ kind: 'started' }, RUNNING)
    await b.clock.pass(10_000)
    b.freeze()
    await b.clock.pass(4_000)
    b.thaw()
    await b.clock.pass(5_999)
    assert.deepEqual(b.failures, [])
    await b.clock.pass(1)
    const reason = 'LangFlow was not healthy within 60 s of its start'
    assert.deepEqual(b.failures, [{ reason, remedy: 'handover' }])
    const never = await new Bench().starting()
    never.hear({ kind: 'standby' })
    await never.clock.pass(60_000)
    assert.equal(never.failures.length, 1)
  })

  test('is found by a restarted agent as it was', async () => {
    const found = async (orderedMsAgo: number | null, servedMsAgo: number | null) => {
      const b = new Bench()
      await b.supervisor.listen()
      const ago = (ms: number | null) => (ms === null ? null : b.clock.mono() - ms)
      b.connect({ ...RUNNING, orderedAt: ago(orderedMsAgo), servedSince: ago(servedMsAgo) }, true)
      return b
    }
    for (const [orderedMsAgo, leftMs] of [
      [null, 60_000],
      [59_000, 1_000],
    ] as const) {
      const b = await found(orderedMsAgo, null)
      assert.deepEqual(b.probes, ['starting'])
      await b.clock.pass(leftMs - 1)
      assert.deepEqual(b.failures, [])
      await b.clock.pass(1)
      assert.equal(b.failures.length, 1)
    }
    // Frozen, it is asked once it goes on.
    const frozen = new Bench()
    await frozen.supervisor.listen()
    const [orderedAt, servedSince] = [frozen.clock.mono() - 70_000, frozen.clock.mono() - 20_000]
    frozen.connect({ ...FROZEN, orderedAt, servedSince }, true)
    frozen.hear({ kind: 'thawed' }, { ...RUNNING, orderedAt, servedSince })
    frozen.probe.unhealthy('/health: no answer within 2 s')
    assert.equal(frozen.failures.length, 1)
    const served = await found(70_000, 20_000)
    assert.deepEqual(served.probes, ['served'])
    served.probe.unhealthy('/health: no answer within 2 s')
    assert.deepEqual([served.failures.length, served.served], [1, [20_000]])
  })

  test('is told to its launcher, again where that may have been lost', async () => {
    const b = await new Bench().running()
    assert.deepEqual(b.takeOrders().at(-1), { type: 'start', epoch: 3 })
    b.probe.healthy()
    assert.deepEqual(b.takeOrders(), [{ type: 'healthy' }])
    b.reconnect(RUNNING)
    assert.equal(b.probes.at(-1), 'served')
    b.probe.healthy()
    assert.deepEqual(b.takeOrders(), [{ type: 'healthy' }])
  })
})

describe('a workload that fails', () => {
  const exit: WorkloadCause = { kind: 'exited', code: null, signal: 'SIGKILL' }

  test('by itself is remedied by how long it had served', async () => {
    const failures: [(b: Bench) => void, reason: string][] = [
      [(b) => b.hear(exit, STOPPING), 'LangFlow ended by itself (SIGKILL)'],
      [(b) => b.lose('worker'), 'LangFlow lost its worker (pid 7)'],
      [(b) => b.probe.unhealthy('/health: 500'), 'LangFlow is unhealthy: /health: 500'],
    ]
    for (const [fail, reason] of failures) {
      const b = await new Bench({ remedy: 'restart' }).serving(20_000)
      fail(b)
      assert.deepEqual([b.served, b.failures], [[20_000], [{ reason, remedy: 'restart' }]])
    }
  })

  test('has served from its start on, also through a freeze', async () => {
    const b = await new Bench().serving(20_000)
    b.freeze()
    b.thaw()
    b.probe.healthy()
    b.hear(exit, STOPPING)
    b.hear(KILLED, IDLE)
    b.supervisor.start(3)
    b.hear(exit, STOPPING)
    assert.deepEqual(b.served, [20_000, null])
  })

  test('is handed over where its launcher is at fault, or would not start it', async () => {
    const failures: [(b: Bench) => void, reason: string][] = [
      [(b) => b.disconnect(), 'the launcher is gone'],
      [
        (b) => b.hear({ kind: 'start_refused', reason: 'the port is taken' }, IDLE),
        'LangFlow was not started: the port is taken',
      ],
      [(b) => b.hear({ ...exit, unreaped: true }, STOPPING), "LangFlow's parent, tini, was killed (SIGKILL)"],
      [(b) => b.hear(KILLED, IDLE), 'the launcher stopped LangFlow by itself'],
    ]
    for (const [fail, reason] of failures) {
      const b = await new Bench({ remedy: 'restart' }).serving(20_000)
      fail(b)
      assert.deepEqual(b.failures, [{ reason, remedy: 'handover' }])
    }
  })

  test('does not, where its end was ordered; each start makes that anew', async () => {
    for (const order of ['stop', 'kill'] as const) {
      const b = await new Bench().serving(1_000)
      if (order === 'stop') b.supervisor.stop(5_000)
      else b.supervisor.kill()
      b.hear(KILLED, IDLE)
      assert.deepEqual(b.failures, [])
      b.supervisor.start(4)
      b.hear({ kind: 'started' }, RUNNING)
      b.hear(KILLED, IDLE)
      assert.equal(b.failures.length, 1)
    }
  })

  test('to start in doubt, while it waited for its standby, is started again', async () => {
    const b = await new Bench().starting()
    b.hear({ kind: 'frozen' }, { ...FROZEN, orderedAt: 1 })
    b.hear({ kind: 'stopping' }, { ...STOPPING, orderedAt: 1 })
    b.hear(KILLED, IDLE)
    assert.deepEqual(b.failures, [{ reason: 'the launcher gave up a start in doubt', remedy: 'restart' }])
  })

  test('by the loss of its worker is ended at once: nobody answers what is open, and nothing ends in order', async () => {
    const b = await new Bench({ connections: ['10.1.2.3', '10.1.2.3'] }).serving(1_000)
    b.lose('worker')
    b.supervisor.drain(b.clock.mono() + 5_000, 0)
    await b.clock.pass(0)
    assert.deepEqual(b.facts.at(-1), { type: 'drained' })
    b.supervisor.stop(30_000)
    assert.deepEqual(b.takeOrders(), [{ type: 'stop', graceMs: 0 }])
    b.hear(KILLED, IDLE)
    b.connections = []
    b.supervisor.start(4)
    b.supervisor.stop(30_000)
    assert.deepEqual(b.takeOrders().at(-1), { type: 'stop', graceMs: 30_000 })
  })

  test('by the loss of its worker is ended at once also where the order comes with the news', async () => {
    const b = await new Bench().serving(1_000)
    const push = b.facts.push.bind(b.facts)
    b.facts.push = (...facts) => {
      if (facts[0]?.type === 'workload_failed') b.supervisor.stop(30_000)
      return push(...facts)
    }
    b.lose('worker')
    assert.deepEqual(b.takeOrders(), [{ type: 'stop', graceMs: 0 }])
    b.hear(KILLED, IDLE)
    assert.equal(b.failures.length, 1)
  })

  test('by the loss of its master is ended in order: its workers may still answer', async () => {
    const b = await new Bench({ connections: ['10.1.2.3', '10.1.2.3'] }).serving(1_000)
    b.lose('master')
    assert.equal(b.workload.failed, 'LangFlow lost its master (pid 7)')
    b.supervisor.drain(b.clock.mono() + 5_000, 0)
    await b.clock.pass(1_000)
    assert.notEqual(b.facts.at(-1)?.type, 'drained')
    b.connections = []
    await b.clock.pass(100)
    assert.deepEqual(b.facts.at(-1), { type: 'drained' })
    b.supervisor.stop(30_000)
    assert.deepEqual(b.takeOrders(), [{ type: 'stop', graceMs: 30_000 }])
  })
})

describe('a workload that is stopped', () => {
  for (const [when, drainMs, streamsMs, notForMs, graceMs] of [
    ['once everybody knows that the gate is closed', 5_000, 0, 1_900, 33_000],
    ['no sooner than requests beside streams have ceased to come', 5_000, 1_000, 2_900, 32_000],
    ['late in a long drain: it would end its requests by itself after 30 s', 60_000, 0, 34_900, 55_000],
  ] as const) {
    test(`is told to end while it drains, ${when}`, async () => {
      const b = await new Bench({ connections: ['10.1.2.3'] }).serving(1_000)
      b.supervisor.drain(b.clock.mono() + drainMs, streamsMs)
      assert.deepEqual(await b.ordersAfter(notForMs), [])
      assert.deepEqual(await b.ordersAfter(100), [{ type: 'stop', graceMs }])
    })
  }

  test('is drained once nothing is open, and says meanwhile for whom it waits', async () => {
    const b = await new Bench({ connections: ['10.1.2.3'] }).serving(1_000)
    b.said.length = 0
    b.supervisor.drain(b.clock.mono() + 5_000, 0)
    await b.clock.pass(2_100)
    assert.equal(b.supervisor.draining, '1 connection from 10.1.2.3')
    b.connections = ['10.1.2.3', '10.1.2.3']
    await b.clock.pass(1_500)
    b.connections = []
    await b.clock.pass(100)
    assert.deepEqual([b.facts.at(-1), b.supervisor.draining], [{ type: 'drained' }, null])
    assert.deepEqual(b.said, [
      'draining: 1 connection from 10.1.2.3, 5 s left',
      'draining: 2 connections from 10.1.2.3 (2), 3 s left',
    ])
    b.takeOrders()
    b.supervisor.stop(30_000)
    assert.deepEqual(b.takeOrders(), [{ type: 'stop', graceMs: 30_000 }])
  })

  test('is not told to end while it drains where it stands still: it would be killed', async () => {
    const b = await new Bench({ connections: ['10.1.2.3'] }).serving(1_000)
    b.freeze()
    b.supervisor.drain(b.clock.mono() + 5_000, 0)
    assert.deepEqual(await b.ordersAfter(3_000), [])
    b.thaw()
    assert.deepEqual(await b.ordersAfter(100), [{ type: 'stop', graceMs: 31_900 }])
  })

  test('does not wait for what is still open, or cannot be told', async () => {
    for (const open of [['10.1.2.3'], null]) {
      const b = await new Bench({ connections: open }).serving(1_000)
      b.supervisor.stop(30_000)
      b.supervisor.stop(200)
      assert.deepEqual(b.takeOrders(), [
        { type: 'stop', graceMs: CUT_OFF_MS },
        { type: 'stop', graceMs: 200 },
      ])
    }
  })

  test('that hangs has 5 s to end, and the time of its drain', async () => {
    const hanging = async (setting: Setting = {}) => {
      const b = await new Bench(setting).serving(20_000)
      b.probe.unhealthy('/health: no answer within 2 s', true)
      b.takeOrders()
      return b
    }
    const stopping = await hanging()
    stopping.supervisor.stop(30_000)
    stopping.supervisor.stop(200)
    const grace = (ms: number) => ({ type: 'stop', graceMs: ms })
    assert.deepEqual(stopping.takeOrders(), [grace(5_000), grace(200)])
    const draining = await hanging({ connections: ['10.1.2.3'] })
    draining.supervisor.drain(draining.clock.mono() + 5_000, 0)
    assert.deepEqual(await draining.ordersAfter(2_100), [grace(3_000 + 5_000)])
    const restarting = await hanging()
    restarting.supervisor.restart(30_000, 5_000)
    assert.deepEqual(restarting.takeOrders(), [grace(10_000)])
    const well = await hanging()
    well.probe.healthy()
    well.takeOrders()
    well.supervisor.stop(30_000)
    assert.deepEqual(well.takeOrders(), [grace(30_000)])
  })

  test('without a drain, to be started again, has the time of one for what is open', async () => {
    const b = await new Bench({ connections: ['10.1.2.3'] }).serving(1_000)
    b.supervisor.restart(30_000, 5_000)
    assert.deepEqual(await b.ordersAfter(4_900), [{ type: 'stop', graceMs: 30_000 }])
    assert.deepEqual(await b.ordersAfter(100), [{ type: 'stop', graceMs: CUT_OFF_MS }])
  })

  test('and started again is not stopped for what was open before', async () => {
    const b = await new Bench().serving(1_000)
    b.supervisor.restart(30_000, 5_000)
    b.hear({ kind: 'stopped', durationMs: 5 }, IDLE)
    b.supervisor.start(3)
    b.hear({ kind: 'started' }, RUNNING)
    b.connections = ['10.1.2.3']
    b.takeOrders()
    assert.deepEqual(await b.ordersAfter(6_000), [])
  })
})

describe('whether it is well', () => {
  test('is what its health requests and its launcher say, and is told when that changes', async () => {
    const b = await new Bench().running()
    assert.equal(b.workload.well, false)
    b.probe.healthy()
    assert.equal(b.workload.well, true)
    b.probe.unhealthy('/health: 500')
    assert.equal(b.workload.well, false)
    b.probe.healthy()
    b.answers = false
    await b.clock.pass(4_000)
    assert.equal(b.workload.well, false)
    b.pong()
    assert.equal(b.workload.well, true)
  })

  test('is asked anew once it has lost its worker, and what was lost is over with the next good answer', async () => {
    const b = await new Bench().serving(500)
    b.lose('worker')
    assert.deepEqual([b.workload.well, b.probes.at(-1), b.supervisor.healthy], [false, 'served', false])
    b.probe.healthy()
    assert.deepEqual([b.workload.well, b.workload.failed], [true, null])
    b.lose('master')
    b.probe.healthy()
    assert.deepEqual([b.workload.well, b.workload.failed], [false, 'LangFlow lost its master (pid 7)'])
  })

  test('is told again and again of a start that takes too long, until it is healthy', async () => {
    const b = await new Bench().running()
    await b.clock.pass(60_000)
    await b.clock.pass(5_000)
    const overdue = 'LangFlow was not healthy within 60 s of its start'
    assert.deepEqual(
      b.failures.map(({ reason }) => reason),
      [overdue, overdue],
    )
    b.probe.healthy()
    await b.clock.pass(60_000)
    assert.equal(b.failures.length, 2)
  })
})
