import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import type { ElectionState, Fact } from '../../agent/election/state.ts'
import { CLOSED_WITHIN_MS, Steering } from '../../agent/traffic/steering.ts'
import { READINESS, type TrafficListener } from '../../agent/traffic/traffic.ts'
import { Candidate, heldBy } from '../election/candidate.ts'
import { VirtualClock } from '../harness/virtual-clock.ts'

const STEP_DOWN: Fact = { type: 'step_down', code: 'newer_revision', reason: 'a test' }

interface Setting {
  readonly drainTimeoutMs?: number
  readonly readiness?: boolean
  readonly lingerMs?: number
}

/** A leader that serves, with its traffic. `answer` makes the front acknowledge the latest message. */
class Scene {
  readonly clock = new VirtualClock()
  readonly candidate: Candidate
  readonly steering: Steering
  /** The orders that the workload received. */
  readonly orders: string[] = []
  /** The states of the gate that traffic received, without repetitions. */
  readonly told: boolean[] = []
  readonly said: string[] = []
  state: ElectionState
  inDoubt = false
  closed = false
  view = { routedTo: null as string | null, problem: null as string | null, front: null }
  answer = (): void => {}
  listener!: TrafficListener

  constructor({ drainTimeoutMs = 20_000, readiness = false, lingerMs = 0 }: Setting = {}) {
    this.candidate = Candidate.leader({ drainTimeoutMs })
    this.state = this.candidate.state
    const { clock, told } = this
    let settling: Promise<void> | null = null
    let drains = false
    const scene = this
    const traffic = {
      get view() {
        return scene.view
      },
      get settling() {
        return settling
      },
      follow: (open: boolean) => {
        const before = drains
        drains = scene.state.term?.stepDown?.stage === 'draining'
        if (open === told.at(-1) && drains === before) return
        if (open !== told.at(-1)) told.push(open)
        const { promise, resolve } = Promise.withResolvers<void>()
        const earlier = this.answer
        this.answer = () => {
          earlier()
          settling = null
          resolve()
        }
        settling = open ? null : promise
      },
      close: async () => {
        this.closed = true
      },
    }
    this.steering = new Steering({
      traffic: (listener) => {
        this.listener = listener
        return readiness ? READINESS : traffic
      },
      lingerMs,
      clock,
      log: { info: (what, fields) => this.said.push(`${what} ${fields?.pod ?? ''}`.trim()) },
      repeats: { happened: (_, what) => this.said.push(what), over: () => {} },
      state: () => this.state,
      ready: () => this.state.term !== null && this.state.term.stepDown === null && !this.inDoubt,
    })
    this.steering.gateChanged()
  }

  /** Runs one transition of the election and its effects, as the replica does. */
  tell(fact: Fact): this {
    const { steering, orders } = this
    this.candidate.mono = this.clock.mono()
    this.state = this.candidate.tell(fact).state
    for (const { type } of this.candidate.last.effects) {
      if (type === 'drain') steering.onceClosed('draining', () => orders.push('drain'))
      else if (type === 'stop') steering.onceClosed('stopping', () => orders.push('stop'))
      else if (type === 'kill') orders.push('kill')
    }
    steering.gateChanged()
    return this
  }

  /** Lets time pass, and resolves to all orders so far. */
  async ordersAfter(ms: number): Promise<string[]> {
    await this.clock.pass(ms)
    return this.orders
  }
}

describe('a planned stop', () => {
  it('drains after the front has begun to close, and stops LangFlow after the front holds all requests', async () => {
    const scene = new Scene().tell(STEP_DOWN)
    assert.deepEqual(await scene.ordersAfter(500), [])
    scene.answer()
    assert.deepEqual(await scene.ordersAfter(0), ['drain'])
    scene.tell({ type: 'drained' })
    assert.deepEqual(await scene.ordersAfter(500), ['drain'])
    scene.answer()
    assert.deepEqual(await scene.ordersAfter(0), ['drain', 'stop'])
  })

  it('stops LangFlow only after the front holds all requests, even without a drain', async () => {
    const scene = new Scene({ drainTimeoutMs: 0 }).tell(STEP_DOWN)
    assert.deepEqual(
      scene.candidate.last.effects.map(({ type }) => type),
      ['event', 'drain', 'stop'],
    )
    assert.deepEqual(await scene.ordersAfter(500), [])
    scene.answer()
    assert.deepEqual(await scene.ordersAfter(0), ['stop'])
  })

  it('waits at most two seconds for a front that does not answer', async () => {
    const scene = new Scene({ drainTimeoutMs: 1_500 }).tell(STEP_DOWN)
    await scene.clock.pass(1_500)
    scene.tell({ type: 'tick' })
    assert.deepEqual(await scene.ordersAfter(CLOSED_WITHIN_MS - 1), [])
    assert.deepEqual(await scene.ordersAfter(1), ['stop'])
  })

  it('does not wait if traffic follows readiness', () => {
    const scene = new Scene({ drainTimeoutMs: 0, readiness: true }).tell(STEP_DOWN)
    assert.deepEqual(scene.orders, ['drain', 'stop'])
  })

  it('is dropped if a kill overtakes it, and does not delay the kill', async () => {
    const scene = new Scene({ drainTimeoutMs: 0 }).tell(STEP_DOWN)
    scene.tell({ type: 'lease', lease: heldBy('other', 900), fresh: true, watched: false })
    assert.equal(scene.state.term, null)
    assert.deepEqual(scene.orders, ['kill'])
    assert.deepEqual(await scene.ordersAfter(10_000), ['kill'])
  })

  it('is dropped if LangFlow has ended by itself', async () => {
    const scene = new Scene({ drainTimeoutMs: 0 }).tell(STEP_DOWN)
    scene.tell({ type: 'workload', workload: { ...scene.state.workload, alive: 'no' } })
    assert.deepEqual(await scene.ordersAfter(10_000), [])
  })

  for (const stage of ['draining', 'stopping'] as const) {
    it(`is dropped in a later term if it was waiting while ${stage}`, async () => {
      const scene = new Scene({ drainTimeoutMs: stage === 'stopping' ? 0 : 20_000 }).tell(STEP_DOWN)
      assert.equal(scene.state.term?.stepDown?.stage, stage)
      scene.state = { ...scene.state, term: { ...scene.state.term, epoch: scene.state.term.epoch + 1 } }
      assert.deepEqual(await scene.ordersAfter(10_000), [])
    })
  }
})

describe('the end of an agent', () => {
  for (const [what, answers] of [
    ['waits until the front has acknowledged that it holds requests, and leaves no timer', true],
    ['waits at most two seconds for the front, and leaves no timer', false],
  ] as const) {
    it(what, async () => {
      const scene = new Scene().tell({ type: 'terminate', reason: 'SIGTERM' })
      // LangFlow died at the same moment, so only the front is left to wait for.
      scene.state = { ...scene.state, term: null }
      const end = scene.steering.end(new Promise(() => {}))
      await scene.clock.pass(CLOSED_WITHIN_MS - 1)
      assert.equal(scene.closed, false)
      if (answers) scene.answer()
      else await scene.clock.pass(1)
      await end
      assert.ok(scene.closed)
      assert.equal(scene.told.at(-1), false)
      assert.deepEqual([scene.orders, scene.clock.next()], [[], Number.POSITIVE_INFINITY])
    })
  }

  for (const [what, closedForMs, lingerMs, leftMs] of [
    ['for the rest of the linger time after its gate has closed', 700, 2_000, 1_300],
    ['no longer if its gate closed more than the linger time ago', 2_000, 2_000, 0],
    ['no longer without a linger time', 0, 0, 0],
  ] as const) {
    it(`keeps the process ${what}`, async () => {
      const scene = new Scene({ readiness: true, lingerMs }).tell(STEP_DOWN)
      await scene.clock.pass(closedForMs)
      const from = scene.clock.mono()
      const endedAt = scene.steering.end(new Promise(() => {})).then(() => scene.clock.mono())
      await scene.clock.pass(10_000)
      assert.equal(await endedAt, from + leftMs)
    })
  }
})

describe('steering', () => {
  it('ends immediately in a hurry', async () => {
    const scene = new Scene({ readiness: true, lingerMs: 2_000 }).tell(STEP_DOWN)
    await scene.steering.end(Promise.resolve())
    assert.equal(scene.clock.next(), Number.POSITIVE_INFINITY)
  })

  it('closes the gate of a leader in doubt before the election decides, and opens it after the doubt', () => {
    const scene = new Scene()
    for (const inDoubt of [true, false]) {
      scene.inDoubt = inDoubt
      scene.steering.gateChanged()
    }
    assert.deepEqual(scene.told, [true, false, true])
  })

  it('logs a change of the destination of requests', () => {
    const scene = new Scene()
    for (const routedTo of [null, 'a', 'a', null, '']) {
      scene.view.routedTo = routedTo
      scene.listener.changed()
    }
    assert.deepEqual(scene.said, ['requests are sent to a', 'requests are held, because no replica serves'])
  })
})
