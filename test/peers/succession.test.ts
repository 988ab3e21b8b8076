import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import type { Fact, Term } from '../../agent/election/state.ts'
import type { Member } from '../../agent/peers/peers.ts'
import { chooseSuccessor, type OwnPod, VoluntaryHandover } from '../../agent/peers/succession.ts'
import { VirtualClock } from '../harness/virtual-clock.ts'

const NEWER: Member = {
  identity: 'n',
  ready: true,
  prepared: true,
  warm: true,
  revision: 'new',
  unproven: false,
  podAgeMs: 9_000,
  lease: 'team/lock',
  leads: false,
}
const TERM = { epoch: 1, doubt: false, stepDown: null } as Term
const STEPPING_DOWN = { ...TERM, stepDown: { reason: '' } as never }

class Bench {
  readonly clock = new VirtualClock()
  readonly told: Fact[] = []
  readonly lines: string[] = []
  members: Member[] = [NEWER]
  term: Term | null = TERM
  readonly workload = { served: true, startsColder: false }
  frontDown = false
  readonly voluntaryHandover: VoluntaryHandover

  constructor() {
    const bench = this
    this.voluntaryHandover = new VoluntaryHandover({
      peers: {
        get members() {
          return bench.members
        },
      },
      revision: 'old',
      unproven: () => false,
      podAgeMs: () => 600_000,
      leaseDurationMs: 15_000,
      clock: this.clock,
      log: { info: (msg: string) => void this.lines.push(msg) },
      term: () => this.term,
      workload: this.workload,
      frontDown: () => this.frontDown,
      tell: (fact) => void this.told.push(fact),
    })
  }

  /** How often it has stepped down by then, asked each 5 s. */
  async after(ms: number): Promise<number> {
    for (const until = this.clock.mono() + ms; this.clock.mono() < until; await this.clock.pass(5_000)) {
      const { stepDowns } = this
      this.voluntaryHandover.asked()
      // The Lease comes back to it in a later term.
      if (this.term !== null && this.stepDowns > stepDowns)
        this.term = { ...this.term, epoch: this.term.epoch + 2 }
    }
    return this.stepDowns
  }

  get stepDowns(): number {
    return this.told.filter(({ type }) => type === 'step_down').length
  }
}

describe('a leader whose front does not listen', () => {
  const SAME: Member = { ...NEWER, identity: 's', revision: 'old', podAgeMs: 500_000 }

  test('hands over once it has not from one look to the next, where another is ready', async () => {
    const b = new Bench()
    b.members = [SAME]
    assert.equal(await b.after(60_000), 0)
    b.frontDown = true
    b.voluntaryHandover.asked()
    assert.equal(b.stepDowns, 0)
    b.voluntaryHandover.asked()
    assert.deepEqual(b.told.at(-1), {
      type: 'step_down',
      code: 'front_down',
      reason: "this replica's front does not listen, and another replica is ready",
    })
  })

  test('does not where it listened meanwhile, or nobody else is ready', () => {
    const b = new Bench()
    b.members = [SAME]
    for (const frontDown of [true, false, true, false]) {
      b.frontDown = frontDown
      b.voluntaryHandover.asked()
    }
    b.frontDown = true
    b.members = [{ ...SAME, ready: false }]
    for (let n = 0; n < 3; n++) b.voluntaryHandover.asked()
    assert.equal(b.stepDowns, 0)
  })

  test('hands over also where it has just made way for a newer revision, and would again', () => {
    const b = new Bench()
    b.voluntaryHandover.asked()
    b.frontDown = true
    b.voluntaryHandover.asked()
    b.members = [SAME, NEWER]
    b.voluntaryHandover.asked()
    const codes = b.told.flatMap((fact) => (fact.type === 'step_down' ? [fact.code] : []))
    assert.deepEqual(codes, ['newer_revision', 'front_down'])
  })

  test('does not for what it saw in an earlier term', () => {
    const b = new Bench()
    b.members = [SAME]
    b.frontDown = true
    b.voluntaryHandover.asked()
    b.term = { ...TERM, epoch: TERM.epoch + 2 }
    b.voluntaryHandover.asked()
    assert.equal(b.stepDowns, 0)
    b.voluntaryHandover.asked()
    assert.equal(b.stepDowns, 1)
  })

  test('counts from its own term on', () => {
    const b = new Bench()
    b.members = [SAME]
    b.frontDown = true
    b.term = null
    b.voluntaryHandover.asked()
    b.term = TERM
    b.voluntaryHandover.asked()
    assert.equal(b.stepDowns, 0)
  })
})

describe('a leader makes way for a newer revision', () => {
  test('once, names it, and says so', () => {
    const b = new Bench()
    b.voluntaryHandover.asked()
    assert.deepEqual(b.told, [
      { type: 'successor', identity: 'n' },
      { type: 'step_down', code: 'newer_revision', reason: 'a replica of a newer revision is ready' },
    ])
    assert.deepEqual(b.lines, ['a replica of a newer revision is ready: handing over to it'])
  })

  test('and goes on to name it while it steps down for it, however often it asks', () => {
    const b = new Bench()
    b.members = [{ ...NEWER, identity: 'old', revision: 'old', podAgeMs: 500_000 }, NEWER]
    b.voluntaryHandover.asked()
    b.term = STEPPING_DOWN
    b.voluntaryHandover.asked()
    const named = b.told.flatMap((fact) => (fact.type === 'successor' ? [fact.identity] : []))
    assert.deepEqual(named, ['n', 'n'])
    assert.equal(b.voluntaryHandover.problem, null)
  })

  test('again where it gave the Lease back: after two minutes, then four, and says so meanwhile', async () => {
    const b = new Bench()
    assert.equal(await b.after(115_000), 1)
    assert.match(
      b.voluntaryHandover.problem ?? '',
      /did not keep the Lease that was handed over to it: .* again in 5s$/,
    )
    assert.equal(await b.after(10_000), 2)
    assert.equal(await b.after(235_000), 2)
    assert.equal(await b.after(10_000), 3)
  })

  test('at once where another one of it is ready, but no more often than every four lease durations', async () => {
    const b = new Bench()
    assert.equal(await b.after(5_000), 1)
    b.members = [NEWER, { ...NEWER, identity: 'm' }]
    assert.equal(await b.after(50_000), 1)
    assert.equal(await b.after(10_000), 2)
  })

  test('no more often than that for one that answers under ever new names, and remembers none of them', async () => {
    const b = new Bench()
    for (let i = 0; i < 60; i++) {
      b.members = [{ ...NEWER, identity: `liar ${i}` }]
      await b.after(5_000)
    }
    assert.equal(b.stepDowns, 5)
    b.members = []
    b.voluntaryHandover.asked()
    assert.equal(b.voluntaryHandover.problem, null)
  })

  for (const term of [{ ...TERM, doubt: true }, STEPPING_DOWN]) {
    test(`not while it ${term.doubt ? 'is in doubt' : 'steps down anyway'}; that is no try`, async () => {
      const b = new Bench()
      b.term = term
      assert.equal(await b.after(10_000), 0)
      assert.deepEqual(b.lines, [])
      b.term = TERM
      assert.equal(await b.after(5_000), 1)
    })
  }

  test('only once it serves itself: one that lies costs no start', async () => {
    const b = new Bench()
    b.workload.served = false
    assert.equal(await b.after(60_000), 0)
    assert.deepEqual(b.told.at(-1), { type: 'successor', identity: 'n' })
    b.workload.served = true
    assert.equal(await b.after(5_000), 1)
  })

  test('before it serves where it starts from less than was asked for, and that one is prepared', async () => {
    const b = new Bench()
    b.workload.served = false
    b.workload.startsColder = true
    b.members = [{ ...NEWER, prepared: false }]
    assert.equal(await b.after(60_000), 0)
    b.members = [NEWER]
    assert.equal(await b.after(5_000), 1)
  })

  test('with the same back-off where its first start failed, and it says again that it could', async () => {
    const b = new Bench()
    assert.equal(await b.after(5_000), 1)
    b.members = [{ ...NEWER, ready: false }]
    assert.equal(await b.after(65_000), 1)
    assert.equal(b.voluntaryHandover.problem, null)
    b.members = [NEWER]
    assert.equal(await b.after(45_000), 1)
    assert.equal(await b.after(10_000), 2)
  })

  test('ever more seldom where each of two says that it could as soon as the other one failed', async () => {
    const b = new Bench()
    const [one, other] = [NEWER, { ...NEWER, identity: 'm' }]
    for (let n = 0; n < 720; n++) {
      const last = b.told.findLast((fact) => fact.type === 'successor')
      b.members = [one, other].map((member) => ({ ...member, ready: member.identity !== last?.identity }))
      await b.after(5_000)
    }
    assert.ok(b.stepDowns <= 12, `${b.stepDowns} handovers in an hour`)
  })

  test('at once where a replica of the same name is of another revision by then', async () => {
    const b = new Bench()
    assert.equal(await b.after(60_000), 1)
    b.members = [{ ...NEWER, revision: 'corrected' }]
    assert.equal(await b.after(10_000), 2)
  })

  test('not where it does not lead', async () => {
    const b = new Bench()
    b.term = null
    assert.equal(await b.after(10_000), 0)
    assert.deepEqual([b.told, b.voluntaryHandover.problem], [[], null])
  })
})

describe('a leader that still starts, from less than was asked for,', () => {
  const PREPARED: Member = { ...NEWER, identity: 'p', revision: 'old' }

  test('hands over to one whose standby is ready, and is stopped soon', () => {
    const b = new Bench()
    b.members = [PREPARED]
    b.workload.startsColder = true
    b.voluntaryHandover.asked()
    const reason = 'a replica whose standby is ready serves sooner than this one starts'
    assert.deepEqual(b.told, [
      { type: 'successor', identity: 'p' },
      { type: 'step_down', code: 'faster_standby', reason, graceMs: 5_000 },
    ])
    assert.equal(b.voluntaryHandover.problem, null)
  })

  test('goes on where nobody is prepared, and once it is healthy', async () => {
    const b = new Bench()
    b.members = [{ ...PREPARED, prepared: false }]
    b.workload.startsColder = true
    assert.equal(await b.after(60_000), 0)
    b.members = [PREPARED]
    b.workload.startsColder = false
    assert.equal(await b.after(60_000), 0)
  })

  test('does not hand over to and fro: one that gave the Lease back is left alone for two minutes', async () => {
    const b = new Bench()
    b.members = [PREPARED]
    b.workload.startsColder = true
    assert.equal(await b.after(115_000), 1)
    assert.equal(b.voluntaryHandover.problem, null)
    assert.equal(await b.after(10_000), 2)
  })
})

/** Another replica of the old revision, prepared, 500 s old. */
function member(identity: string, more: Partial<Member> = {}): Member {
  return { ...NEWER, identity, warm: false, revision: 'old', podAgeMs: 500_000, ...more }
}

describe('who follows a leader', () => {
  const OLD: OwnPod = { revision: 'old', unproven: false, podAgeMs: 600_000 }
  const NEW: OwnPod = { revision: 'new', unproven: false, podAgeMs: 20_000 }
  const YOUNG: OwnPod = { revision: 'old', unproven: false, podAgeMs: 5_000 }
  const ROLLED_BACK: OwnPod = { revision: 'second', unproven: false, podAgeMs: 300_000 }
  const [a, elder] = [member('a'), member('elder')]
  const newer = member('n', { revision: 'new', podAgeMs: 10_000 })
  const unprepared = member('u', { prepared: false })
  const unready = member('old one', { ready: false })
  const second = member('second', { revision: 'b', podAgeMs: 300_000 })
  const third = member('third', { revision: 'c', podAgeMs: 20_000, prepared: false })
  const ofFirst = member('f', { revision: 'first', podAgeMs: 9_000 })
  const waited = member('w', { revision: 'new', unproven: true, podAgeMs: 3_600_000 })
  const anew = member('anew', { podAgeMs: 2_000 })

  const rows: [what: string, own: OwnPod, others: Member[], successor: string | null, newer: boolean][] = [
    ['is nobody where none is ready', OLD, [unready], null, false],
    ['is of the newest revision, prepared or not', OLD, [a, { ...newer, prepared: false }], 'n', true],
    ['is the better prepared one of a revision', OLD, [unprepared, a], 'a', false],
    ['is of no older revision where one of the own is ready', NEW, [a, newer], 'n', false],
    ['is of an older one where nobody else is, which is no reason to hand over', NEW, [a], 'a', false],
    ['is of the newest of several revisions, whatever is prepared', OLD, [second, third], 'third', true],
    ['is of a newer revision by its oldest pod, as after a rollback', ROLLED_BACK, [ofFirst], 'f', true],
    [
      'is of no newer one for a pod made anew in a rollout',
      { ...NEW, podAgeMs: 30_000 },
      [unready, anew],
      'anew',
      false,
    ],
    [
      'is of a newer one for a young leader whose elder tells',
      YOUNG,
      [elder, { ...newer, podAgeMs: 20_000 }],
      'n',
      true,
    ],
    ['is of no newer revision where its own is unknown', { ...OLD, revision: null }, [newer], 'n', false],
    ['is of no newer revision where its own age is unknown', { ...OLD, podAgeMs: null }, [newer], 'n', false],
    ['is of no newer one where its age is unknown', OLD, [{ ...newer, podAgeMs: null }], 'n', false],
    ['is of no newer one where that is unknown', OLD, [{ ...newer, revision: null }], 'n', false],
    ['is of an unproven one also where the old pods were made anew since', YOUNG, [anew, waited], 'w', true],
    ['is of an unproven one whose age is unknown', OLD, [{ ...waited, podAgeMs: null }], 'w', true],
    ['is of an unproven one where its own is unknown', { ...OLD, revision: null }, [waited], 'w', true],
    ['is of no older one where both are unproven', { ...YOUNG, unproven: true }, [waited], 'w', false],
    [
      'is of no newer one that tells of the own revision as unproven',
      OLD,
      [{ ...a, unproven: true }],
      'a',
      false,
    ],
  ]
  for (const [what, own, others, successor, newer] of rows) {
    test(what, () => {
      const { faster: _, ...chosen } = chooseSuccessor(own, others, new Set())
      assert.deepEqual(chosen, { successor, newer })
    })
  }

  test('is one that was tried in vain only where nobody else is ready, which is no reason to hand over', () => {
    const choose = (others: Member[], ...inVain: string[]) => {
      const { successor, newer } = chooseSuccessor(OLD, others, new Set(inVain))
      return [successor, newer]
    }
    assert.deepEqual(choose([second, third], 'third'), ['second', true])
    assert.deepEqual(choose([second, third], 'third', 'second'), ['third', false])
    assert.deepEqual(choose([a, second, third], 'third', 'second'), ['a', false])
  })

  test('is of a newer revision for one of two replicas at most, whatever their ages', () => {
    for (const [first, other] of [
      [1_000, 1_000],
      [1_000, 2_000],
      [2_000, 1_000],
    ] as const) {
      const says = (podAgeMs: number, of: number) =>
        chooseSuccessor(
          { revision: `${podAgeMs}`, unproven: false, podAgeMs },
          [member('x', { revision: 'x', podAgeMs: of })],
          new Set(),
        ).newer
      assert.ok(!(says(first, other) && says(other, first)))
    }
  })

  test('serves sooner than a leader that starts from nothing where its standby is as warm as asked for', () => {
    const warm = { ...a, warm: true }
    for (const [faster, own, other, inVain] of [
      [true, OLD, warm, ''],
      [false, OLD, a, ''],
      [false, OLD, { ...warm, prepared: false }, ''],
      [false, OLD, { ...warm, ready: false }, ''],
      [false, OLD, warm, 'a'],
      [false, NEW, warm, ''], // It would have to hand over again.
      [true, NEW, { ...newer, warm: true }, ''],
    ] as const)
      assert.equal(chooseSuccessor(own, [other], new Set([inVain])).faster, faster)
  })
})
