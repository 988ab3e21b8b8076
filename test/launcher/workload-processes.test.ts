import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { later } from '../../agent/clock.ts'
import { WorkloadProcesses } from '../../agent/launcher/workload-processes.ts'
import type { Grant, WorkloadCause } from '../../agent/link/messages.ts'
import { settled, VirtualClock } from '../support/virtual-clock.ts'
import { FakeTree } from '../workload/fixtures/fake-tree.ts'

class Bench {
  readonly clock = new VirtualClock()
  readonly tree = new FakeTree()
  /** What was told, and when something began to be watched or ceased to be. */
  readonly told: string[] = []
  mayExecute = true
  port: string | null = null
  readonly processes = new WorkloadProcesses(
    ['langflow'],
    {
      clock: this.clock,
      tree: () => this.tree,
      portHolder: async () => this.port,
      serving: () => ({
        check: () => null,
        finish: () => {},
        cutOff: () => this.told.push('cut off') > 0,
        close: () => {},
      }),
      standby: () => null,
      spare: () => null,
      environment: () => ({}),
    },
    {
      mayExecute: () => this.mayExecute,
      executes: () => void this.told.push('executes'),
      rests: () => void this.told.push('rests'),
      told: (cause) => void this.told.push(sentence(cause)),
    },
  )

  async started(): Promise<this> {
    const now = this.clock.now()
    const grant: Grant = {
      epoch: 3,
      identity: 'me',
      doubtAt: later(now, 10_000),
      killAt: later(now, 14_000),
      onDoubt: 'freeze',
    }
    void this.processes.start(grant)
    await settled()
    return this
  }
}

function sentence(cause: WorkloadCause): string {
  return 'reason' in cause ? `${cause.kind}: ${cause.reason}` : cause.kind
}

describe('the processes of a workload', () => {
  test('that do not stay frozen are killed', async () => {
    const b = await new Bench().started()
    b.tree.staysFrozen = false
    for (let looks = 0; looks < 11; looks++) {
      b.processes.freeze()
      await b.clock.pass(100)
    }
    assert.deepEqual(b.told.slice(2), ['frozen'])
    b.processes.freeze()
    await settled()
    assert.deepEqual(b.told.slice(2, 5), ['frozen', 'deadman: the workload does not stay frozen', 'stopping'])
    assert.equal(b.processes.state, 'idle')
  })

  test('are those of the grant that they were started under, also when they have ended', async () => {
    const b = await new Bench().started()
    assert.deepEqual(b.told, ['started', 'executes'])
    assert.deepEqual([b.processes.state, b.processes.pid, b.processes.livingEpoch], ['running', 42, 3])
    await b.processes.end()
    assert.deepEqual([b.processes.state, b.processes.pid, b.processes.livingEpoch], ['idle', null, null])
    assert.deepEqual(b.processes.ran, { epoch: 3, identity: 'me' })
    assert.deepEqual(b.told.slice(2), ['stopping', 'rests', 'killed'])
  })

  test('are not started where nothing may execute, or the port is taken', async () => {
    const late = new Bench()
    late.mayExecute = false
    await late.started()
    assert.deepEqual(late.told, ['rests', 'start_refused: the grant ended before the start'])
    const taken = new Bench()
    taken.port = 'port 7860 is already taken'
    await taken.started()
    assert.deepEqual(taken.told, ['rests', 'start_refused: port 7860 is already taken'])
    assert.deepEqual([...late.tree.calls, ...taken.tree.calls], [])
  })

  test('are frozen once more without a word', async () => {
    const b = await new Bench().started()
    b.processes.freeze()
    b.tree.frozen = false
    b.processes.freeze()
    assert.ok(b.tree.frozen)
    assert.deepEqual(b.told.slice(2), ['frozen'])
    b.processes.thaw()
    assert.deepEqual([b.processes.state, b.told.at(-1)], ['running', 'thawed'])
  })

  test('are killed where it cannot be told what to freeze, or to thaw', async () => {
    for (const signal of ['freeze', 'thaw'] as const) {
      const b = await new Bench().started()
      if (signal === 'thaw') b.processes.freeze()
      b.tree[signal] = () => {
        throw new Error('/proc cannot be read')
      }
      b.processes[signal]()
      await settled()
      const what = signal === 'freeze' ? 'frozen' : 'thawed'
      assert.deepEqual(b.told.slice(-4), [
        `deadman: the workload could not be ${what}`,
        'stopping',
        'rests',
        'killed',
      ])
    }
  })

  test('are killed once their time is over where it cannot be told whom to tell to end', async () => {
    const b = await new Bench().started()
    b.tree.terminate = () => {
      throw new Error('/proc cannot be read fast enough')
    }
    b.processes.terminate()
    b.processes.killAfter(3_000)
    await b.clock.pass(2_900)
    assert.equal(b.processes.state, 'stopping')
    await b.clock.pass(200)
    assert.deepEqual([b.processes.state, b.told.at(-1)], ['idle', 'killed'])
  })

  test('end in order, or are killed once their time for that is over', async () => {
    const b = await new Bench().started()
    b.tree.obeysTerm = false
    b.processes.terminate()
    b.processes.killAfter(2_000)
    assert.ok(b.processes.isEndingInOrder)
    await b.clock.pass(1_999)
    assert.deepEqual(b.tree.calls, ['start', 'terminate'])
    b.tree.obeysKill = false
    await b.clock.pass(1)
    assert.deepEqual(b.tree.calls, ['start', 'terminate', 'kill'])
    assert.deepEqual([b.processes.isEndingInOrder, b.processes.isBeingKilled], [false, true])
    assert.equal(b.processes.state, 'unstoppable')
    b.tree.obeysKill = true
    await b.clock.pass(1_000)
    assert.deepEqual([b.processes.isBeingKilled, b.processes.state], [false, 'idle'])
  })

  test('that an earlier launcher left are killed, and have no epoch that is known', async () => {
    const b = new Bench()
    b.tree.running = true
    b.processes.meet(7860, b.tree)
    assert.deepEqual([b.processes.state, b.processes.livingEpoch], ['stopping', null])
    await settled()
    assert.deepEqual([b.processes.state, b.tree.calls], ['idle', ['kill']])
    b.processes.meet(7860, b.tree)
    assert.deepEqual(b.tree.calls, ['kill'], 'nothing is left')
  })
})
