import assert from 'node:assert/strict'
import { describe, type TestContext, test } from 'node:test'
import { OperationError } from '../../agent/cli/exit-codes.ts'
import { requestSwitchover } from '../../agent/cli/switchover.ts'
import {
  describeSwitched,
  followSwitchover,
  isElsewhere,
  type Phase,
  phaseLine,
  type Switched,
} from '../../agent/cli/switchover-progress.ts'
import { SWITCHOVER_TO } from '../../agent/lease/operator-annotations.ts'
import type { AgentStatus } from '../../agent/observe/agent-status.ts'
import { VirtualClock } from '../harness/virtual-clock.ts'
import { fronted, TERM } from '../observe/replica.ts'
import { identityOf, LEADER, ScriptedCluster, STANDBY } from './scripted-cluster.ts'

const draining: AgentStatus = {
  ...LEADER,
  leadership: { ...LEADER.leadership, steppingDown: 'an operator asked for it' },
  switchover: { to: 'langflow-1', state: 'under way', reason: null },
}
const stopped: AgentStatus = { ...draining, workload: { ...draining.workload, state: 'idle' } }

/** A switchover that is followed, on a clock of its own; each step lets enough time pass for it to be seen. */
class Followed {
  readonly clock = new VirtualClock()
  readonly cluster = new ScriptedCluster()
  readonly told: Phase[] = []
  readonly ctrlC = new AbortController()
  outcome!: Promise<Switched>
  /** Once it is over. */
  result: Switched | Error | undefined

  static async begin(
    t: TestContext,
    to = 'langflow-1',
    timeoutMs = 120_000,
    before: (cluster: ScriptedCluster) => void = () => {},
  ): Promise<Followed> {
    const one = new Followed()
    const { clock, cluster, ctrlC, told } = one
    before(cluster)
    const plan = await requestSwitchover(cluster, clock, to, null)
    const tell = (phase: Phase) => void told.push(phase)
    one.outcome = followSwitchover(cluster, clock, plan, { timeoutMs, signal: ctrlC.signal, tell })
    one.outcome.then(
      (result) => {
        one.result = result
      },
      (error) => {
        one.result = error
      },
    )
    t.after(() => clock.pass(300_000))
    return one
  }

  /** What happens, and the time in which it is seen. */
  async step(happens: (cluster: ScriptedCluster) => void = () => {}): Promise<void> {
    happens(this.cluster)
    await this.clock.pass(250)
  }

  async drain(): Promise<void> {
    await this.step(({ show }) => show.call(this.cluster, 'langflow-0', draining))
  }

  release(): void {
    const { cluster } = this
    cluster.note({ [SWITCHOVER_TO]: null })
    cluster.write({ holderIdentity: '' })
    cluster.show('langflow-0', STANDBY)
  }

  acquire(pod: string, epoch = 8): void {
    const { cluster } = this
    cluster.note({ [SWITCHOVER_TO]: null })
    cluster.write({ holderIdentity: identityOf(pod), leaseTransitions: epoch })
    const closed = { ...LEADER.traffic, gate: 'closed' } as const
    cluster.show(pod, { ...LEADER, lease: { ...LEADER.lease, epoch }, traffic: closed })
  }

  serve(pod: string): void {
    this.cluster.showFrom(pod, (status) => ({ ...status, traffic: { ...status.traffic, gate: 'open' } }))
  }

  phases(): string[] {
    return this.told.map(({ phase, pod }) => `${phase} ${pod}`)
  }

  /** How it ended, where it came to nothing. */
  async failure(): Promise<OperationError> {
    return this.outcome.then(
      () => assert.fail('it succeeded'),
      (error) => error,
    )
  }
}

describe('a switchover that is followed', () => {
  test('tells each phase as it happens, and how long nobody served by the new leader', async (t) => {
    const one = await Followed.begin(t)
    await one.step()
    await one.drain()
    await one.step((cluster) => cluster.show('langflow-0', stopped))
    await one.step(() => one.release())
    await one.step(() => one.acquire('langflow-1'))
    await one.step(() => one.serve('langflow-1'))
    assert.equal(one.result, undefined)
    await one.step((cluster) =>
      cluster.remember({ epoch: 8, gapMs: 1_234 }, { epoch: 7, endedBecause: 'switchover', stopMs: 1_224 }),
    )
    const { phases, ...rest } = await one.outcome
    assert.deepEqual(rest, {
      from: 'langflow-0',
      to: 'langflow-1',
      epoch: 8,
      crashed: false,
      gapMs: 1_234,
      gapFrom: 'leader',
      held: null,
      took: { stopMs: 1_224, ...TERM.phases },
    })
    assert.deepEqual(phases, one.told)
    assert.deepEqual(one.phases(), [
      'requested langflow-1',
      'draining langflow-0',
      'stopped langflow-0',
      'released langflow-0',
      'acquired langflow-1',
      'serving langflow-1',
    ])
    assert.deepEqual(
      one.told.map(({ afterMs }) => afterMs),
      [0, 500, 750, 1_000, 1_250, 1_500],
    )
  })

  test('tells what waited at the fronts since the phase before, and in all', async (t) => {
    const one = await Followed.begin(t, 'langflow-1', 120_000, (cluster) =>
      cluster.showFrom('langflow-2', (status) => fronted(status)),
    )
    const waits = (pod: string, held: number, oldestHeldMs: number) =>
      one.cluster.showFrom(pod, (status) => fronted(status, { held, oldestHeldMs }))
    await one.drain()
    await one.step(() => {
      waits('langflow-1', 2, 100)
      waits('langflow-2', 10, 240)
    })
    await one.step(() => one.release())
    await one.step(() => {
      one.acquire('langflow-1')
      waits('langflow-2', 5, 810)
    })
    await one.step(() => one.serve('langflow-1'))
    one.cluster.remember({ epoch: 8, gapMs: 800 })
    await one.step(() => waits('langflow-2', 0, 0))
    const switched = await one.outcome
    assert.deepEqual(switched.held, { requests: 12, longestMs: 810 })
    assert.deepEqual(one.told.map(phaseLine), [
      '   0.0 s  requested  langflow-1\n',
      '   0.3 s  draining   langflow-0\n',
      '   0.8 s  released   langflow-0  held: 12, longest 0.2 s\n',
      '   1.0 s  acquired   langflow-1  held: 5, longest 0.8 s\n',
      '   1.3 s  serving    langflow-1  held: 5, longest 0.8 s\n',
    ])
    const plan = { from: 'langflow-0', holder: '', epoch: 7, to: '*', candidates: ['langflow-1'] } as const
    assert.match(describeSwitched(switched, plan), /\nup to 12 requests at a time were seen to wait/)
  })

  test('leaves out what was too short to be seen', async (t) => {
    const one = await Followed.begin(t, '*')
    await one.step(() => {
      one.release()
      one.acquire('langflow-2')
      one.serve('langflow-2')
      one.cluster.remember({ epoch: 8, gapMs: 90 })
    })
    await one.step()
    assert.equal((await one.outcome).gapMs, 90)
    assert.deepEqual(one.phases(), [
      'requested langflow-1 or langflow-2',
      'acquired langflow-2',
      'serving langflow-2',
    ])
  })

  test('goes by what it saw where the new leader does not note how long nobody served', async (t) => {
    const one = await Followed.begin(t)
    await one.drain()
    await one.step(() => {
      one.release()
      one.acquire('langflow-1')
    })
    await one.step(() => one.serve('langflow-1'))
    await one.clock.pass(3_700)
    assert.equal(one.result, undefined)
    await one.clock.pass(300)
    const { gapMs, gapFrom } = await one.outcome
    assert.deepEqual([gapMs, gapFrom], [500, 'seen'])
  })

  test('does not take the gate of an earlier term for that of the new one', async (t) => {
    const one = await Followed.begin(t)
    await one.step(() => {
      one.release()
      one.acquire('langflow-1')
      one.cluster.show('langflow-1', { ...LEADER, lease: { ...LEADER.lease, epoch: 6 } })
    })
    await one.step()
    assert.equal(one.phases().at(-1), 'acquired langflow-1')
  })

  test('goes on where the API server is away for a while', async (t) => {
    const one = await Followed.begin(t)
    await one.step((cluster) => {
      cluster.away = new OperationError('unreachable', 'cannot reach it')
    })
    one.cluster.away = null
    await one.step(() => {
      one.release()
      one.acquire('langflow-1')
      one.serve('langflow-1')
      one.cluster.remember({ epoch: 8, gapMs: 90 })
    })
    await one.step()
    assert.equal((await one.outcome).to, 'langflow-1')
  })

  test('ends with whoever serves where the one that was meant fails at it', async (t) => {
    const one = await Followed.begin(t)
    await one.step(() => {
      one.release()
      one.acquire('langflow-1')
    })
    await one.step(() => {
      one.cluster.write({ holderIdentity: '' })
      one.cluster.show('langflow-1', STANDBY)
    })
    await one.step(() => one.acquire('langflow-2', 9))
    await one.step(() => one.serve('langflow-2'))
    await one.step(({ remember }) => remember.call(one.cluster, { epoch: 9, gapMs: 700 }))
    const { to, epoch, gapMs } = await one.outcome
    assert.deepEqual([to, epoch, gapMs], ['langflow-2', 9, 700])
    const plan = {
      from: 'langflow-0',
      holder: '',
      epoch: 7,
      to: 'langflow-1',
      candidates: ['langflow-1'],
    } as const
    assert.ok(isElsewhere(await one.outcome, plan))
    assert.match(
      describeSwitched(await one.outcome, plan),
      /^langflow-2 leads and serves instead of langflow-0; nobody served for 0\.7 s \(detect .*\nlangflow-1 had the Lease before langflow-2: langflow-leader history says why its term ended\n$/,
    )
    assert.deepEqual(one.phases().slice(1), [
      'acquired langflow-1',
      'acquired langflow-2',
      'serving langflow-2',
    ])
  })

  test('ends with whoever serves at last, where the one that was meant served for a moment', async (t) => {
    const one = await Followed.begin(t)
    await one.step(() => {
      one.release()
      one.acquire('langflow-1')
      one.serve('langflow-1')
    })
    await one.step()
    await one.step(() => one.acquire('langflow-2', 9))
    await one.step(() => one.serve('langflow-2'))
    one.cluster.remember({ epoch: 9, gapMs: 700 })
    await one.step()
    assert.deepEqual((await one.outcome).to, 'langflow-2')
    assert.equal(one.phases().at(-1), 'serving langflow-2')
  })

  test('fails where the same one leads again', async (t) => {
    const one = await Followed.begin(t, '*')
    await one.step(() => {
      one.release()
      one.acquire('langflow-0')
    })
    await one.step(() => one.serve('langflow-0'))
    one.ctrlC.abort()
    const again = await one.outcome
    const plan = { from: 'langflow-0', holder: '', epoch: 7, to: '*', candidates: ['langflow-1'] } as const
    assert.ok(isElsewhere(again, plan))
    assert.match(
      describeSwitched(again, plan),
      /^langflow-0 leads and serves again; .*\nlangflow-1 was to lead/,
    )
  })

  test('and whose leader dies, ends with whoever follows it, and says so', async (t) => {
    const one = await Followed.begin(t)
    await one.step((cluster) => cluster.show('langflow-0', 'connection refused'))
    await one.clock.pass(15_000)
    await one.step(() => one.acquire('langflow-1'))
    await one.step(() => {
      one.serve('langflow-1')
      one.cluster.remember({ epoch: 8, gapMs: 15_500 }, { epoch: 7, endedBecause: 'expired' })
    })
    await one.step()
    const { crashed, gapMs } = await one.outcome
    assert.deepEqual([crashed, gapMs], [true, 15_500])
    const plan = { from: 'langflow-0', holder: '', epoch: 7, to: '*', candidates: ['langflow-1'] } as const
    assert.ok(!isElsewhere(await one.outcome, plan))
    assert.match(describeSwitched(await one.outcome, plan), /\nlangflow-0 ended before it could hand over/)
  })
})

describe('a switchover that is followed fails where', () => {
  test('the leader refuses it, with its reason', async (t) => {
    const one = await Followed.begin(t)
    const refused = { to: 'langflow-1', state: 'refused', reason: 'langflow-1 is not ready' } as const
    // Of an earlier request, as long as this one stands in the Lease.
    await one.step((cluster) => cluster.show('langflow-0', { ...LEADER, switchover: refused }))
    assert.equal(one.result, undefined)
    await one.step((cluster) => cluster.note({ [SWITCHOVER_TO]: null }))
    await one.step()
    const { code, message } = await one.failure()
    assert.equal(code, 'refused')
    assert.equal(message, 'langflow-0 refuses to hand over: langflow-1 is not ready')
  })

  test('somebody else takes it back', async (t) => {
    const one = await Followed.begin(t)
    await one.step((cluster) => cluster.note({ [SWITCHOVER_TO]: null }))
    await one.step()
    const { code, message } = await one.failure()
    assert.equal(code, 'refused')
    assert.equal(message, 'somebody else took the request back before langflow-0 had begun with it')
  })

  test('Ctrl-C comes before the leader has begun: the request is taken back', async (t) => {
    const one = await Followed.begin(t)
    await one.step()
    one.ctrlC.abort()
    await one.step()
    const { code, message } = await one.failure()
    assert.equal(code, 'interrupted')
    assert.equal(message, 'interrupted: the request is taken back')
    assert.deepEqual(one.cluster.annotations, {})
  })

  test('Ctrl-C comes afterwards: it says that it goes on', async (t) => {
    const one = await Followed.begin(t)
    await one.drain()
    one.ctrlC.abort()
    await one.step()
    const { code, message } = await one.failure()
    assert.equal(code, 'interrupted')
    assert.match(message, /^interrupted: langflow-0 had begun to hand over already, which goes on/)
  })

  test('Ctrl-C comes afterwards, and the leader answers no more: it says so as well', async (t) => {
    const one = await Followed.begin(t)
    await one.drain()
    await one.step((cluster) => cluster.show('langflow-0', 'connection refused'))
    one.ctrlC.abort()
    await one.step()
    assert.match((await one.failure()).message, /^interrupted: langflow-0 had begun/)
  })

  test('Ctrl-C came before it was written', async (t) => {
    const one = await Followed.begin(t)
    one.ctrlC.abort()
    const again = followSwitchover(
      one.cluster,
      one.clock,
      {
        from: 'langflow-0',
        holder: identityOf('langflow-0'),
        epoch: 7,
        to: 'langflow-1',
        candidates: ['langflow-1'],
      },
      { timeoutMs: 1_000, signal: one.ctrlC.signal, tell: () => {} },
    )
    await assert.rejects(again, { code: 'interrupted' })
  })

  test('nothing comes of it in time: the request is taken back', async (t) => {
    const one = await Followed.begin(t, 'langflow-1', 5_000)
    await one.clock.pass(4_900)
    assert.equal(one.result, undefined)
    await one.clock.pass(100)
    const { code, message } = await one.failure()
    assert.equal(code, 'timed_out')
    assert.equal(message, 'nobody else serves after 5s: the request is taken back')
    assert.deepEqual(one.cluster.annotations, {})
  })

  test('the API server stays away: it says so, and how to take the request back', async (t) => {
    const one = await Followed.begin(t, 'langflow-1', 5_000)
    one.cluster.away = new OperationError('unreachable', 'cannot reach it')
    await one.clock.pass(5_000)
    const { code, message } = await one.failure()
    assert.equal(code, 'timed_out')
    assert.match(
      message,
      /^nobody else serves after 5s: cannot reach it: the request could not be taken back: .* kubectl annotate/,
    )
  })

  test('but a Ctrl-C that comes when the other one serves already', async (t) => {
    const one = await Followed.begin(t)
    await one.step(() => {
      one.release()
      one.acquire('langflow-1')
      one.serve('langflow-1')
    })
    await one.step()
    one.ctrlC.abort()
    assert.equal((await one.outcome).gapFrom, 'seen')
  })
})
