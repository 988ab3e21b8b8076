import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { OperationError } from '../../agent/cli/exit-codes.ts'
import {
  describePaused,
  describeResumed,
  isInForce,
  type PauseChange,
  pause,
  resume,
} from '../../agent/cli/pause.ts'
import { ApiError } from '../../agent/kube/kube-errors.ts'
import {
  PAUSE_REASON,
  PAUSED,
  PAUSED_UNTIL,
  pauseOf,
  SWITCHOVER_TO,
} from '../../agent/lease/operator-annotations.ts'
import { VirtualClock } from '../harness/virtual-clock.ts'
import { LEADER, ScriptedCluster, STANDBY } from './scripted-cluster.ts'

/** The leader's clock, not that of whoever pauses. */
const NOW = Date.parse(LEADER.now)
const inMs = (ms: number) => new Date(NOW + ms).toISOString()
const PODS = ['langflow-0', 'langflow-1', 'langflow-2']

/** Replicas that show at once what the Lease says. */
class Cluster extends ScriptedCluster {
  readonly clock = new VirtualClock()

  /** Those that see the Lease. */
  seeing = PODS

  override replicas = async () => {
    if (this.away) throw this.away
    const lease = await this.lease()
    for (const pod of this.seeing) this.showFrom(pod, (status) => ({ ...status, pause: pauseOf(lease, NOW) }))
    return this.rows
  }

  pause(request: { forMs?: number; reason?: string } = {}): Promise<PauseChange> {
    return pause(this, this.clock, { forMs: null, reason: null, ...request })
  }

  resume(): Promise<PauseChange> {
    return resume(this, this.clock)
  }
}

describe('a pause', () => {
  test('is three annotations, with its end by the clock of the leader', async () => {
    const cluster = new Cluster()
    const change = await cluster.pause({ forMs: 60_000, reason: 'upgrade' })
    assert.deepEqual(cluster.annotations, {
      [PAUSED]: 'true',
      [PAUSED_UNTIL]: inMs(60_000),
      [PAUSE_REASON]: 'upgrade',
    })
    assert.deepEqual(change, {
      before: null,
      after: { until: inMs(60_000), reason: 'upgrade' },
      leader: 'langflow-0',
      replicas: PODS.map((pod) => ({ pod, shows: true, problem: null })),
    })
    assert.match(
      describePaused(change),
      /^paused until 2026-01-02T03:05:05\.678Z \(upgrade\)\nlangflow-0 stays the leader; /,
    )
  })

  test('lasts until somebody resumes where no end is given', async () => {
    const cluster = new Cluster()
    await cluster.pause()
    assert.deepEqual(cluster.annotations, { [PAUSED]: 'true' })
  })

  test('that there is gets another end, and keeps its reason', async () => {
    const cluster = new Cluster()
    await cluster.pause({ forMs: 60_000, reason: 'upgrade' })
    const change = await cluster.pause({ forMs: 120_000 })
    assert.deepEqual(change.after, { until: inMs(120_000), reason: 'upgrade' })
    assert.match(
      describePaused(change),
      /^was paused until \S+ \(upgrade\); now paused until \S+ \(upgrade\)\n/,
    )
    const { after } = await cluster.pause({ reason: 'migration' })
    assert.deepEqual(after, { until: null, reason: 'migration' })
    assert.equal(cluster.annotations[PAUSED_UNTIL], undefined)
  })

  test('begins anew where the one that is noted is over', async () => {
    const cluster = new Cluster()
    cluster.note({ [PAUSED]: 'true', [PAUSED_UNTIL]: inMs(-1), [PAUSE_REASON]: 'old' })
    const { before, after } = await cluster.pause()
    assert.deepEqual([before, after], [null, { until: null, reason: null }])
  })

  test('is written once, whoever writes in between', async () => {
    const cluster = new Cluster()
    cluster.arriving = (attempt) => (attempt === 1 ? cluster.write({}) : undefined)
    await cluster.pause()
    assert.equal(cluster.written.length, 1)
  })

  test('that no answer comes to is given up at the second one, and may be written all the same', async () => {
    const cluster = new Cluster()
    let attempts = 0
    cluster.arriving = () => {
      attempts++
      return new ApiError('timeout', 'no answer', { mayHaveCommitted: true })
    }
    await assert.rejects(cluster.pause(), (error: OperationError) => {
      assert.equal(error.code, 'unreachable')
      assert.equal(error.message, 'no answer, 2 times in a row: it may have been written all the same')
      return true
    })
    assert.equal(attempts, 2)
  })

  test('is also possible where no replica leads, but is no success then', async () => {
    const cluster = new Cluster()
    cluster.write({ holderIdentity: '' })
    const change = await cluster.pause()
    assert.match(describePaused(change), /\nno replica leads, and none takes over until then: /)
    assert.equal(isInForce(change), false)
  })

  test('is told of the Lease as it is once the replicas show it, and not as it was written', async () => {
    const cluster = new Cluster()
    cluster.carriedOut = () => void setImmediate(() => cluster.write({ holderIdentity: '' }))
    cluster.seeing = []
    const change = cluster.pause()
    await cluster.clock.pass(250)
    cluster.seeing = PODS
    await cluster.clock.pass(250)
    assert.deepEqual([(await change).leader, isInForce(await change)], [null, false])
  })

  test('that a leader has removed again which handed over is none', async () => {
    const cluster = new Cluster()
    cluster.carriedOut = () =>
      void setImmediate(() => {
        cluster.note({ [PAUSED]: null })
        cluster.write({ holderIdentity: 'langflow-1_uid' })
      })
    cluster.seeing = []
    const pausing = cluster.pause()
    await cluster.clock.pass(500)
    const change = await pausing
    assert.deepEqual([change.after, change.leader, isInForce(change)], [null, 'langflow-1', false])
    assert.match(describePaused(change), /^not paused: the leader was handing over, .*; langflow-1 holds/)
  })

  test('is taken back where the leader turns out to hand over, whatever it has seen', async () => {
    const cluster = new Cluster()
    cluster.seeing = []
    const refused = assert.rejects(cluster.pause(), (error: OperationError) => {
      assert.equal(error.code, 'switchover')
      assert.match(error.message, /^langflow-0 hands over \(SIGTERM\), so the pause is taken back/)
      return true
    })
    await cluster.clock.pass(250)
    cluster.showFrom('langflow-0', (status) => ({
      ...status,
      leadership: { ...status.leadership, steppingDown: 'SIGTERM' },
    }))
    await cluster.clock.pass(250)
    await refused
    assert.deepEqual(cluster.annotations, {})
  })

  test('of a leader that does not answer, or whose pod is gone, is no success', async () => {
    for (const [change, said] of [
      [(cluster: Cluster) => cluster.show('langflow-0', 'refused'), /holds the Lease, and does not show/],
      [(cluster: Cluster) => cluster.write({ holderIdentity: 'gone_uid' }), /there is no such pod here/],
    ] as const) {
      const cluster = new Cluster()
      change(cluster)
      const pausing = cluster.pause()
      await cluster.clock.pass(5_000)
      assert.match(describePaused(await pausing), said)
      assert.equal(isInForce(await pausing), false)
    }
  })

  for (const [what, code, sentence, change] of [
    [
      'while a switchover is asked for',
      'switchover',
      /was asked for already: pause when it is over$/,
      (cluster: Cluster) => cluster.note({ [SWITCHOVER_TO]: 'langflow-1' }),
    ],
    [
      'while one is under way',
      'switchover',
      /is switching over to langflow-1 already/,
      (cluster: Cluster) =>
        cluster.show('langflow-0', {
          ...LEADER,
          switchover: { to: 'langflow-1', state: 'under way', reason: null },
        }),
    ],
    [
      'where a replica would not keep it',
      'too_old',
      /knows no pause would not keep it: update langflow-2 \(0\.0\.9\) first$/,
      (cluster: Cluster) => {
        const { pause: _, ...old } = { ...STANDBY, version: '0.0.9' }
        cluster.seeing = PODS.slice(0, 2)
        cluster.show('langflow-2', old as typeof STANDBY)
      },
    ],
    [
      'while the API server is away',
      'unreachable',
      /^cannot reach it$/,
      (cluster: Cluster) => {
        cluster.away = new OperationError('unreachable', 'cannot reach it')
      },
    ],
  ] as const) {
    test(`is refused ${what}`, async () => {
      const cluster = new Cluster()
      change(cluster)
      await assert.rejects(cluster.pause(), (error: OperationError) => {
        assert.equal(error.code, code)
        assert.match(error.message, sentence)
        return true
      })
      assert.deepEqual(cluster.written, [])
    })
  }
})

describe('the end of a pause', () => {
  test('removes all of it, also what is over, and nothing else', async () => {
    for (const until of [inMs(60_000), inMs(-60_000)]) {
      const cluster = new Cluster()
      cluster.note({ [PAUSED]: 'true', [PAUSED_UNTIL]: until, [PAUSE_REASON]: 'upgrade', other: 'kept' })
      const change = await cluster.resume()
      assert.deepEqual(cluster.annotations, { other: 'kept' })
      assert.deepEqual([change.before, change.after], [{ until, reason: 'upgrade' }, null])
      assert.match(describeResumed(change), /^resumed; it was paused until \S+ \(upgrade\)\n/)
    }
  })

  test('writes nothing where nothing is paused', async () => {
    const cluster = new Cluster()
    assert.match(describeResumed(await cluster.resume()), /^nothing was paused\n/)
    assert.deepEqual(cluster.written, [])
  })
})

describe('what the replicas show', () => {
  test('is waited for', async () => {
    const cluster = new Cluster()
    cluster.seeing = []
    const change = cluster.pause()
    await cluster.clock.pass(1_000)
    cluster.seeing = PODS
    await cluster.clock.pass(250)
    assert.ok(isInForce(await change))
  })

  test('is told of those that do not show it in time, and of those that do not answer', async () => {
    const cluster = new Cluster()
    cluster.seeing = ['langflow-0']
    cluster.show('langflow-2', 'connection refused')
    const change = cluster.pause()
    await cluster.clock.pass(5_000)
    const { replicas } = await change
    assert.deepEqual(
      replicas.map(({ shows }) => shows),
      [true, false, null],
    )
    assert.ok(!isInForce(await change))
    const text = describePaused(await change)
    assert.match(text, /\nshown by langflow-0\nNOT shown by langflow-1: /)
    assert.match(text, /\nlangflow-2 does not answer, so that nobody knows: connection refused\n$/)
  })

  test('is unknown where the API server goes away once it is written: it says that it is', async () => {
    const cluster = new Cluster()
    cluster.carriedOut = () => {
      setImmediate(() => {
        cluster.away = new OperationError('unreachable', 'cannot reach it')
      })
    }
    cluster.seeing = []
    const change = cluster.pause()
    const told = assert.rejects(change, /^FatalError: the Lease says so now, .* unknown: cannot reach it$/)
    await cluster.clock.pass(5_250)
    await told
    assert.deepEqual(cluster.annotations, { [PAUSED]: 'true' })
  })
})
