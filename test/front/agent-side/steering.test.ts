import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import type { ElectionState, Fact } from '../../../agent/election/state.ts'
import { CLOSED_WITHIN_MS, Steering } from '../../../agent/front/agent-side/steering.ts'
import {
  type FrontCounts,
  type FrontRoute,
  type LeaderSilence,
  NO_COUNTS,
} from '../../../agent/front/front-messages.ts'
import { Candidate, CONFIG, heldBy } from '../../election/candidate.ts'
import { VirtualClock } from '../../harness/virtual-clock.ts'

const STEP_DOWN: Fact = { type: 'step_down', code: 'newer_revision', reason: 'a test' }

interface Setting {
  readonly drainTimeoutMs?: number
  readonly readiness?: boolean
  readonly lingerMs?: number
}

const OWN = { address: '10.0.0.1:8091', key: 'own-key' }
const NEVER = new Promise<void>(() => {})

/** A leader that serves, with its front. `answer` makes the front acknowledge all routes, `answers` each of them. */
class Scene {
  readonly clock = new VirtualClock()
  readonly candidate: Candidate
  readonly steering: Steering
  /** The orders that the workload received. */
  readonly orders: string[] = []
  readonly routes: FrontRoute[] = []
  readonly answers: (() => void)[] = []
  readonly said: string[] = []
  /** Monotonic ms until which the front was to end. */
  readonly ends: number[] = []
  readonly process = {
    listening: true,
    problem: null as string | null,
    counts: NO_COUNTS,
    silence: null as LeaderSilence | null,
    follow: (route: FrontRoute): Promise<void> => {
      this.routes.push(route)
      const { promise, resolve } = Promise.withResolvers<void>()
      this.answers.push(resolve)
      return promise
    },
    end: async (until: number) => {
      this.ends.push(until)
    },
  }
  state: ElectionState
  inDoubt = false
  changed = (): void => {}

  constructor({ drainTimeoutMs = 20_000, readiness = false, lingerMs = 0 }: Setting = {}) {
    this.candidate = Candidate.leader({ drainTimeoutMs })
    this.state = this.candidate.state
    const process = (changed: () => void) => {
      this.changed = changed
      return this.process
    }
    this.steering = new Steering({
      front: readiness ? null : { access: OWN, holdTimeoutMs: 30_000, process },
      config: CONFIG,
      lingerMs,
      clock: this.clock,
      log: { info: (what, fields) => this.said.push(`${what} ${fields?.pod ?? ''}`.trim()) },
      repeats: { happened: (_, what) => this.said.push(what), over: () => {} },
      state: () => this.state,
      ready: () => this.state.term !== null && this.state.term.stepDown === null && !this.inDoubt,
    })
    this.steering.gateChanged()
  }

  answer(): void {
    for (const one of this.answers) one()
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

  it('waits until the front follows the latest route', async () => {
    const scene = new Scene({ drainTimeoutMs: 0 }).tell(STEP_DOWN)
    for (const answer of scene.answers.slice(0, -1)) answer()
    assert.deepEqual(await scene.ordersAfter(0), [])
    scene.answers.at(-1)?.()
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
      const end = scene.steering.end(NEVER)
      await scene.clock.pass(CLOSED_WITHIN_MS - 1)
      assert.deepEqual(scene.ends, [])
      if (answers) scene.answer()
      await scene.clock.pass(answers ? 0 : 1)
      await end
      assert.equal(scene.ends.length, 1)
      assert.equal(scene.routes.at(-1)?.to, 'nobody')
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
      const endedAt = scene.steering.end(NEVER).then(() => scene.clock.mono())
      await scene.clock.pass(10_000)
      assert.equal(await endedAt, from + leftMs)
    })
  }

  it('keeps the front for the linger time of its pod', async () => {
    const scene = new Scene({ lingerMs: 2_000 })
    scene.answer()
    await scene.clock.pass(0)
    const until = scene.clock.mono() + 32_000
    const end = scene.steering.end(NEVER)
    await scene.clock.pass(1_999)
    assert.deepEqual(scene.ends, [])
    await scene.clock.pass(1)
    await end
    assert.deepEqual(scene.ends, [until])
  })

  for (const readiness of [true, false]) {
    it(`does not wait in a hurry ${readiness ? 'without' : 'with'} a front`, async () => {
      const scene = new Scene({ readiness, lingerMs: 2_000 }).tell(STEP_DOWN)
      await scene.steering.end(Promise.resolve())
      assert.equal(scene.ends.length, readiness ? 0 : 1)
    })
  }
})

describe('the front', () => {
  it('closes the gate of a leader in doubt before the election decides, and opens it after the doubt', () => {
    const scene = new Scene()
    for (const inDoubt of [true, false]) {
      scene.inDoubt = inDoubt
      scene.steering.gateChanged()
    }
    assert.deepEqual(
      scene.routes.map(({ to }) => to),
      ['langflow', 'nobody', 'langflow'],
    )
  })

  it('receives no message if its route stays the same', () => {
    const { steering, routes } = new Scene()
    for (let n = 0; n < 3; n++) steering.gateChanged()
    assert.equal(routes.length, 1)
  })

  it('logs a change of the destination of requests', () => {
    const scene = new Scene()
    scene.changed()
    scene.changed()
    scene.state = Candidate.follower().state
    scene.steering.gateChanged()
    scene.changed()
    assert.deepEqual(scene.said, ['requests are sent to me', 'requests are held, because no replica serves'])
  })

  it('is shown with the destination of requests, its problem and its counts', () => {
    const scene = new Scene()
    const { steering, process } = scene
    assert.deepEqual([steering.view.routedTo, steering.view.problem], ['me', null])
    assert.equal(steering.view.front?.held, 0)
    const counts = { held: 7, failed: { hold_limit: 1 } } as unknown as FrontCounts
    Object.assign(process, { listening: false, problem: 'the front has ended (SIGKILL)', counts })
    assert.deepEqual(steering.view, {
      routedTo: 'me',
      problem: 'the front has ended (SIGKILL)',
      front: { listening: false, ...counts, unreachable: null },
    })
    Object.assign(process, { listening: true, problem: null })
    scene.state = Candidate.follower().sees(heldBy('other-1_uid', 50)).state
    steering.gateChanged()
    assert.equal(steering.view.routedTo, '')
    assert.match(steering.view.problem ?? '', /^other-1 leads without a front/)
    const lease = heldBy('other-1_uid', 51)
    const annotations = { 'langflow-leader/front': '3 10.0.0.2:8091 key' }
    scene.state = Candidate.follower().sees({ ...lease, metadata: { ...lease.metadata, annotations } }).state
    const since = (scene.state.seen?.changedAt ?? 0) - 5_000
    process.silence = { address: '10.0.0.2:8091', since, because: 'connect ECONNREFUSED' }
    assert.equal(steering.view.front?.unreachable, '10.0.0.2:8091')
    assert.match(
      steering.view.problem ?? '',
      /^the leader's front at 10\.0\.0\.2:8091 does not answer \(connect ECONN/,
    )
  })
})
