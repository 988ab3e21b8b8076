import assert from 'node:assert/strict'
import { describe, type TestContext, test } from 'node:test'
import { OperationError } from '../../agent/cli/exit-codes.ts'
import type { Phase } from '../../agent/cli/following.ts'
import { writeRequest } from '../../agent/cli/request-run.ts'
import type { Plan } from '../../agent/cli/switchover.ts'
import {
  describeSwitched,
  followSwitchover,
  isElsewhere,
  type Switched,
  switchover,
  switchoverLine,
} from '../../agent/cli/switchover-progress.ts'
import { SWITCHOVER_TO } from '../../agent/lease/operator-annotations.ts'
import type { AgentStatus } from '../../agent/status/agent-status.ts'
import { VirtualClock } from '../harness/virtual-clock.ts'
import { TERM } from '../observe/replica.ts'
import { identityOf, LEADER, ScriptedCluster, STANDBY } from './scripted-cluster.ts'

const draining: AgentStatus = {
  ...LEADER,
  leadership: { ...LEADER.leadership, steppingDown: 'an operator asked for it' },
  switchover: { what: 'switchover', to: 'langflow-1', state: 'under way', reason: null },
}
const stopped: AgentStatus = { ...draining, workload: { ...draining.workload, state: 'idle' } }
const AWAY = new OperationError('unreachable', 'cannot reach it')

/** A followed switchover on a virtual clock. Each step lasts longer than the interval between two reads. */
class Followed {
  readonly clock = new VirtualClock()
  readonly cluster = new ScriptedCluster()
  readonly told: Phase[] = []
  readonly ctrlC = new AbortController()
  plan!: Plan
  outcome!: Promise<Switched>

  static async begin(t: TestContext, to = 'langflow-1', timeoutMs = 120_000): Promise<Followed> {
    const one = new Followed()
    const { clock, cluster, ctrlC, told } = one
    one.plan = await writeRequest(cluster, switchover(to, null, clock), null)
    const tell = (phase: Phase) => void told.push(phase)
    one.outcome = followSwitchover(cluster, clock, one.plan, { timeoutMs, signal: ctrlC.signal, tell })
    one.outcome.catch(() => {})
    t.after(() => clock.pass(300_000))
    return one
  }

  /** Runs an event, then advances the clock until it has been read. */
  async step(happens: (cluster: ScriptedCluster) => void = () => {}): Promise<void> {
    happens(this.cluster)
    await this.clock.pass(250)
  }

  async drain(): Promise<void> {
    await this.step((cluster) => cluster.show('langflow-0', draining))
  }

  release(): void {
    this.cluster.note({ [SWITCHOVER_TO]: null })
    this.cluster.write({ holderIdentity: '' })
    this.cluster.show('langflow-0', STANDBY)
  }

  acquire(pod: string, epoch = 8): void {
    this.cluster.note({ [SWITCHOVER_TO]: null })
    this.cluster.write({ holderIdentity: identityOf(pod), leaseTransitions: epoch })
    const closed = { ...LEADER.traffic, gate: 'closed' } as const
    this.cluster.show(pod, { ...LEADER, lease: { ...LEADER.lease, epoch }, traffic: closed })
  }

  serve(pod: string): void {
    this.cluster.showFrom(pod, (status) => ({ ...status, traffic: { ...status.traffic, gate: 'open' } }))
  }

  /** All events between two reads. */
  takeOver(pod: string, epoch = 8): void {
    this.release()
    this.acquire(pod, epoch)
    this.serve(pod)
  }

  phases(): string[] {
    return this.told.map(({ phase, pod }) => `${phase} ${pod}`)
  }

  async isOver(): Promise<boolean> {
    return (await Promise.race([this.outcome.catch(() => null), 'not yet'])) !== 'not yet'
  }

  async text(): Promise<string> {
    return describeSwitched(await this.outcome, this.plan)
  }

  /** The error of a failed switchover. */
  failure(): Promise<OperationError> {
    return this.outcome.then(
      () => assert.fail('the switchover succeeded'),
      (error) => error,
    )
  }
}

describe('a followed switchover', () => {
  test('reports each phase, and the time without a server as the new leader recorded it', async (t) => {
    const one = await Followed.begin(t)
    await one.step()
    await one.drain()
    await one.step((cluster) => cluster.show('langflow-0', stopped))
    await one.step(() => one.release())
    await one.step(() => one.acquire('langflow-1'))
    await one.step(() => one.serve('langflow-1'))
    assert.equal(await one.isOver(), false)
    await one.step((cluster) =>
      cluster.remember({ epoch: 8, gapMs: 1_234 }, { epoch: 7, endedBecause: 'switchover', stopMs: 1_224 }),
    )
    assert.deepEqual(await one.outcome, {
      from: 'langflow-0',
      to: 'langflow-1',
      epoch: 8,
      crashed: false,
      gapMs: 1_234,
      gapFrom: 'leader',
      phases: one.told,
      unready: null,
      took: { stopMs: 1_224, ...TERM.phases },
    })
    assert.deepEqual(
      one.told.map(({ phase, pod, afterMs }) => [phase, pod, afterMs]),
      [
        ['requested', 'langflow-1', 0],
        ['draining', 'langflow-0', 500],
        ['stopped', 'langflow-0', 750],
        ['released', 'langflow-0', 1_000],
        ['acquired', 'langflow-1', 1_250],
        ['serving', 'langflow-1', 1_500],
      ],
    )
    assert.equal(isElsewhere(await one.outcome, one.plan), false)
    assert.equal(switchoverLine(one.told[3]!), '   1.0 s  released   langflow-0\n')
    assert.match(switchoverLine(one.told.at(-1)!), /serving {4}langflow-1, which now records the time/)
  })

  test('reports why the old leader cannot take over yet', async (t) => {
    for (const status of [{ ...STANDBY, couldTakeOver: false, unable: 'its standby is preparing' }, 'gone']) {
      const one = await Followed.begin(t)
      await one.step((cluster) => {
        one.takeOver('langflow-1')
        cluster.show('langflow-0', status)
        cluster.remember({ epoch: 8 })
      })
      const why = typeof status === 'string' ? status : status.unable
      assert.equal((await one.outcome).unready, why)
      assert.match(await one.text(), new RegExp(`langflow-0 cannot take over yet: ${why}; see `))
    }
  })

  test('omits phases that were too short to be read', async (t) => {
    const one = await Followed.begin(t, '*')
    await one.step(() => {
      one.takeOver('langflow-2')
      one.cluster.remember({ epoch: 8, gapMs: 90 })
    })
    await one.outcome
    const expected = ['requested langflow-1 or langflow-2', 'acquired langflow-2', 'serving langflow-2']
    assert.deepEqual(one.phases(), expected)
  })

  test('uses its own measurement if the new leader does not record the time without a server', async (t) => {
    const one = await Followed.begin(t)
    await one.drain()
    await one.step(() => one.takeOver('langflow-1'))
    await one.clock.pass(3_700)
    assert.equal(await one.isOver(), false)
    await one.clock.pass(300)
    const { gapMs, gapFrom } = await one.outcome
    assert.deepEqual([gapMs, gapFrom], [250, 'seen'])
  })

  test('does not confuse the open gate of an earlier term with that of the new one', async (t) => {
    const one = await Followed.begin(t)
    await one.step(() => {
      one.takeOver('langflow-1')
      one.cluster.show('langflow-1', { ...LEADER, lease: { ...LEADER.lease, epoch: 6 } })
    })
    await one.step()
    assert.equal(one.phases().at(-1), 'acquired langflow-1')
  })

  test('continues after an outage of the API server', async (t) => {
    const one = await Followed.begin(t)
    await one.step((cluster) => {
      cluster.away = AWAY
    })
    one.cluster.away = null
    await one.step(() => {
      one.takeOver('langflow-1')
      one.cluster.remember({ epoch: 8, gapMs: 90 })
    })
    await one.step()
    assert.equal((await one.outcome).to, 'langflow-1')
  })

  test('ends with the replica that serves if the requested replica fails, even after it served', async (t) => {
    for (const serves of [false, true]) {
      const one = await Followed.begin(t)
      await one.step(() => {
        one.release()
        one.acquire('langflow-1')
        if (serves) one.serve('langflow-1')
      })
      await one.step(() => one.acquire('langflow-2', 9))
      await one.step(() => one.serve('langflow-2'))
      await one.step((cluster) => cluster.remember({ epoch: 9, gapMs: 700 }))
      const { to, epoch, gapMs } = await one.outcome
      assert.deepEqual([to, epoch, gapMs], ['langflow-2', 9, 700])
      assert.ok(isElsewhere(await one.outcome, one.plan))
      assert.match(await one.text(), /\nlangflow-1 did not become the leader/)
      assert.deepEqual(one.phases().slice(-2), ['acquired langflow-2', 'serving langflow-2'])
    }
  })

  test('fails if the same replica leads again', async (t) => {
    const one = await Followed.begin(t, '*')
    await one.step(() => one.takeOver('langflow-0'))
    one.ctrlC.abort()
    assert.ok(isElsewhere(await one.outcome, one.plan))
    assert.match(
      await one.text(),
      /^langflow-0 leads and serves again; .*\nlangflow-1 or langflow-2 did not become the leader/,
    )
  })

  test('reports the death of the leader', async (t) => {
    const one = await Followed.begin(t)
    await one.step((cluster) => cluster.show('langflow-0', 'connection refused'))
    await one.clock.pass(15_000)
    await one.step(() => {
      one.takeOver('langflow-1')
      one.cluster.remember({ epoch: 8, gapMs: 15_500 }, { epoch: 7, endedBecause: 'expired' })
    })
    const { crashed, gapMs } = await one.outcome
    assert.deepEqual([crashed, gapMs], [true, 15_500])
    assert.match(await one.text(), /\nlangflow-0 ended before it released the Lease/)
  })
})

describe('a followed switchover fails', () => {
  test('if the leader refuses it, with its reason', async (t) => {
    const one = await Followed.begin(t)
    const refused = {
      what: 'switchover',
      to: 'langflow-1',
      state: 'refused',
      reason: 'langflow-1 is not ready',
    } as const
    // The answer to an earlier request, while the new request is in the Lease.
    await one.step((cluster) => cluster.show('langflow-0', { ...LEADER, switchover: refused }))
    assert.equal(await one.isOver(), false)
    await one.step((cluster) => cluster.note({ [SWITCHOVER_TO]: null }))
    const { code, message } = await one.failure()
    assert.equal(code, 'refused')
    assert.match(message, /refuses to hand over: langflow-1 is not ready$/)
  })

  test('if another operator withdraws it', async (t) => {
    const one = await Followed.begin(t)
    await one.step((cluster) => cluster.note({ [SWITCHOVER_TO]: null }))
    const { code, message } = await one.failure()
    assert.equal(code, 'refused')
    assert.match(message, /withdrew the request/)
  })

  test('after Ctrl-C: the request is withdrawn', async (t) => {
    const one = await Followed.begin(t)
    await one.step()
    one.ctrlC.abort()
    const { code, message } = await one.failure()
    assert.equal(code, 'interrupted')
    assert.match(message, /withdrawn/)
    assert.deepEqual(one.cluster.annotations, {})
  })

  for (const status of [draining, 'connection refused'])
    test(`after Ctrl-C when the leader has started: the handover continues (${typeof status})`, async (t) => {
      const one = await Followed.begin(t)
      await one.drain()
      await one.step((cluster) => cluster.show('langflow-0', status))
      one.ctrlC.abort()
      const { code, message } = await one.failure()
      assert.equal(code, 'interrupted')
      assert.match(message, /langflow-0 has already started the handover/)
    })

  test('after the timeout: the request is withdrawn', async (t) => {
    const one = await Followed.begin(t, 'langflow-1', 5_000)
    await one.clock.pass(4_900)
    assert.equal(await one.isOver(), false)
    await one.clock.pass(100)
    const { code, message } = await one.failure()
    assert.equal(code, 'timed_out')
    assert.match(message, /after 5s: .*withdrawn/)
    assert.deepEqual(one.cluster.annotations, {})
  })
})
