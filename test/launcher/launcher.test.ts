import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { later } from '../../agent/clock.ts'
import { Launcher } from '../../agent/launcher/launcher.ts'
import {
  CUT_OFF_MS,
  type Grant,
  type Loss,
  type WorkloadCause,
  type WorkloadView,
} from '../../agent/link/messages.ts'
import { COLD, type Standby } from '../../agent/link/standby.ts'
import { settled, VirtualClock } from '../support/virtual-clock.ts'
import { FakeTree } from '../workload/fixtures/fake-tree.ts'

class Bench {
  readonly clock = new VirtualClock()
  readonly tree = new FakeTree()
  readonly causes: WorkloadCause[] = []
  readonly launcher: Launcher
  port: string | null = null
  holder = async () => this.port
  /** What is lost at the next look at those that serve. */
  loss: Loss | null = null
  /** How often it was looked whether those that serve have ended. */
  finished = 0
  standby: Standby | null = null
  keepsSpare = false
  /** It can be told to cut off what it does. */
  hears = true
  view: WorkloadView
  renewedAt = this.clock.now()

  constructor() {
    this.launcher = new Launcher(
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
          close: () => {},
        }),
        standby: () => this.standby,
        spare: () => (this.keepsSpare ? this.standby : null),
        environment: () => ({}),
      },
      (view, cause) => {
        this.view = view
        this.causes.push(cause)
      },
    )
    this.view = this.launcher.view()
  }

  grantOf(epoch: number, onDoubt: 'freeze' | 'stop' = 'freeze', renewedAt = this.clock.now()): Grant {
    return {
      epoch,
      identity: 'me',
      doubtAt: later(renewedAt, 10_000),
      killAt: later(renewedAt, 14_000),
      onDoubt,
    }
  }

  grant(epoch = 1, onDoubt: 'freeze' | 'stop' = 'freeze'): void {
    this.launcher.receive({ type: 'grant', grant: this.grantOf(epoch, onDoubt) })
  }

  async started(onDoubt: 'freeze' | 'stop' = 'freeze'): Promise<this> {
    this.grant(1, onDoubt)
    this.launcher.receive({ type: 'start', epoch: 1 })
    await settled()
    assert.equal(this.view.state, 'running')
    this.causes.length = 0
    return this
  }

  kinds(): string[] {
    return this.causes.map(({ kind }) => kind)
  }
}

describe('a wall clock that is ahead of the grant', () => {
  test('freezes in either mode, and a grant from before does not thaw', async () => {
    for (const onDoubt of ['freeze', 'stop'] as const) {
      const b = await new Bench().started(onDoubt)
      const old = b.grantOf(1, onDoubt, later(b.clock.now(), 100))
      b.clock.wallAhead += 3_600_000
      await b.clock.pass(400)
      assert.equal(b.view.state, 'frozen')
      b.launcher.receive({ type: 'grant', grant: old })
      assert.ok(!b.tree.calls.includes('thaw'))
      b.grant(1, onDoubt)
      assert.equal(b.view.state, 'running')
    }
  })

  test('does not let a workload go on that is being stopped', async () => {
    const b = await new Bench().started()
    b.tree.obeysTerm = false
    b.launcher.stop(30_000)
    b.clock.wallAhead += 3_600_000
    await b.clock.pass(400)
    assert.deepEqual(b.tree.calls.slice(-1), ['kill'])
    assert.equal(b.view.state, 'idle')
  })
})

describe('a grant', () => {
  test('lets the workload start in its own epoch only', async () => {
    const b = new Bench()
    b.launcher.receive({ type: 'start', epoch: 1 })
    b.grant(2)
    b.launcher.receive({ type: 'start', epoch: 1 })
    await settled()
    assert.deepEqual(b.kinds(), ['start_refused', 'start_refused'])
    assert.deepEqual(b.tree.calls, [])
  })

  test('that is older, a duplicate, or late extends nothing', async () => {
    const b = await new Bench().started()
    const first = b.grantOf(1)
    await b.clock.pass(1_000)
    b.grant(1)
    const { killAt } = b.view
    for (const grant of [first, b.grantOf(1), b.grantOf(0)]) b.launcher.receive({ type: 'grant', grant })
    b.launcher.receive({ type: 'grant', grant: b.grantOf(1, 'freeze', later(b.clock.now(), -14_000)) })
    // The duplicate is the one in force: that is accepted.
    assert.deepEqual(b.kinds(), ['grant_refused', 'grant_accepted', 'grant_refused', 'grant_refused'])
    assert.equal(b.launcher.view().killAt, b.clock.mono() + 14_000)
    assert.ok(killAt === null || killAt <= b.clock.mono() + 14_000)
  })

  test('of an epoch that was ended by a kill is refused for good', async () => {
    const b = await new Bench().started()
    b.launcher.receive({ type: 'kill' })
    await settled()
    b.grant(1)
    assert.deepEqual(b.kinds().slice(-1), ['grant_refused'])
    b.grant(2)
    b.launcher.receive({ type: 'start', epoch: 2 })
    await settled()
    assert.equal(b.view.epoch, 2)
  })
})

describe('the deadman', () => {
  test('freezes at the doubt and kills at the end of the grant, without any message', async () => {
    const b = await new Bench().started()
    await b.clock.pass(9_999)
    assert.deepEqual(b.tree.calls, ['start'])
    await b.clock.pass(1)
    assert.deepEqual(b.tree.calls, ['start', 'freeze'])
    await b.clock.pass(3_999)
    assert.equal(b.view.state, 'frozen')
    await b.clock.pass(1)
    assert.equal(b.view.state, 'idle')
    assert.deepEqual(b.kinds(), ['frozen', 'deadman', 'stopping', 'killed'])
    assert.equal(b.view.deadmanFirings, 1)
  })

  test('thaws on a newer grant: same process, no restart', async () => {
    const b = await new Bench().started()
    await b.clock.pass(12_000)
    b.grant()
    assert.deepEqual(b.tree.calls, ['start', 'freeze', 'thaw'])
    assert.equal(b.view.state, 'running')
    assert.equal(b.view.pid, 42)
    await b.clock.pass(9_999)
    assert.equal(b.view.state, 'running')
  })

  test('does not thaw on a grant that is itself in doubt already', async () => {
    const b = await new Bench().started()
    await b.clock.pass(1_000)
    const late = b.grantOf(1)
    await b.clock.pass(11_500)
    b.launcher.receive({ type: 'grant', grant: late })
    assert.equal(b.view.state, 'frozen')
  })

  test('with on-doubt=stop stops instead of freezing, and kills what does not obey in time', async () => {
    const b = await new Bench().started('stop')
    b.tree.obeysTerm = false
    await b.clock.pass(10_000)
    assert.deepEqual(b.tree.calls, ['start', 'terminate'])
    await b.clock.pass(4_000)
    assert.equal(b.view.state, 'idle')
    assert.ok(!b.tree.calls.includes('freeze'))
  })

  test('with on-doubt=stop leaves the stop until the end of the grant, and fires once', async () => {
    const b = await new Bench().started('stop')
    b.tree.obeysTerm = false
    await b.clock.pass(13_999)
    assert.deepEqual(b.tree.calls, ['start', 'terminate', 'cut off'])
    assert.equal(b.view.deadmanFirings, 1)
    await b.clock.pass(1)
    assert.equal(b.view.state, 'idle')
  })

  test('kills at once when the machine wakes up from a sleep past the deadline', async () => {
    const b = await new Bench().started()
    await b.clock.pass(1_000)
    b.clock.bootAhead += 30_000
    await b.clock.pass(200)
    assert.equal(b.view.state, 'idle')
  })

  test('only pauses when the wall clock alone jumps ahead, until the agent has asked', async () => {
    const b = await new Bench().started()
    await b.clock.pass(1_000)
    b.clock.wallAhead += 3_600_000
    await b.clock.pass(200)
    assert.equal(b.view.state, 'frozen')
    b.grant()
    assert.equal(b.view.state, 'running')
    b.clock.wallAhead -= 7_200_000
    await b.clock.pass(200)
    assert.equal(b.view.state, 'running')
  })

  test('kills what is still stopping when leadership comes into doubt', async () => {
    const b = await new Bench().started()
    b.tree.obeysTerm = false
    await b.clock.pass(5_000)
    b.launcher.receive({ type: 'stop', graceMs: 30_000 })
    await b.clock.pass(5_000)
    assert.equal(b.view.state, 'idle')
    assert.equal(b.clock.mono(), 1_010_000)
  })
})

describe('a stop', () => {
  test('is confirmed only when nothing lives and the port is free', async () => {
    const b = await new Bench().started()
    b.port = 'port 7860 is already taken'
    b.launcher.receive({ type: 'stop', graceMs: 3_000 })
    await b.clock.pass(1_000)
    assert.equal(b.view.state, 'stopping')
    b.port = null
    await b.clock.pass(100)
    assert.equal(b.view.state, 'idle')
    assert.deepEqual(b.kinds(), ['stopping', 'stopped'])
  })

  test('reaches those whom the first process left without passing it on', async () => {
    const b = await new Bench().started()
    b.tree.obeysTerm = false
    b.launcher.receive({ type: 'stop', graceMs: 3_000 })
    b.tree.exited({ code: 0, signal: null })
    assert.deepEqual(b.tree.calls, ['start', 'terminate', 'terminate'])
    await b.clock.pass(3_000)
  })

  test('that is told again can only become shorter, and cuts off before its end', async () => {
    const b = await new Bench().started()
    b.tree.obeysTerm = false
    b.launcher.receive({ type: 'stop', graceMs: 10_000 })
    await b.clock.pass(2_000)
    b.launcher.receive({ type: 'stop', graceMs: CUT_OFF_MS })
    b.launcher.receive({ type: 'stop', graceMs: 30_000 })
    await b.clock.pass(100)
    assert.deepEqual(b.tree.calls, ['start', 'terminate', 'cut off'])
    await b.clock.pass(CUT_OFF_MS - 101)
    assert.equal(b.view.state, 'stopping')
    await b.clock.pass(1)
    assert.deepEqual(b.kinds(), ['stopping', 'killed'])
    assert.deepEqual(b.tree.calls, ['start', 'terminate', 'cut off', 'kill'])
  })

  test('that is told again does not wait for who has had its time, and cannot be told to cut anything off', async () => {
    for (const [afterMs, leftMs] of [
      [2_000, 25],
      [400, 600],
    ] as const) {
      const b = await new Bench().started()
      b.tree.obeysTerm = b.hears = false
      b.launcher.receive({ type: 'stop', graceMs: 10_000 })
      await b.clock.pass(afterMs)
      b.launcher.receive({ type: 'stop', graceMs: CUT_OFF_MS })
      await b.clock.pass(leftMs - 25)
      assert.equal(b.view.state, 'stopping')
      await b.clock.pass(25)
      assert.equal(b.view.state, 'idle')
    }
  })

  test('that is told again without being hurried has all its grace', async () => {
    const b = await new Bench().started()
    b.tree.obeysTerm = b.hears = false
    b.launcher.receive({ type: 'stop', graceMs: 30_000 })
    await b.clock.pass(2_000)
    b.launcher.receive({ type: 'stop', graceMs: 5_000 })
    await b.clock.pass(4_999)
    assert.equal(b.view.state, 'stopping')
    await b.clock.pass(1)
    assert.equal(b.view.state, 'idle')
  })

  test('that is not told again has all its grace, whatever it can be told', async () => {
    const b = await new Bench().started()
    b.tree.obeysTerm = b.hears = false
    b.launcher.receive({ type: 'stop', graceMs: 3_000 })
    await b.clock.pass(2_999)
    assert.equal(b.view.state, 'stopping')
    await b.clock.pass(1)
    assert.equal(b.view.state, 'idle')
  })

  test('takes nothing over from an earlier one', async () => {
    const b = await new Bench().started()
    b.launcher.receive({ type: 'stop', graceMs: 1_000 })
    await b.clock.pass(100)
    assert.equal(b.view.state, 'idle')
    b.tree.obeysTerm = false
    await b.started()
    b.launcher.receive({ type: 'stop', graceMs: 5_000 })
    await b.clock.pass(3_700)
    assert.ok(!b.tree.calls.includes('cut off'))
    await b.clock.pass(1_300)
    assert.equal(b.view.state, 'idle')
  })

  test('becomes a kill after its grace', async () => {
    const b = await new Bench().started()
    b.tree.obeysTerm = false
    b.launcher.receive({ type: 'stop', graceMs: 3_000 })
    await b.clock.pass(1_700)
    assert.deepEqual(b.tree.calls, ['start', 'terminate'])
    await b.clock.pass(1_299)
    assert.deepEqual(b.tree.calls, ['start', 'terminate', 'cut off'])
    assert.ok(b.finished > 100, 'it is looked all along whether those that serve have ended')
    await b.clock.pass(1)
    assert.equal(b.view.state, 'idle')
    assert.equal(b.kinds().at(-1), 'killed')
  })

  test('that cannot be completed raises an alarm and is tried again until it is', async () => {
    const b = await new Bench().started()
    b.tree.obeysKill = false
    b.launcher.receive({ type: 'kill' })
    await b.clock.pass(5_000)
    assert.equal(b.view.state, 'unstoppable')
    b.tree.obeysKill = true
    await b.clock.pass(5_000)
    assert.equal(b.view.state, 'idle')
  })

  test('of a frozen workload kills it: nothing may execute in doubt', async () => {
    const b = await new Bench().started()
    await b.clock.pass(10_000)
    b.launcher.receive({ type: 'stop', graceMs: 3_000 })
    await settled()
    assert.deepEqual(b.tree.calls, ['start', 'freeze', 'kill'])
  })
})

describe('a workload of which it cannot be told what lives', () => {
  test('counts as alive: its stop is not confirmed, and goes on until it can be told', async () => {
    const b = await new Bench().started()
    const look = b.tree.alive
    b.tree.alive = () => {
      throw new Error('cannot tell')
    }
    b.launcher.receive({ type: 'stop', graceMs: 1_000 })
    await b.clock.pass(5_000)
    assert.equal(b.view.state, 'unstoppable')
    b.tree.alive = look
    await b.clock.pass(2_000)
    assert.equal(b.view.state, 'idle')
  })

  test('is killed where it should be frozen', async () => {
    const b = await new Bench().started()
    b.tree.freeze = () => {
      throw new Error('cannot tell')
    }
    await b.clock.pass(10_000)
    assert.equal(b.view.state, 'idle')
    assert.equal(b.view.deadmanFirings, 1)
  })
})

describe('a standby', () => {
  function fakeStandby() {
    const settling = Promise.withResolvers<void>()
    const standby = {
      view: COLD,
      prepared: 0,
      prepare: () => void standby.prepared++,
      discard: () => {},
      use: () => settling.promise,
    }
    return { standby, settle: settling.resolve }
  }

  test('is prepared when a launcher meets its agent, and again after each term', async () => {
    const b = new Bench()
    const { standby, settle } = fakeStandby()
    settle()
    b.standby = standby
    b.launcher.meet(7860, null)
    assert.equal(standby.prepared, 1)
    b.grant()
    b.launcher.receive({ type: 'start', epoch: 1 })
    await b.clock.pass(0)
    assert.deepEqual([b.view.state, standby.prepared], ['running', 1])
    b.launcher.receive({ type: 'kill' })
    await b.clock.pass(100)
    assert.deepEqual([b.view.state, standby.prepared], ['idle', 2])
  })

  /** A start that waits for its standby. */
  async function waiting() {
    const b = new Bench()
    const { standby, settle } = fakeStandby()
    b.standby = standby
    b.launcher.meet(7860, null)
    b.grant()
    b.launcher.receive({ type: 'start', epoch: 1 })
    await settled()
    return { b, standby, settle }
  }

  test('is waited for by a start, but not past the end of its grant', async () => {
    const { b, settle } = await waiting()
    await b.clock.pass(9_000)
    assert.equal(b.tree.calls.length, 0)
    await b.clock.pass(5_000)
    settle()
    await b.clock.pass(1_000)
    assert.equal(b.tree.calls.filter((call) => call === 'start').length, 0)
    assert.equal(b.view.state, 'idle')
  })

  test('is waited for by a start that is over once it is told to stop', async () => {
    const { b, settle } = await waiting()
    b.tree.running = true // the standby's own processes
    b.tree.obeysTerm = false
    b.launcher.receive({ type: 'stop', graceMs: 3_000 })
    settle()
    await b.clock.pass(100)
    assert.deepEqual([b.view.state, b.kinds().includes('started')], ['stopping', false])
    b.tree.running = false
    await b.clock.pass(100)
    assert.deepEqual([b.view.state, b.kinds().at(-1)], ['idle', 'stopped'])
    assert.ok(!b.tree.calls.includes('start'))
  })

  test('is waited for by a start that is over once it is killed, and idle only after that', async () => {
    const { b, standby, settle } = await waiting()
    b.tree.running = true
    b.tree.obeysKill = false
    b.launcher.receive({ type: 'kill' })
    settle()
    await b.clock.pass(100)
    assert.deepEqual([b.view.state, standby.prepared], ['unstoppable', 1])
    b.tree.obeysKill = true
    await b.clock.pass(2_000)
    assert.deepEqual([b.view.state, b.kinds().at(-1), standby.prepared], ['idle', 'killed', 2])
    assert.ok(!b.kinds().includes('start_refused'))
  })

  test('of an earlier launcher is ended at the first meeting; its own is left alone at later ones', async () => {
    const b = new Bench()
    b.tree.running = true
    b.launcher.meet(7860, b.tree)
    await b.clock.pass(100)
    assert.ok(b.tree.calls.includes('kill'))
    b.tree.calls.length = 0
    b.tree.running = true
    b.launcher.meet(7860, b.tree)
    await b.clock.pass(100)
    assert.deepEqual(b.tree.calls, [])
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
    assert.deepEqual([b.view.state, b.causes.length, b.tree.calls], ['running', 1, ['start']])
  })

  test('are not looked at while they are frozen; what was lost meanwhile is told with the thaw', async () => {
    const b = await new Bench().started()
    await b.clock.pass(10_000)
    b.loss = loss
    await b.clock.pass(2_000)
    assert.deepEqual(b.kinds(), ['frozen'])
    b.grant()
    assert.deepEqual(b.kinds(), ['frozen', 'thawed', 'bereft'])
  })

  test('are not looked at while the workload ends, or after it', async () => {
    const b = await new Bench().started()
    b.tree.obeysTerm = false
    b.launcher.stop(2_000)
    b.loss = loss
    await b.clock.pass(5_000)
    assert.deepEqual([b.view.state, b.kinds()], ['idle', ['stopping', 'killed']])
  })
})

describe('the workload', () => {
  test('is not started on a taken port', async () => {
    const b = new Bench()
    b.port = 'port 7860 is already taken by "nginx" (pid 7)'
    b.grant()
    b.launcher.receive({ type: 'start', epoch: 1 })
    await settled()
    assert.deepEqual(b.causes, [{ kind: 'start_refused', reason: b.port }])
    assert.deepEqual(b.tree.calls, [])
  })

  test('that came to be in doubt before it was started leaves nothing that stands still', async () => {
    const b = new Bench()
    const asked = Promise.withResolvers<string | null>()
    b.holder = () => asked.promise
    b.grant(1)
    b.launcher.receive({ type: 'start', epoch: 1 })
    await b.clock.pass(1_000)
    b.grant(1)
    await b.clock.pass(10_000)
    assert.equal(b.view.state, 'frozen')
    b.holder = async () => null
    asked.resolve(null)
    await settled()
    assert.deepEqual([b.view.state, ...b.tree.calls], ['idle', 'freeze', 'kill'])
  })

  test('is remembered to have been ordered, and to have been healthy, for as long as it lives', async () => {
    const b = await new Bench().started()
    const { orderedAt } = b.view
    assert.equal(orderedAt, b.clock.mono())
    await b.clock.pass(5_000)
    const servedSince = b.clock.mono()
    b.launcher.receive({ type: 'healthy' })
    await b.clock.pass(1_000)
    b.launcher.receive({ type: 'healthy' })
    const remembered = () => [b.launcher.view().orderedAt, b.launcher.view().servedSince]
    assert.deepEqual(remembered(), [orderedAt, servedSince])
    b.launcher.receive({ type: 'kill' })
    await settled()
    assert.deepEqual(remembered(), [null, null])
    b.launcher.receive({ type: 'healthy' })
    assert.deepEqual(remembered(), [null, null])
  })

  test('that ends by itself is cleaned up after, since its children may serve on', async () => {
    const b = await new Bench().started()
    b.tree.exited({ code: 1, signal: null })
    await settled()
    assert.deepEqual(b.kinds(), ['exited', 'killed'])
    assert.equal(b.tree.running, false)
  })

  test('whose grant ended while it was being started is killed', async () => {
    const b = new Bench()
    b.grant()
    b.launcher.receive({ type: 'start', epoch: 1 })
    b.launcher.receive({ type: 'kill' })
    await settled()
    assert.equal(b.tree.running, false)
    assert.equal(b.launcher.view().state, 'idle')
  })

  test('of an earlier launcher is killed before this one counts as idle', async () => {
    const b = new Bench()
    b.tree.running = true
    b.launcher.meet(7860, b.tree)
    assert.notEqual(b.launcher.view().state, 'idle')
    await settled()
    assert.equal(b.launcher.view().state, 'idle')
    assert.deepEqual(b.tree.calls, ['kill'])
  })
})

describe('a spare', () => {
  /** A workload that serves, with a spare that is ready. */
  async function spared() {
    const b = new Bench()
    const calls: string[] = []
    const standby = {
      view: COLD,
      prepare: (afterMs = 0) => {
        calls.push(`prepare after ${afterMs} ms`)
        if (afterMs > 0) standby.view = { ...COLD, mode: 'warm', state: 'ready' }
      },
      discard: () => {
        calls.push('discard')
        standby.view = COLD
      },
      use: async () => void calls.push('use'),
    }
    b.standby = standby
    b.keepsSpare = true
    await b.started()
    b.launcher.receive({ type: 'healthy' })
    assert.deepEqual(calls, ['use', 'prepare after 10000 ms'])
    calls.length = 0
    return { b, calls }
  }

  test('is kept by a stop that a start follows, and used by that start', async () => {
    const { b, calls } = await spared()
    b.launcher.receive({ type: 'stop', graceMs: 3_000, restarts: true })
    await b.clock.pass(100)
    assert.deepEqual([b.view.state, b.view.spare], ['idle', true])
    b.launcher.receive({ type: 'start', epoch: 1 })
    await settled()
    assert.deepEqual([b.view.state, calls.includes('discard'), calls.at(-1)], ['running', false, 'use'])
  })

  test('ends with any other stop, and a kill, before its workload counts as idle', async () => {
    for (const order of [{ type: 'stop', graceMs: 3_000 }, { type: 'kill' }] as const) {
      const { b, calls } = await spared()
      b.tree.obeysTerm = b.tree.obeysKill = false
      b.launcher.receive(order)
      assert.deepEqual(calls, ['discard'])
      await b.clock.pass(100)
      assert.notEqual(b.view.state, 'idle')
    }
  })

  test('that is only due is not begun beside a workload that is told to end', async () => {
    const { b, calls } = await spared()
    b.standby = Object.assign(b.standby as Standby, { view: COLD })
    b.tree.obeysTerm = false
    b.launcher.receive({ type: 'stop', graceMs: 3_000 })
    assert.deepEqual([b.view.state, calls], ['stopping', ['discard']])
  })

  test('outlives a workload that ends by itself, until it is told to stop', async () => {
    const { b, calls } = await spared()
    b.tree.end({ code: 1, signal: null })
    await b.clock.pass(100)
    assert.deepEqual([b.view.state, b.view.spare, calls.includes('discard')], ['idle', true, false])
    b.tree.calls.length = b.causes.length = 0
    b.launcher.receive({ type: 'stop', graceMs: 0 })
    await b.clock.pass(100)
    assert.deepEqual(b.tree.calls, ['kill'])
    assert.deepEqual(b.kinds(), ['stopping', 'killed'])
    assert.deepEqual([b.view.spare, calls.at(-1)], [false, 'prepare after 3000 ms'])
  })

  test('ends in doubt, also where nothing runs any more, and is prepared again after a thaw', async () => {
    const { b, calls } = await spared()
    await b.clock.pass(10_100)
    assert.deepEqual([b.view.state, calls], ['frozen', ['discard']])
    b.grant()
    assert.deepEqual([b.view.state, calls.at(-1)], ['running', 'prepare after 10000 ms'])
    b.launcher.receive({ type: 'stop', graceMs: 3_000, restarts: true })
    await b.clock.pass(100)
    assert.deepEqual([b.view.state, b.view.spare], ['idle', true])
    b.tree.calls.length = 0
    await b.clock.pass(10_000)
    assert.deepEqual([b.tree.calls, b.view.spare], [['kill'], false])
  })

  test('ends with the grant, also where the machine slept past its doubt', async () => {
    const { b, calls } = await spared()
    b.clock.bootAhead += 20_000
    await b.clock.pass(200)
    assert.deepEqual([b.view.state, calls], ['idle', ['discard', 'prepare after 3000 ms']])
  })

  test('ends with a workload that SIGKILL does not end otherwise', async () => {
    const { b, calls } = await spared()
    b.tree.obeysTerm = b.tree.obeysKill = false
    b.launcher.receive({ type: 'stop', graceMs: 0, restarts: true })
    await b.clock.pass(0)
    assert.deepEqual([b.view.state, calls], ['unstoppable', ['discard']])
  })
})
