import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import type { CandidateState, Fact } from '../../../agent/election/state.ts'
import { CLOSED_WITHIN_MS, Steering } from '../../../agent/front/agent-side/steering.ts'
import { type FrontCounts, type FrontRoute, NO_COUNTS } from '../../../agent/front/front-messages.ts'
import { Candidate, CONFIG, heldBy } from '../../election/candidate.ts'
import { VirtualClock } from '../../harness/virtual-clock.ts'

const STEP_DOWN: Fact = { type: 'step_down', code: 'newer_revision', reason: 'a test' }

interface Setting {
  readonly readiness?: boolean
  readonly lingerMs?: number
  readonly quietTimeoutMs?: number
}

const OWN = { address: '10.0.0.1:8091', key: 'own-key' }
const NEVER = new Promise<void>(() => {})

class Scene {
  readonly clock = new VirtualClock()
  readonly candidate: Candidate
  readonly steering: Steering
  readonly routes: FrontRoute[] = []
  readonly answers: (() => void)[] = []
  readonly logged: string[] = []
  /** Monotonic ms until which the front was to end. */
  readonly ends: number[] = []
  readonly process = {
    listening: true,
    problem: null as string | null,
    quiet: false,
    counts: NO_COUNTS,
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
  state: CandidateState
  inDoubt = false
  quietMoments = 0
  readonly probed: string[] = []
  unreachable: string | null | Promise<string> = null
  changed = (): void => {}

  constructor({ readiness = false, lingerMs = 0, quietTimeoutMs = 0 }: Setting = {}) {
    this.candidate = Candidate.leader({ drainTimeoutMs: 20_000, quietTimeoutMs, front: OWN })
    this.state = this.candidate.state
    const process = (changed: () => void) => {
      this.changed = changed
      return this.process
    }
    this.steering = new Steering({
      front: readiness ? null : { access: OWN, holdTimeoutMs: 30_000, probe: this.probe, process },
      config: CONFIG,
      lingerMs,
      clock: this.clock,
      repeats: { happened: (_, what) => this.logged.push(what), over: () => {} },
      state: () => this.state,
      ready: () => this.state.term !== null && this.state.term.stepDown === null && !this.inDoubt,
      quiet: () => void this.quietMoments++,
    })
    this.steering.gateChanged()
  }

  private readonly probe = async (address: string) => {
    this.probed.push(address)
    return this.unreachable
  }

  answer(): void {
    for (const one of this.answers) one()
  }

  dispatch(fact: Fact): this {
    this.candidate.mono = this.clock.mono()
    this.state = this.candidate.dispatch(fact).state
    this.steering.gateChanged()
    return this
  }

  close(): () => boolean {
    let closed = false
    const close = () => {
      closed = true
    }
    const closing = this.steering.closed()
    if (closing === null) close()
    else void closing.then(close)
    return () => closed
  }
}

describe('the gate', () => {
  it('is closed when the front follows the latest route', async () => {
    const scene = new Scene().dispatch(STEP_DOWN)
    const isClosed = scene.close()
    for (const answer of scene.answers.slice(0, -1)) answer()
    await scene.clock.pass(0)
    assert.equal(isClosed(), false)
    scene.answers.at(-1)?.()
    await scene.clock.pass(0)
    assert.equal(isClosed(), true)
  })

  it('counts as closed two seconds later if the front does not answer', async () => {
    const scene = new Scene().dispatch(STEP_DOWN)
    const isClosed = scene.close()
    await scene.clock.pass(CLOSED_WITHIN_MS - 1)
    assert.equal(isClosed(), false)
    await scene.clock.pass(1)
    assert.equal(isClosed(), true)
  })

  it('is closed at once if traffic follows readiness', () => {
    assert.equal(new Scene({ readiness: true }).dispatch(STEP_DOWN).close()(), true)
  })
})

describe('the end of an agent', () => {
  for (const [what, answers] of [
    ['waits until the front has acknowledged that it holds requests, and leaves no timer', true],
    ['waits at most two seconds for the front, and leaves no timer', false],
  ] as const) {
    it(what, async () => {
      const scene = new Scene().dispatch({ type: 'terminate', reason: 'SIGTERM' })
      // LangFlow died at the same moment, so only the front is left to wait for.
      scene.state = { ...scene.state, term: null } as CandidateState
      const end = scene.steering.end(NEVER)
      await scene.clock.pass(CLOSED_WITHIN_MS - 1)
      assert.deepEqual(scene.ends, [])
      if (answers) scene.answer()
      await scene.clock.pass(answers ? 0 : 1)
      await end
      assert.equal(scene.ends.length, 1)
      assert.equal(scene.routes.at(-1)?.to, 'nobody')
      assert.equal(scene.clock.next(), Number.POSITIVE_INFINITY)
    })
  }

  for (const [what, closedForMs, lingerMs, leftMs] of [
    ['for the rest of the linger time after its gate has closed', 700, 2_000, 1_300],
    ['no longer if its gate closed more than the linger time ago', 2_000, 2_000, 0],
    ['no longer without a linger time', 0, 0, 0],
  ] as const) {
    it(`keeps the process ${what}`, async () => {
      const scene = new Scene({ readiness: true, lingerMs }).dispatch(STEP_DOWN)
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
      const scene = new Scene({ readiness, lingerMs: 2_000 }).dispatch(STEP_DOWN)
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

  for (const listening of [true, false])
    it(`is asked for a quiet moment while the leader waits for it${listening ? '' : ', and has one if it does not listen'}`, () => {
      const scene = new Scene({ quietTimeoutMs: 30_000 })
      const { process, candidate } = scene
      process.quiet = true
      scene.changed()
      Object.assign(process, { quiet: false, listening })
      candidate.workload({ well: true })
      scene.dispatch({ type: 'terminate', reason: 'SIGTERM' })
      const route = scene.routes.at(-1)
      assert.ok(route?.to === 'langflow' && route.untilQuiet)
      assert.equal(scene.quietMoments, listening ? 0 : 1)
      process.quiet = true
      scene.changed()
      assert.equal(scene.quietMoments, listening ? 1 : 2)
    })

  it('receives no message if its route stays the same', () => {
    const { steering, routes } = new Scene()
    for (let n = 0; n < 3; n++) steering.gateChanged()
    assert.equal(routes.length, 1)
  })

  it('logs its problem', () => {
    const scene = new Scene()
    scene.changed()
    scene.process.problem = 'the front has ended (SIGKILL)'
    scene.changed()
    assert.deepEqual(scene.logged, [scene.process.problem])
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
      front: { listening: false, ...counts },
    })
    Object.assign(process, { listening: true, problem: null })
    scene.state = Candidate.follower().sees(heldBy('other-1_uid', 50)).state
    steering.gateChanged()
    assert.equal(steering.view.routedTo, '')
    assert.match(steering.view.problem ?? '', /^other-1 leads without a front/)
  })

  it('shows a leader that renews while its front does not answer', async () => {
    const scene = new Scene()
    const lease = heldBy('other-1_uid', 51)
    const sees = (note = '3 10.0.0.2:8091 key') => {
      const annotations = { 'langflow-leader/front': note }
      const { state } = Candidate.follower().sees({ ...lease, metadata: { ...lease.metadata, annotations } })
      scene.state = { ...state, seen: state.seen && { ...state.seen, changedAt: scene.clock.mono() } }
      scene.steering.gateChanged()
    }
    await scene.clock.pass(60_000)
    assert.deepEqual(scene.probed, [], 'a leader probed a front')
    sees()
    await scene.clock.pass(2_000)
    scene.unreachable = 'a test'
    await scene.clock.pass(8_000)
    assert.equal(scene.steering.view.problem, null, 'the leader has not renewed since')
    sees()
    assert.match(scene.steering.view.problem ?? '', /10\.0\.0\.2:8091 .* \(a test\)/)
    scene.unreachable = null
    await scene.clock.pass(2_000)
    assert.deepEqual([scene.steering.view.problem, scene.probed.length], [null, 6])
    const failing = Promise.withResolvers<string>()
    scene.unreachable = failing.promise
    await scene.clock.pass(8_000)
    sees('3 10.0.0.3:8091 key')
    failing.resolve('the former leader')
    await scene.clock.pass(0)
    sees('3 10.0.0.3:8091 key')
    assert.equal(scene.steering.view.problem, null, 'a probe of the former leader counted for the next one')
    await scene.steering.end(Promise.resolve())
    await scene.clock.pass(60_000)
    assert.equal(scene.probed.length, 7)
  })
})
