import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import type { Fact, Workload } from '../../agent/election/state.ts'
import type { Hello, LinkHandlers } from '../../agent/workload/link-server.ts'
import type { ToLauncher, WorkloadCause, WorkloadView } from '../../agent/workload/messages.ts'
import { Supervisor } from '../../agent/workload/supervisor.ts'
import { VirtualClock } from '../support/virtual-clock.ts'

const ignore = (): void => {}
const IDLE: WorkloadView = {
  state: 'idle',
  epoch: null,
  identity: null,
  pid: null,
  killAt: null,
  deadmanFirings: 0,
  freezes: 0,
}

/** A supervisor whose launcher is the test. */
class Bench {
  readonly clock = new VirtualClock()
  readonly sent: ToLauncher[] = []
  readonly facts: Fact[] = []
  readonly supervisor: Supervisor
  connected = false
  private handlers!: LinkHandlers

  constructor(reclaim?: () => Promise<void>) {
    this.supervisor = new Supervisor({
      machine: {
        clock: this.clock,
        portFree: async () => true,
        connections: () => 0,
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
      probe: () => ({ start: ignore, stop: ignore }),
      startTimeoutMs: 60_000,
      killMarginMs: 1_000,
      log: { event: ignore, debug: ignore, info: ignore, warn: ignore, error: ignore },
      metrics: { takeover: ignore, stopped: ignore },
      tell: (fact) => this.facts.push(fact),
      changed: ignore,
    })
  }

  /** A new launcher, which has not looked for remains yet. */
  connect(): void {
    this.connected = true
    const hello: Hello = {
      type: 'hello',
      version: 1,
      pid: 1,
      alone: false,
      mono: this.clock.mono(),
      view: IDLE,
    }
    this.handlers.connected(hello, false)
  }

  hear(cause: WorkloadCause, view: Partial<WorkloadView> = {}): void {
    this.handlers.received({ type: 'workload', view: { ...IDLE, ...view }, cause })
  }

  pong(): void {
    this.handlers.received({ type: 'pong', id: 0 })
  }

  disconnect(): void {
    this.connected = false
    this.handlers.gone()
  }

  get workload(): Workload {
    const last = this.facts.findLast((fact) => fact.type === 'workload')
    assert.ok(last)
    return last.workload
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
      b.hear({ kind: 'grant_refused', reason: 'it is no newer than the one in force' })
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
