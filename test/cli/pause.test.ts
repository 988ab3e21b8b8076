import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { OperationError } from '../../agent/cli/exit-codes.ts'
import { describeChange, isInForce, type PauseChange, pause, resume } from '../../agent/cli/pause.ts'
import {
  PAUSE_REASON,
  PAUSED,
  PAUSED_UNTIL,
  pauseOf,
  SWITCHOVER_TO,
} from '../../agent/lease/operator-annotations.ts'
import { VirtualClock } from '../harness/virtual-clock.ts'
import { LEADER, ScriptedCluster } from './scripted-cluster.ts'

/** The time of the leader's clock, which differs from that of this machine. */
const NOW = Date.parse(LEADER.now)
const inMs = (ms: number) => new Date(NOW + ms).toISOString()
const PODS = ['langflow-0', 'langflow-1', 'langflow-2']

/** Replicas that show the pause immediately. */
class Cluster extends ScriptedCluster {
  readonly clock = new VirtualClock()

  /** The replicas that read the Lease. */
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

const describePaused = (change: PauseChange) => describeChange(change, true)
const describeResumed = (change: PauseChange) => describeChange(change, false)

const AWAY = new OperationError('unreachable', 'cannot reach it')

describe('a pause', () => {
  test('writes three annotations, with the end by the leader’s clock', async () => {
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
    assert.match(describePaused(change), /^paused until 2026-\S+ \(upgrade\)\nlangflow-0 stays the leader/)
  })

  test('gets a new end and keeps its reason if it is already in force', async () => {
    const cluster = new Cluster()
    await cluster.pause({ forMs: 60_000, reason: 'upgrade' })
    const change = await cluster.pause({ forMs: 120_000 })
    assert.deepEqual(change.after, { until: inMs(120_000), reason: 'upgrade' })
    const { after } = await cluster.pause({ reason: 'migration' })
    assert.deepEqual(after, { until: null, reason: 'migration' })
    assert.equal(cluster.annotations[PAUSED_UNTIL], undefined)
  })

  test('starts anew if the recorded pause has expired', async () => {
    const cluster = new Cluster()
    cluster.note({ [PAUSED]: 'true', [PAUSED_UNTIL]: inMs(-1), [PAUSE_REASON]: 'old' })
    const { before, after } = await cluster.pause()
    assert.deepEqual([before, after], [null, { until: null, reason: null }])
  })

  test('is written if no replica leads, but does not count as in force', async () => {
    const cluster = new Cluster()
    cluster.write({ holderIdentity: '' })
    const change = await cluster.pause()
    assert.match(describePaused(change), /\nno replica leads/)
    assert.equal(isInForce(change, true), false)
  })

  test('is reported from the Lease at the time when the replicas show it, not as it was written', async () => {
    const cluster = new Cluster()
    cluster.carriedOut = () => void setImmediate(() => cluster.write({ holderIdentity: '' }))
    cluster.seeing = []
    const change = cluster.pause()
    await cluster.clock.pass(250)
    cluster.seeing = PODS
    await cluster.clock.pass(250)
    assert.deepEqual([(await change).leader, isInForce(await change, true)], [null, false])
  })

  test('that the leader removed because of a handover is reported as not paused', async () => {
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
    assert.deepEqual([change.after, change.leader, isInForce(change, true)], [null, 'langflow-1', false])
    assert.match(describePaused(change), /^not paused/)
  })

  test('does not count as in force if the leader does not answer, or its pod is gone', async () => {
    for (const [change, said] of [
      [
        (cluster: Cluster) => cluster.show('langflow-0', 'refused'),
        /langflow-0 does not show the change: refused/,
      ],
      [(cluster: Cluster) => cluster.write({ holderIdentity: 'gone_uid' }), /no such replica/],
    ] as const) {
      const cluster = new Cluster()
      change(cluster)
      const pausing = cluster.pause()
      await cluster.clock.pass(5_000)
      assert.match(describePaused(await pausing), said)
      assert.equal(isInForce(await pausing, true), false)
    }
  })

  for (const [what, code, word, change] of [
    [
      'while a switchover is requested',
      'switchover',
      /is already requested/,
      (cluster: Cluster) => cluster.note({ [SWITCHOVER_TO]: 'langflow-1' }),
    ],
    [
      'while the API server is away',
      'unreachable',
      /cannot reach it/,
      (cluster: Cluster) => {
        cluster.away = AWAY
      },
    ],
  ] as const) {
    test(`is refused ${what}`, async () => {
      const cluster = new Cluster()
      change(cluster)
      await assert.rejects(cluster.pause(), { code, message: word })
      assert.deepEqual(cluster.written, [])
    })
  }
})

describe('the end of a pause', () => {
  test('removes all annotations of a pause, even of an expired one, and no others', async () => {
    for (const until of [inMs(60_000), inMs(-60_000)]) {
      const cluster = new Cluster()
      cluster.note({ [PAUSED]: 'true', [PAUSED_UNTIL]: until, [PAUSE_REASON]: 'upgrade', other: 'kept' })
      const change = await cluster.resume()
      assert.deepEqual(cluster.annotations, { other: 'kept' })
      assert.deepEqual([change.before, change.after], [{ until, reason: 'upgrade' }, null])
      assert.match(describeResumed(change), /^resumed; takeovers were paused until \S+ \(upgrade\)\n/)
    }
  })

  test('writes nothing if the replicas cannot be read', async () => {
    const cluster = new Cluster()
    cluster.note({ [PAUSED]: 'true' })
    cluster.replicas = async () => {
      throw AWAY
    }
    await assert.rejects(cluster.resume(), { code: 'unreachable' })
    assert.deepEqual([cluster.written, cluster.annotations], [[], { [PAUSED]: 'true' }])
  })

  test('writes nothing if there is no pause', async () => {
    const cluster = new Cluster()
    assert.match(describeResumed(await cluster.resume()), /^there was no pause\n/)
    assert.deepEqual(cluster.written, [])
  })
})

describe('the replicas', () => {
  test('that do not show the pause in time, or do not answer, are named', async () => {
    const cluster = new Cluster()
    cluster.seeing = ['langflow-0']
    cluster.show('langflow-2', 'connection refused')
    const pausing = cluster.pause()
    await cluster.clock.pass(5_000)
    const change = await pausing
    assert.deepEqual(
      change.replicas.map(({ shows }) => shows),
      [true, false, null],
    )
    assert.equal(isInForce(change, true), false)
    const text = describePaused(change)
    assert.match(
      text,
      /\nlangflow-1 does not show the change: .*\nlangflow-2 does not show the change: connection refused\n$/,
    )
  })

  test('are unknown if the API server goes away after the write', async () => {
    const cluster = new Cluster()
    cluster.carriedOut = () => {
      setImmediate(() => {
        cluster.away = AWAY
      })
    }
    cluster.seeing = []
    const unknown = assert.rejects(cluster.pause(), { message: /was written.*: cannot reach it/ })
    await cluster.clock.pass(5_250)
    await unknown
    assert.deepEqual(cluster.annotations, { [PAUSED]: 'true' })
  })
})
