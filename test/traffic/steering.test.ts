import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import type { ElectionState, Fact } from '../../agent/election/state.ts'
import { RoutedTraffic } from '../../agent/traffic/routed-traffic.ts'
import { Steering } from '../../agent/traffic/steering.ts'
import { CLOSED_WITHIN_MS, type Known, READINESS, type TrafficListener } from '../../agent/traffic/traffic.ts'
import { Candidate, heldBy } from '../election/candidate.ts'
import { settled, VirtualClock } from '../harness/virtual-clock.ts'

const STEP_DOWN: Fact = { type: 'step_down', reason: 'a test' }

interface Setting {
  readonly drainTimeoutMs?: number
  readonly readiness?: boolean
  readonly lingerMs?: number
}

/** A leader that serves, and whose traffic follows; `answer` makes the API server answer from then on. */
class Scene {
  readonly clock = new VirtualClock()
  readonly candidate: Candidate
  readonly steering: Steering
  /** What the workload was told. */
  readonly orders: string[] = []
  readonly asked: Known[] = []
  readonly said: string[] = []
  state: ElectionState
  inDoubt = false
  closed = false
  view = { routedTo: null as string | null, problem: null as string | null }
  answer = (): void => {}
  listener: TrafficListener | null = null

  constructor({ drainTimeoutMs = 20_000, readiness = false, lingerMs = 0 }: Setting = {}) {
    this.candidate = Candidate.leader({ drainTimeoutMs })
    this.state = this.candidate.state
    const { clock } = this
    const scene = this
    const route = {
      get routedTo() {
        return scene.view.routedTo
      },
      bring: (wanted: Known) => {
        this.asked.push(wanted)
        return wanted.gate === 'open' ? Promise.resolve() : unlocked
      },
      close: () => {
        this.closed = true
      },
    }
    const { promise: unlocked, resolve } = Promise.withResolvers<void>()
    this.answer = resolve
    this.steering = new Steering({
      traffic: (listener) => {
        this.listener = listener
        return readiness ? READINESS : new RoutedTraffic({ route, clock, listener })
      },
      identity: 'me',
      leaseDurationMs: 15_000,
      lingerMs,
      clock,
      log: { info: (_, fields) => this.said.push(`to ${fields?.pod}`) },
      repeats: { happened: (_, what) => this.said.push(what), over: () => {} },
      state: () => this.state,
      ready: () => this.state.term !== null && this.state.term.stepDown === null && !this.inDoubt,
      inDoubt: () => this.inDoubt,
    })
    this.steering.look()
  }

  /** One turn of the election, carried out as the replica does it. */
  tell(fact: Fact): this {
    const { steering, orders } = this
    this.candidate.mono = this.clock.mono()
    this.state = this.candidate.tell(fact).state
    for (const { type } of this.candidate.last.effects) {
      if (type === 'drain') steering.drain(() => orders.push('drain'))
      else if (type === 'stop') steering.stop(() => orders.push('stop'))
      else if (type === 'kill') orders.push('kill')
    }
    steering.look()
    return this
  }
}

describe('a planned stop', () => {
  it('drains once the API server leads nobody here any more', async () => {
    const scene = new Scene()
    scene.tell(STEP_DOWN)
    await scene.clock.pass(500)
    assert.deepEqual(scene.orders, [])
    scene.answer()
    await settled()
    assert.deepEqual(scene.orders, ['drain'])
    scene.tell({ type: 'drained' })
    assert.deepEqual(scene.orders, ['drain'])
    await settled()
    assert.deepEqual(scene.orders, ['drain', 'stop'])
  })

  it('that has no time to drain does not stop LangFlow before the API server knows', async () => {
    const scene = new Scene({ drainTimeoutMs: 0 })
    scene.tell(STEP_DOWN)
    assert.deepEqual(
      scene.candidate.last.effects.map(({ type }) => type),
      ['event', 'drain', 'stop'],
    )
    await scene.clock.pass(500)
    assert.deepEqual(scene.orders, [])
    scene.answer()
    await settled()
    assert.deepEqual(scene.orders, ['stop'])
  })

  it('waits no longer than two seconds for an API server that is away, counted from its beginning', async () => {
    const scene = new Scene({ drainTimeoutMs: 1_500 })
    scene.tell(STEP_DOWN)
    await scene.clock.pass(1_500)
    scene.tell({ type: 'tick' })
    await scene.clock.pass(CLOSED_WITHIN_MS - 1_501)
    assert.deepEqual(scene.orders, [])
    await scene.clock.pass(1)
    assert.deepEqual(scene.orders, ['stop'])
  })

  it('waits for nothing where the kubelet asks', () => {
    const scene = new Scene({ drainTimeoutMs: 0, readiness: true })
    scene.tell(STEP_DOWN)
    assert.deepEqual(scene.orders, ['drain', 'stop'])
  })

  it('that is overtaken by a kill is not carried out afterwards, and does not delay that', async () => {
    const scene = new Scene({ drainTimeoutMs: 0 })
    scene.tell(STEP_DOWN)
    scene.tell({ type: 'lease', lease: heldBy('other', 900), fresh: true })
    assert.equal(scene.state.term, null)
    assert.deepEqual(scene.orders, ['kill'])
    await scene.clock.pass(10_000)
    assert.deepEqual(scene.orders, ['kill'])
  })

  it('does not stop what has ended by itself meanwhile', async () => {
    const scene = new Scene({ drainTimeoutMs: 0 })
    scene.tell(STEP_DOWN)
    scene.tell({ type: 'workload', workload: { ...scene.state.workload, alive: 'no' } })
    await scene.clock.pass(10_000)
    assert.deepEqual(scene.orders, [])
  })

  for (const [stage, begin] of [
    ['draining', 'drain'],
    ['stopping', 'stop'],
  ] as const) {
    it(`does not ${begin} in a later term what it waited for in an earlier one`, async () => {
      const scene = new Scene({ drainTimeoutMs: begin === 'stop' ? 0 : 20_000 })
      scene.tell(STEP_DOWN)
      assert.equal(scene.state.term?.stepDown?.stage, stage)
      scene.state = { ...scene.state, term: { ...scene.state.term, epoch: scene.state.term.epoch + 1 } }
      await scene.clock.pass(10_000)
      assert.deepEqual(scene.orders, [])
    })
  }
})

describe('the end of an agent', () => {
  it('waits until the API server has acknowledged that nobody is led here, and leaves no timer', async () => {
    const scene = new Scene()
    scene.tell({ type: 'terminate', reason: 'SIGTERM' })
    // LangFlow has died in the same moment, so that nothing else is waited for.
    scene.state = { ...scene.state, term: null }
    let over = false
    const end = scene.steering.end().then(() => {
      over = true
    })
    await scene.clock.pass(CLOSED_WITHIN_MS / 2)
    assert.deepEqual([over, scene.closed], [false, false])
    scene.answer()
    await end
    assert.ok(scene.closed)
    assert.deepEqual(scene.asked.at(-1), { gate: 'closed', epoch: null })
    assert.deepEqual(scene.orders, [])
    assert.equal(scene.clock.next(), Number.POSITIVE_INFINITY)
  })

  it('does not wait for ever', async () => {
    const scene = new Scene()
    scene.tell({ type: 'terminate', reason: 'SIGTERM' })
    scene.steering.start()
    const end = scene.steering.end()
    await scene.clock.pass(CLOSED_WITHIN_MS)
    await end
    assert.ok(scene.closed)
    assert.equal(scene.clock.next(), Number.POSITIVE_INFINITY)
  })

  for (const [what, closedForMs, lingerMs, leftMs] of [
    ['until whoever routes can have heard that the gate is closed', 700, 2_000, 1_300],
    ['no longer where its gate is closed long since', 2_000, 2_000, 0],
    ['no longer where nobody routes to it', 0, 0, 0],
  ] as const) {
    it(`stays ${what}`, async () => {
      const scene = new Scene({ readiness: true, lingerMs })
      scene.tell(STEP_DOWN)
      await scene.clock.pass(closedForMs)
      const from = scene.clock.mono()
      let endedAt: number | null = null
      void scene.steering.end().then(() => {
        endedAt = scene.clock.mono()
      })
      await scene.clock.pass(10_000)
      assert.equal(endedAt, from + leftMs)
    })
  }
})

describe('steering', () => {
  it('opens nothing again for a leader that the clock puts in doubt, whatever the election knows', async () => {
    const scene = new Scene()
    await settled()
    assert.deepEqual(scene.asked, [{ gate: 'open', epoch: 4, leaseUid: 'u1' }])
    scene.inDoubt = true
    scene.answer()
    await scene.clock.pass(60_000)
    assert.deepEqual(scene.asked.slice(1), [])
    scene.state = { ...scene.state, term: null }
    scene.steering.look()
    assert.deepEqual(scene.asked.slice(1), [{ gate: 'closed', epoch: null }])
  })

  it('knows a lease duration after its start what traffic is to be, without being told anything', async () => {
    const scene = new Scene()
    const { listener } = scene
    assert.ok(listener)
    scene.state = { ...scene.state, term: null }
    scene.steering.start()
    await scene.clock.pass(15_000)
    assert.deepEqual(scene.asked.at(-1), { gate: 'closed', epoch: null })
  })

  it('says where traffic is led to when that changes, and what keeps it from being led', () => {
    const scene = new Scene()
    const { listener } = scene
    assert.ok(listener)
    for (const routedTo of [null, 'a', 'a', null, '']) {
      scene.view.routedTo = routedTo
      listener.changed()
    }
    assert.deepEqual(scene.said, ['to a', 'to nobody, or another pod'])
  })
})
