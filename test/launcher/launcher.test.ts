import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { later } from '../../agent/clock.ts'
import { Launcher } from '../../agent/launcher/launcher.ts'
import { KeptStandby, PREPARING, type Standby } from '../../agent/launcher/standby/kept-standby.ts'
import {
  COLD,
  CUT_OFF_MS,
  type Loss,
  type WorkloadCause,
  type WorkloadState,
} from '../../agent/link/link-messages.ts'
import { settled, VirtualClock } from '../harness/virtual-clock.ts'
import { FakeTree } from './fake-tree.ts'

const DOUBT_MS = 10_000
const KILL_MS = 14_000
const TAKEN = 'port 7860 is already taken by "nginx" (pid 7)'
const unreadable = (): never => {
  throw new Error('/proc cannot be read')
}

interface Granted {
  readonly epoch?: number
  readonly onDoubt?: 'freeze' | 'stop'
  readonly renewedAgo?: number
}

class Bench {
  readonly clock = new VirtualClock()
  readonly tree = new FakeTree()
  readonly causes: WorkloadCause[] = []
  holder: () => Promise<string | null> = async () => null
  /** What is lost at the next look at those that serve. */
  loss: Loss | null = null
  /** How often it was looked whether those that serve have ended. */
  finished = 0
  standby: Standby | null = null
  /** What the standby was told. */
  readonly calls: string[] = []
  /** It can be told to cut off what it does. */
  hears = true
  readonly launcher = new Launcher(
    ['langflow'],
    {
      clock: this.clock,
      tree: () => this.tree,
      portHolder: () => this.holder(),
      serving: () => ({
        check: () => {
          const { loss } = this
          this.loss = null
          return loss
        },
        finish: () => void this.finished++,
        cutOff: () => this.tree.calls.push('cut off') > 0 && this.hears,
      }),
      standby: () => this.standby,
      environment: () => ({}),
    },
    (_, cause) => this.causes.push(cause),
  )

  constructor(tree: Partial<FakeTree> = {}) {
    Object.assign(this.tree, tree)
  }

  get view() {
    return this.launcher.view()
  }

  get state(): WorkloadState {
    return this.view.state
  }

  get kinds(): string[] {
    return this.causes.map(({ kind }) => kind)
  }

  get reasons(): string[] {
    return this.causes.flatMap((cause) => ('reason' in cause ? cause.reason : []))
  }

  grantOf({ epoch = 1, onDoubt = 'freeze', renewedAgo = 0 }: Granted = {}) {
    const renewedAt = later(this.clock.now(), -renewedAgo)
    const [doubtAt, killAt] = [later(renewedAt, DOUBT_MS), later(renewedAt, KILL_MS)]
    return { type: 'grant', grant: { epoch, identity: 'me', doubtAt, killAt, onDoubt } } as const
  }

  grant(granted?: Granted): void {
    this.launcher.receive(this.grantOf(granted))
  }

  async start(epoch = 1): Promise<void> {
    this.launcher.receive({ type: 'start', epoch })
    await settled()
  }

  async started(granted: Granted = {}): Promise<this> {
    this.grant(granted)
    await this.start(granted.epoch)
    assert.equal(this.state, 'running')
    this.causes.length = 0
    return this
  }

  stop(graceMs: number): void {
    this.launcher.receive({ type: 'stop', graceMs })
  }

  async kill(): Promise<void> {
    this.launcher.receive({ type: 'kill' })
    await settled()
  }

  /** It passes `ms` in `before`, and is in `after` one millisecond later. */
  async becomes(after: WorkloadState, ms: number, before: WorkloadState): Promise<void> {
    await this.clock.pass(ms - 1)
    assert.equal(this.state, before, `until ${ms} ms`)
    await this.clock.pass(1)
    assert.equal(this.state, after, `after ${ms} ms`)
  }
}

/** It is ready at once where it is to be prepared later. */
function fakeStandby(calls: string[], used: Promise<void> = Promise.resolve()) {
  const standby = {
    view: COLD,
    prepare(afterMs = 0) {
      calls.push(`prepare after ${afterMs} ms`)
      if (afterMs > 0) standby.view = { ...COLD, mode: 'warm', state: 'ready' }
    },
    discard() {
      calls.push('discard')
      standby.view = COLD
    },
    use() {
      calls.push('use')
      return used
    },
  }
  return standby
}

/** One that is begun and never ready. */
class KeptForTest extends KeptStandby {
  begunAt: number | null = null

  protected override begin(): void {
    this.begunAt ??= this.clock.mono()
    this.become(PREPARING)
  }

  protected override end(): void {}
}

describe('a grant', () => {
  test('lets the workload start in its own epoch only, and not in doubt', async () => {
    const b = new Bench()
    await b.start()
    b.grant({ epoch: 2 })
    await b.start(1)
    await b.clock.pass(DOUBT_MS)
    await b.start(2)
    assert.deepEqual(b.kinds, ['start_refused', 'start_refused', 'start_refused'])
    assert.deepEqual(b.tree.calls, [])
  })

  test('is refused where it is older, of an earlier epoch, expired, or beside processes of another epoch', async () => {
    const b = await new Bench().started({ epoch: 2, renewedAgo: 1_000 })
    const { killAt } = b.view
    b.grant({ epoch: 2, renewedAgo: 1_001 })
    b.grant({ epoch: 1 })
    b.grant({ epoch: 3, renewedAgo: KILL_MS })
    b.grant({ epoch: 3 })
    assert.deepEqual(b.reasons, [
      'it is older than the one in force',
      'epoch 1 is over',
      'it has expired',
      'processes of epoch 2 still live',
    ])
    assert.equal(b.view.killAt, killAt)
  })

  test('is accepted where it is newer, or told again; that is told after a refusal alone', async () => {
    const b = await new Bench().started()
    await b.clock.pass(1_000)
    b.grant()
    b.grant()
    assert.deepEqual(b.kinds, [])
    b.grant({ epoch: 0 })
    b.grant()
    b.grant({ renewedAgo: -1 })
    assert.deepEqual(b.kinds, ['grant_refused', 'grant_accepted'])
    assert.equal(b.view.killAt, b.clock.mono() + KILL_MS + 1)
  })

  test('is over with its epoch, and every earlier one, once the agent has ordered a kill', async () => {
    const b = await new Bench().started({ epoch: 2 })
    await b.kill()
    await b.kill()
    b.grant({ epoch: 2 })
    b.grant({ epoch: 1 })
    assert.deepEqual(b.reasons, ['epoch 2 is over', 'epoch 1 is over'])
    await b.started({ epoch: 3 })
    assert.equal(b.view.epoch, 3)
  })

  test('that has run out may be followed by another one of its epoch', async () => {
    const b = await new Bench().started()
    await b.clock.pass(KILL_MS)
    assert.equal(b.state, 'idle')
    await b.started()
  })
})

describe('the deadman', () => {
  test('freezes at the doubt and kills at the end of the grant, without any message', async () => {
    const b = await new Bench().started()
    await b.becomes('frozen', DOUBT_MS, 'running')
    await b.becomes('idle', KILL_MS - DOUBT_MS, 'frozen')
    assert.deepEqual(b.tree.calls, ['start', 'freeze', 'kill'])
    assert.deepEqual(b.kinds, ['frozen', 'deadman', 'stopping', 'killed'])
    assert.deepEqual([b.view.deadmanFirings, b.view.freezes], [1, 1])
  })

  test('thaws on a newer grant: same process, no restart', async () => {
    const b = await new Bench().started()
    await b.clock.pass(12_000)
    b.grant()
    assert.deepEqual(b.tree.calls, ['start', 'freeze', 'thaw'])
    assert.deepEqual([b.state, b.view.pid], ['running', 42])
    await b.becomes('frozen', DOUBT_MS, 'running')
  })

  test('does not thaw on a grant that is in doubt already', async () => {
    const b = await new Bench().started({ renewedAgo: 1_000 })
    await b.clock.pass(DOUBT_MS)
    b.grant({ renewedAgo: DOUBT_MS })
    assert.deepEqual([b.state, b.view.killAt], ['frozen', b.clock.mono() + KILL_MS - DOUBT_MS])
  })

  test('freezes once more, without a word, what has got away', async () => {
    const b = await new Bench().started()
    await b.clock.pass(DOUBT_MS)
    b.tree.frozen = false
    await b.clock.pass(100)
    assert.ok(b.tree.frozen)
    assert.deepEqual(b.kinds, ['frozen'])
  })

  test('kills what does not stay frozen for a second', async () => {
    const b = await new Bench().started()
    b.tree.staysFrozen = false
    await b.becomes('idle', DOUBT_MS + 1_100, 'frozen')
    assert.deepEqual(b.reasons, ['the workload does not stay frozen'])
  })

  test('with on-doubt=stop leaves the stop until the end of the grant, and fires once', async () => {
    const b = await new Bench({ obeysTerm: false }).started({ onDoubt: 'stop' })
    await b.becomes('stopping', DOUBT_MS, 'running')
    await b.clock.pass(KILL_MS - DOUBT_MS - 1)
    assert.deepEqual(b.tree.calls, ['start', 'terminate', 'cut off'])
    assert.deepEqual([b.state, b.view.deadmanFirings], ['stopping', 1])
    await b.clock.pass(1)
    assert.equal(b.state, 'idle')
  })

  test('kills what is still stopping when leadership comes into doubt', async () => {
    const b = await new Bench({ obeysTerm: false }).started()
    await b.clock.pass(5_000)
    b.stop(30_000)
    await b.becomes('idle', DOUBT_MS - 5_000, 'stopping')
  })

  test('kills at once when the machine wakes up from a sleep past the deadline', async () => {
    const b = await new Bench().started()
    b.clock.bootAhead += 30_000
    await b.clock.pass(100)
    assert.equal(b.state, 'idle')
  })

  for (const onDoubt of ['freeze', 'stop'] as const)
    test(`only freezes when the wall clock alone jumps ahead, until the agent has asked: on-doubt=${onDoubt}`, async () => {
      const b = await new Bench().started({ onDoubt, renewedAgo: 1_000 })
      const old = b.grantOf({ onDoubt })
      b.clock.wallAhead += KILL_MS - 1_000 - 100 - 1
      await b.clock.pass(100)
      assert.equal(b.state, 'running')
      b.clock.wallAhead += 100 + 1_000
      await b.clock.pass(100)
      assert.equal(b.state, 'frozen')
      b.launcher.receive(old)
      assert.equal(b.state, 'frozen', 'a grant from before does not thaw')
      b.grant({ onDoubt })
      assert.equal(b.state, 'running')
      b.clock.wallAhead -= 7_200_000
      await b.clock.pass(100)
      assert.equal(b.state, 'running')
    })

  test('does not let a workload go on that is being stopped when the wall clock alone jumps ahead', async () => {
    const b = await new Bench({ obeysTerm: false }).started()
    b.stop(30_000)
    b.clock.wallAhead += 3_600_000
    await b.clock.pass(400)
    assert.deepEqual([b.state, b.tree.calls.at(-1)], ['idle', 'kill'])
  })

  for (const signal of ['freeze', 'thaw'] as const)
    test(`kills where it cannot be told what to ${signal}`, async () => {
      const b = await new Bench().started()
      b.tree[signal] = unreadable
      await b.clock.pass(DOUBT_MS)
      if (signal === 'thaw') b.grant()
      await settled()
      assert.deepEqual(b.kinds.slice(-3), ['deadman', 'stopping', 'killed'])
      assert.match(b.reasons.join(), /^the workload could not be (frozen|thawed)$/)
      assert.equal(b.state, 'idle')
    })
})

describe('a stop', () => {
  test('is confirmed only when nothing lives and the port is free', async () => {
    const b = await new Bench().started()
    b.holder = async () => TAKEN
    b.stop(3_000)
    await b.clock.pass(1_000)
    assert.equal(b.state, 'stopping')
    b.holder = async () => null
    await b.clock.pass(100)
    assert.equal(b.state, 'idle')
    assert.deepEqual(b.kinds, ['stopping', 'stopped'])
  })

  test('reaches those whom the first process left without passing it on', async () => {
    const b = await new Bench({ obeysTerm: false }).started()
    b.stop(3_000)
    b.tree.exited({ code: 0, signal: null })
    assert.deepEqual(b.tree.calls, ['start', 'terminate', 'terminate'])
  })

  // How long it lives where it is told to stop, and again after some time with another grace, and where it cannot be told to cut
  // off what it does (deaf).
  type Again = [afterMs: number, graceMs: number]
  const GRACES: Record<string, [graceMs: number, again: Again | null, deaf: boolean, leftMs: number]> = {
    'all its grace': [3_000, null, false, 3_000],
    'all its grace, where it cannot cut anything off': [3_000, null, true, 3_000],
    'what is left of it where it is told again with more': [5_000, [2_000, 30_000], false, 3_000],
    'the shorter grace that it is told again': [30_000, [2_000, 5_000], true, 5_000],
    'what cutting off takes, where it is hurried': [10_000, [2_000, CUT_OFF_MS], false, CUT_OFF_MS],
    'no more time where it is hurried, has had that much, and is deaf': [
      10_000,
      [2_000, CUT_OFF_MS],
      true,
      25,
    ],
    'that much in all where it is hurried earlier': [10_000, [400, CUT_OFF_MS], true, CUT_OFF_MS - 400],
  }
  for (const [name, [graceMs, again, deaf, leftMs]] of Object.entries(GRACES))
    test(`leaves ${name}`, async () => {
      const b = await new Bench({ obeysTerm: false }).started()
      b.hears = !deaf
      b.stop(graceMs)
      if (again !== null) {
        await b.clock.pass(again[0])
        b.stop(again[1])
      }
      await b.clock.pass(leftMs - 25)
      assert.equal(b.state, 'stopping')
      await b.clock.pass(25)
      assert.equal(b.state, 'idle')
      assert.deepEqual(b.kinds, ['stopping', 'killed'])
      assert.deepEqual(b.tree.calls, ['start', 'terminate', 'cut off', 'kill'])
    })

  test('has what is still being done cut off in time, and looks all along whether those that serve have ended', async () => {
    const b = await new Bench({ obeysTerm: false }).started()
    b.stop(3_000)
    await b.clock.pass(1_900)
    assert.deepEqual(b.tree.calls, ['start', 'terminate'])
    await b.clock.pass(1_000)
    assert.deepEqual(b.tree.calls, ['start', 'terminate', 'cut off'])
    assert.ok(b.finished > 100)
  })

  test('takes nothing over from an earlier one', async () => {
    const b = await new Bench().started()
    b.stop(1_000)
    await b.clock.pass(100)
    b.tree.obeysTerm = false
    await b.started()
    b.stop(5_000)
    await b.clock.pass(3_700)
    assert.ok(!b.tree.calls.includes('cut off'))
    await b.clock.pass(1_300)
    assert.equal(b.state, 'idle')
  })

  test('of a frozen workload kills it: nothing may execute in doubt', async () => {
    const b = await new Bench().started()
    await b.clock.pass(DOUBT_MS)
    b.stop(3_000)
    await settled()
    assert.deepEqual(b.tree.calls, ['start', 'freeze', 'kill'])
  })

  test('kills once its time is over where it cannot be told whom to tell to end', async () => {
    const b = await new Bench().started()
    b.tree.terminate = unreadable
    b.stop(3_000)
    await b.becomes('idle', 3_000, 'stopping')
  })

  test('of nothing is answered', async () => {
    const b = new Bench()
    b.stop(3_000)
    assert.deepEqual(b.kinds, ['nothing'])
  })
})

describe('a kill', () => {
  test('waits for the kernel to close the sockets of what it killed', async () => {
    const b = await new Bench().started()
    b.holder = async () => TAKEN
    await b.kill()
    await b.clock.pass(25)
    assert.equal(b.state, 'stopping')
    b.holder = async () => null
    await b.clock.pass(10)
    assert.deepEqual([b.state, b.tree.calls], ['idle', ['start', 'kill']])
  })

  test('raises an alarm after three seconds where the port is held, and is tried again until it is free', async () => {
    const b = await new Bench().started()
    b.holder = async () => TAKEN
    await b.kill()
    await b.becomes('unstoppable', 3_000, 'stopping')
    assert.deepEqual(b.reasons, [TAKEN])
    b.holder = async () => null
    await b.becomes('idle', 1_000, 'unstoppable')
  })

  test('raises an alarm that names what it did not end, five at most, and is tried again until it does', async () => {
    const b = await new Bench().started()
    const { kill } = b.tree
    b.tree.kill = async () =>
      [1, 2, 3, 4, 5, 6].map((pid) => ({ pid, startTime: '1', state: 'D', comm: 'python' }))
    await b.kill()
    assert.equal(b.state, 'unstoppable')
    assert.match(
      b.reasons[0] ?? '',
      /^SIGKILL did not end python \(pid 1, state D\), .*python \(pid 5, state D\)$/,
    )
    b.tree.kill = kill
    await b.clock.pass(1_000)
    assert.equal(b.state, 'idle')
  })

  test('has not succeeded where it cannot be told what lives', async () => {
    for (const method of ['kill', 'alive'] as const) {
      const b = await new Bench({ obeysTerm: false }).started()
      const usual = b.tree[method]
      b.tree[method] = unreadable
      b.stop(1_000)
      await b.clock.pass(1_500)
      assert.notEqual(b.state, 'idle', method)
      Object.assign(b.tree, { [method]: usual })
      await b.clock.pass(2_000)
      assert.equal(b.state, 'idle', method)
    }
  })
})

describe('those that serve', () => {
  const loss: Loss = { role: 'worker', pids: [43] }

  test('are looked at each 100 ms; their loss is told once, and is for the agent to act on', async () => {
    const b = await new Bench().started()
    b.loss = loss
    await b.clock.pass(100)
    assert.deepEqual(b.causes, [{ kind: 'bereft', loss }])
    assert.deepEqual(b.view.loss, loss, 'for an agent that was not there to hear it')
    await b.clock.pass(1_000)
    assert.deepEqual([b.state, b.causes.length, b.tree.calls], ['running', 1, ['start']])
  })

  test('are not looked at while they are frozen; what was lost meanwhile is told with the thaw', async () => {
    const b = await new Bench().started()
    await b.clock.pass(DOUBT_MS)
    b.loss = loss
    await b.clock.pass(2_000)
    assert.deepEqual(b.kinds, ['frozen'])
    b.grant()
    assert.deepEqual(b.kinds, ['frozen', 'thawed', 'bereft'])
  })

  test('are not looked at while the workload ends, or after it', async () => {
    const b = await new Bench({ obeysTerm: false }).started()
    b.stop(2_000)
    b.loss = loss
    await b.clock.pass(5_000)
    assert.deepEqual([b.state, b.kinds], ['idle', ['stopping', 'killed']])
  })
})

describe('the workload', () => {
  test('is that of the grant that it was started under, also when it has ended', async () => {
    const b = await new Bench().started({ epoch: 3 })
    await b.kill()
    const { epoch, identity, pid } = b.view
    assert.deepEqual({ epoch, identity, pid }, { epoch: 3, identity: 'me', pid: null })
  })

  test('is not started on a taken port', async () => {
    const b = new Bench()
    b.holder = async () => TAKEN
    b.grant()
    await b.start()
    assert.deepEqual(b.causes, [{ kind: 'start_refused', reason: TAKEN }])
    assert.deepEqual(b.tree.calls, [])
  })

  /** A start that has yet to be told who holds the port. */
  async function asking() {
    const b = new Bench()
    const { promise, resolve } = Promise.withResolvers<string | null>()
    b.holder = () => promise
    b.grant()
    await b.start()
    b.holder = async () => null
    return { b, answer: () => resolve(null) }
  }

  test('that came to be in doubt before it was started leaves nothing that stands still', async () => {
    const { b, answer } = await asking()
    await b.clock.pass(1_000)
    b.grant()
    await b.clock.pass(DOUBT_MS)
    assert.equal(b.state, 'frozen')
    answer()
    await settled()
    assert.deepEqual([b.state, ...b.tree.calls], ['idle', 'freeze', 'kill'])
  })

  test('is not started once nothing may execute any more', async () => {
    const { b, answer } = await asking()
    b.clock.wallAhead += KILL_MS
    answer()
    await settled()
    assert.deepEqual([b.reasons, b.tree.calls], [['the grant ended before the start'], []])
  })

  test('is remembered to have been ordered, and to have been healthy, for as long as it lives', async () => {
    const b = await new Bench().started()
    const orderedAt = b.clock.mono()
    await b.clock.pass(5_000)
    const servedSince = b.clock.mono()
    b.launcher.receive({ type: 'healthy' })
    await b.clock.pass(1_000)
    b.launcher.receive({ type: 'healthy' })
    const remembered = () => [b.view.orderedAt, b.view.servedSince]
    assert.deepEqual(remembered(), [orderedAt, servedSince])
    await b.kill()
    b.launcher.receive({ type: 'healthy' })
    assert.deepEqual(remembered(), [null, null])
  })

  test('that ends by itself is cleaned up after, since its children may serve on', async () => {
    const b = await new Bench().started()
    b.tree.exited({ code: 1, signal: null })
    await settled()
    assert.deepEqual(b.kinds, ['exited', 'killed'])
    assert.equal(b.tree.running, false)
  })

  test('that fails once there is a process is refused, and counts as idle only when that is gone', async () => {
    const b = new Bench()
    const start = b.tree.start.bind(b.tree)
    b.tree.start = async (...args) => {
      await start(...args)
      throw new Error('EMFILE: too many open files')
    }
    b.tree.obeysKill = false
    b.grant()
    await b.start()
    assert.deepEqual(b.causes[0], { kind: 'start_refused', reason: 'EMFILE: too many open files' })
    assert.notEqual(b.state, 'idle')
    b.tree.obeysKill = true
    await b.clock.pass(2_000)
    assert.deepEqual([b.state, b.tree.running, b.kinds.at(-1)], ['idle', false, 'killed'])
  })

  test('whose grant ended while it was being started is killed, and is nobody’s process afterwards', async () => {
    const b = new Bench()
    const { promise, resolve } = Promise.withResolvers<void>()
    const start = b.tree.start.bind(b.tree)
    b.tree.start = async (...args) => promise.then(() => start(...args))
    b.grant()
    await b.start()
    await b.kill()
    resolve()
    await settled()
    assert.deepEqual([b.state, b.tree.running, b.view.pid], ['idle', false, null])
  })

  test('of an earlier launcher is killed before this one counts as idle; its own is left alone at a later meeting', async () => {
    const b = new Bench()
    b.tree.running = true
    b.launcher.meet(7860, b.tree)
    assert.deepEqual([b.state, b.view.epoch], ['stopping', null])
    b.grant({ epoch: 5 })
    await settled()
    assert.deepEqual([b.state, b.kinds.includes('grant_refused')], ['idle', false])
    b.tree.running = true
    b.launcher.meet(7860, b.tree)
    await b.clock.pass(100)
    assert.deepEqual(b.tree.calls, ['kill'])
  })
})

describe('a standby', () => {
  /** A start that waits for its standby. */
  async function waiting() {
    const b = new Bench()
    const { promise, resolve } = Promise.withResolvers<void>()
    b.standby = fakeStandby(b.calls, promise)
    b.launcher.meet(7860, null)
    b.grant()
    await b.start()
    return { b, settle: resolve }
  }

  test('is prepared when a launcher meets its agent, and again after each term', async () => {
    const { b, settle } = await waiting()
    settle()
    await b.clock.pass(0)
    assert.deepEqual([b.kinds.at(-1), b.calls], ['started', ['prepare after 10000 ms', 'use']])
    await b.kill()
    assert.deepEqual([b.state, b.calls.at(-1)], ['idle', 'prepare after 10000 ms'])
  })

  test('waits for the leader to serve, for 10 s at most, and never holds up a start', async () => {
    const lead = (b: Bench) => {
      b.grant({ epoch: 2 })
      void b.start(2)
    }
    for (const [what, play, begunAfterMs] of [
      ['nobody says that one serves', () => {}, 10_000],
      ['the leader serves', (b: Bench) => b.launcher.receive({ type: 'prepare' }), 4_000],
      ['this replica is to lead', lead, 4_000],
    ] as const) {
      const { b, settle } = await waiting()
      settle()
      const standby = new KeptForTest(b.clock, () => {})
      b.standby = standby
      await b.clock.pass(0)
      b.launcher.receive({ type: 'prepare' })
      assert.equal(standby.begunAt, null, 'not beside the workload')
      await b.kill()
      const since = b.clock.mono()
      await b.clock.pass(3_999)
      assert.deepEqual([standby.begunAt, standby.view.state], [null, 'none'])
      await b.clock.pass(1)
      play(b)
      await b.clock.pass(6_000)
      assert.equal((standby.begunAt ?? 0) - since, begunAfterMs, what)
    }
  })

  test('is waited for by a start, but not past the end of its grant', async () => {
    const { b, settle } = await waiting()
    await b.clock.pass(KILL_MS)
    settle()
    await b.clock.pass(1_000)
    assert.deepEqual([b.state, b.tree.calls.includes('start')], ['idle', false])
  })

  test('is waited for by a start that is over once it is told to stop', async () => {
    const { b, settle } = await waiting()
    b.tree.running = true // the standby's own processes
    b.tree.obeysTerm = false
    b.stop(3_000)
    settle()
    await b.clock.pass(100)
    assert.equal(b.state, 'stopping')
    b.tree.running = false
    await b.clock.pass(100)
    assert.deepEqual([b.state, b.kinds.at(-1), b.tree.calls.includes('start')], ['idle', 'stopped', false])
  })

  test('is waited for by a start that is over once it is killed, and idle only after that', async () => {
    const { b, settle } = await waiting()
    b.tree.running = true
    b.tree.obeysKill = false
    await b.kill()
    settle()
    await b.clock.pass(100)
    assert.deepEqual([b.state, b.calls], ['unstoppable', ['prepare after 10000 ms', 'use', 'discard']])
    b.tree.obeysKill = true
    await b.clock.pass(2_000)
    assert.deepEqual([b.state, b.kinds.at(-1), b.calls.at(-1)], ['idle', 'killed', 'prepare after 10000 ms'])
    assert.ok(!b.kinds.includes('start_refused'))
  })
})
