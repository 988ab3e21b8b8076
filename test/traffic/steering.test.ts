import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { type ElectionState, type Fact, initialState, NO_WORKLOAD } from '../../agent/election/state.ts'
import { RoutedTraffic } from '../../agent/traffic/routed-traffic.ts'
import { CLOSED_WITHIN_MS, Steering } from '../../agent/traffic/steering.ts'
import { type Known, READINESS, type TrafficListener, type Wanted } from '../../agent/traffic/traffic.ts'
import { Candidate, heldBy } from '../election/candidate.ts'
import { settled, VirtualClock } from '../harness/virtual-clock.ts'

const LEASE_MS = 15_000
const STEP_DOWN: Fact = { type: 'step_down', code: 'newer_revision', reason: 'a test' }
const UNKNOWN = { gate: 'unknown' } as const
const CLOSED = { gate: 'closed', epoch: null } as const

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
  listener!: TrafficListener

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
      leaseDurationMs: LEASE_MS,
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

  /** Lets time pass; resolves to what the workload was told by then. */
  async ordersAfter(ms: number): Promise<string[]> {
    await this.clock.pass(ms)
    return this.orders
  }
}

describe('a planned stop', () => {
  it('drains once the API server leads nobody here any more', async () => {
    const scene = new Scene().tell(STEP_DOWN)
    assert.deepEqual(await scene.ordersAfter(500), [])
    scene.answer()
    assert.deepEqual(await scene.ordersAfter(0), ['drain'])
    scene.tell({ type: 'drained' })
    assert.deepEqual(scene.orders, ['drain'])
    assert.deepEqual(await scene.ordersAfter(0), ['drain', 'stop'])
  })

  it('that has no time to drain does not stop LangFlow before the API server knows', async () => {
    const scene = new Scene({ drainTimeoutMs: 0 }).tell(STEP_DOWN)
    assert.deepEqual(
      scene.candidate.last.effects.map(({ type }) => type),
      ['event', 'drain', 'stop'],
    )
    assert.deepEqual(await scene.ordersAfter(500), [])
    scene.answer()
    assert.deepEqual(await scene.ordersAfter(0), ['stop'])
  })

  it('waits no longer than two seconds for an API server that is away, counted from its beginning', async () => {
    const scene = new Scene({ drainTimeoutMs: 1_500 }).tell(STEP_DOWN)
    await scene.clock.pass(1_500)
    scene.tell({ type: 'tick' })
    assert.deepEqual(await scene.ordersAfter(CLOSED_WITHIN_MS - 1_501), [])
    assert.deepEqual(await scene.ordersAfter(1), ['stop'])
  })

  it('waits for nothing where the kubelet asks', () => {
    const scene = new Scene({ drainTimeoutMs: 0, readiness: true }).tell(STEP_DOWN)
    assert.deepEqual(scene.orders, ['drain', 'stop'])
  })

  it('that is overtaken by a kill is not carried out afterwards, and does not delay that', async () => {
    const scene = new Scene({ drainTimeoutMs: 0 }).tell(STEP_DOWN)
    scene.tell({ type: 'lease', lease: heldBy('other', 900), fresh: true })
    assert.equal(scene.state.term, null)
    assert.deepEqual(scene.orders, ['kill'])
    assert.deepEqual(await scene.ordersAfter(10_000), ['kill'])
  })

  it('does not stop what has ended by itself meanwhile', async () => {
    const scene = new Scene({ drainTimeoutMs: 0 }).tell(STEP_DOWN)
    scene.tell({ type: 'workload', workload: { ...scene.state.workload, alive: 'no' } })
    assert.deepEqual(await scene.ordersAfter(10_000), [])
  })

  for (const stage of ['draining', 'stopping'] as const) {
    it(`does not carry out in a later term what it waited for while ${stage} in an earlier one`, async () => {
      const scene = new Scene({ drainTimeoutMs: stage === 'stopping' ? 0 : 20_000 }).tell(STEP_DOWN)
      assert.equal(scene.state.term?.stepDown?.stage, stage)
      scene.state = { ...scene.state, term: { ...scene.state.term, epoch: scene.state.term.epoch + 1 } }
      assert.deepEqual(await scene.ordersAfter(10_000), [])
    })
  }
})

describe('the end of an agent', () => {
  for (const [what, answers] of [
    ['waits until the API server has acknowledged that nobody is led here, and leaves no timer', true],
    ['does not wait for ever, and leaves no timer', false],
  ] as const) {
    it(what, async () => {
      const scene = new Scene().tell({ type: 'terminate', reason: 'SIGTERM' })
      // LangFlow has died in the same moment, so that nothing else is waited for.
      scene.state = { ...scene.state, term: null }
      scene.steering.start()
      const end = scene.steering.end(new Promise(() => {}))
      await scene.clock.pass(CLOSED_WITHIN_MS - 1)
      assert.equal(scene.closed, false)
      if (answers) scene.answer()
      else await scene.clock.pass(1)
      await end
      assert.ok(scene.closed)
      assert.deepEqual(scene.asked.at(-1), CLOSED)
      assert.deepEqual([scene.orders, scene.clock.next()], [[], Number.POSITIVE_INFINITY])
    })
  }

  for (const [what, closedForMs, lingerMs, leftMs] of [
    ['until whoever routes can have heard that the gate is closed', 700, 2_000, 1_300],
    ['no longer where its gate is closed long since', 2_000, 2_000, 0],
    ['no longer where nobody routes to it', 0, 0, 0],
  ] as const) {
    it(`stays ${what}`, async () => {
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
    assert.deepEqual(scene.asked.slice(1), [CLOSED])
  })

  it('says where traffic is led to when that changes, and what keeps it from being led', () => {
    const scene = new Scene()
    for (const routedTo of [null, 'a', 'a', null, '']) {
      scene.view.routedTo = routedTo
      scene.listener.changed()
    }
    assert.deepEqual(scene.said, ['to a', 'to nobody, or another pod'])
  })
})

const LEADS = Candidate.leader().state
const OPEN = { gate: 'open', epoch: 4, leaseUid: 'u1' } as const
const SHUT = { ...OPEN, gate: 'closed' } as const
const STEPS_DOWN = Candidate.leader().tell(STEP_DOWN).state
const LOST = { ...LEADS, term: null }
const [OTHERS, NOBODYS, OURS] = ['other', '', 'me'].map((holder) => seen(heldBy(holder, 60)))
const GONE = seen(null)
const TAKEN_BACK = { ...OURS, workload: LEADS.workload }

function seen(lease: ReturnType<typeof heldBy> | null): Pick<ElectionState, 'seen'> {
  return { seen: { lease, changedAt: 0, heldMs: 0 } }
}

function leads(more: Partial<typeof LEADS.term>): object {
  return { ...LEADS, term: { ...LEADS.term, ...more } }
}

interface Its {
  readonly ready?: true
  readonly inDoubt?: true
  /** Since the agent started. */
  readonly afterMs?: number
}
type Step = readonly [state: object, wanted: Wanted, its?: Its]

/** What one agent that was just started wants, as it learns more. */
const INTENTIONS: readonly [what: string, ...steps: Step[]][] = [
  [
    'open exactly while this replica is ready, in the epoch in which it leads',
    [LEADS, OPEN, { ready: true }],
    [LEADS, SHUT],
    [LEADS, OPEN, { ready: true }],
    [LOST, CLOSED],
  ],
  [
    'that of the Lease that this replica was last seen to hold, also while it is deleted or made anew',
    [LEADS, OPEN, { ready: true }],
    [{ ...LEADS, ...GONE }, OPEN, { ready: true }],
    [{ ...LEADS, ...seen({ ...heldBy('', 60), metadata: { uid: 'u2' } }) }, OPEN, { ready: true }],
    [
      { ...LEADS, ...seen({ ...heldBy('me', 60), metadata: { uid: 'u2' } }) },
      { ...SHUT, leaseUid: 'u2' },
    ],
  ],
  [
    'nothing that is taken from others while stepping down, also in doubt',
    [LEADS, OPEN, { ready: true }],
    [STEPS_DOWN, CLOSED],
    [{ ...STEPS_DOWN, term: { ...STEPS_DOWN.term, doubt: true } }, CLOSED],
  ],
  [
    'left as it is in doubt, by the election or by the clock, and closed once the term is lost',
    [LEADS, OPEN, { ready: true }],
    [leads({ doubt: true }), UNKNOWN],
    [LEADS, UNKNOWN, { inDoubt: true }],
    [LOST, CLOSED],
  ],
  ['closed as soon as the Lease is somebody else’s, for good', [OTHERS!, CLOSED], [OURS!, CLOSED]],
  ['closed as soon as the Lease is nobody’s', [NOBODYS!, CLOSED]],
  ['closed as soon as the Lease is not there', [GONE, CLOSED]],
  [
    'unknown to a restarted agent until it has taken its term back and LangFlow has answered',
    [{}, UNKNOWN],
    [OURS!, UNKNOWN],
    [TAKEN_BACK, UNKNOWN],
    [LEADS, UNKNOWN],
    [LEADS, OPEN, { ready: true }],
  ],
  [
    'closed by a restarted agent whose launcher is idle',
    [{ ...OURS, workload: { ...NO_WORKLOAD, canRun: true } }, CLOSED],
  ],
  ['closed by a restarted agent that has killed', [{ ...TAKEN_BACK, killOrdered: true }, CLOSED]],
  ['closed by a restarted agent that ends', [{ ending: { reason: 'SIGTERM', code: 0 } }, CLOSED]],
  ['closed by a restarted agent whose term ends', [STEPS_DOWN, CLOSED]],
  ['closed by a restarted agent that restarts LangFlow', [leads({ restarting: 'it failed' }), SHUT]],
  ['closed by a restarted agent that still has to start it', [leads({ startOrdered: false }), SHUT]],
  ['closed by a restarted agent whose LangFlow is dead', [{ ...LEADS, workload: NO_WORKLOAD }, SHUT]],
  [
    'known a lease duration after the start, without being told anything',
    [{}, UNKNOWN, { afterMs: LEASE_MS - 1 }],
    [{}, CLOSED, { afterMs: LEASE_MS }],
  ],
]

describe('what traffic is to be', () => {
  for (const [what, ...steps] of INTENTIONS) {
    it(`is ${what}`, async () => {
      const clock = new VirtualClock()
      const started = clock.mono()
      let now: { state: ElectionState } & Its = { state: initialState() }
      const wanted: Wanted[] = []
      const steering = new Steering({
        traffic: () => ({ ...READINESS, want: (its) => wanted.push(its) }),
        identity: 'me',
        leaseDurationMs: LEASE_MS,
        lingerMs: 0,
        clock,
        log: { info: () => {} },
        repeats: { happened: () => {}, over: () => {} },
        state: () => now.state,
        ready: () => now.ready ?? false,
        inDoubt: () => now.inDoubt ?? false,
      })
      steering.start()
      for (const [state, expected, { afterMs, ...its } = {}] of steps) {
        now = { state: { ...initialState(), ...state } as ElectionState, ...its }
        if (afterMs !== undefined) await clock.pass(started + afterMs - clock.mono())
        // At the end of the lease duration it looks by itself.
        if (afterMs !== LEASE_MS) steering.look()
        assert.deepEqual(wanted.at(-1), expected)
      }
    })
  }
})
