import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { OperationError } from '../../../agent/cli/exit-codes.ts'
import { textOf } from '../../../agent/cli/output.ts'
import {
  describeChange,
  isInForce,
  type PauseChange,
  pause,
  resume,
} from '../../../agent/cli/switchover/pause.ts'
import {
  PAUSE_REASON,
  PAUSED,
  PAUSED_UNTIL,
  pauseOf,
  SWITCHOVER_TO,
} from '../../../agent/lease/operator-annotations.ts'
import { VirtualClock } from '../../harness/virtual-clock.ts'
import { LEADER, ScriptedCluster } from '../scripted-cluster.ts'

/** The time of the leader's clock, which differs from that of this machine. */
const NOW = Date.parse(LEADER.now)
const inMs = (ms: number) => new Date(NOW + ms).toISOString()
const AWAY = new OperationError('unreachable', 'cannot reach it')

/** Replicas that show the pause immediately. */
class Cluster extends ScriptedCluster {
  readonly clock = new VirtualClock()
  /** The replicas that read the Lease. */
  seeing = ['langflow-0', 'langflow-1', 'langflow-2']

  override replicas = async () => {
    if (this.away) throw this.away
    const lease = await this.lease()
    for (const pod of this.seeing) this.showFrom(pod, (status) => ({ ...status, pause: pauseOf(lease, NOW) }))
    return this.rows
  }

  /** Waits until the replicas have had the time to show it. */
  async pause(request: { forMs?: number; reason?: string } = {}): Promise<PauseChange> {
    const change = pause(this, this.clock, { forMs: null, reason: null, ...request })
    change.catch(() => {})
    await this.clock.pass(5_250)
    return change
  }
}

describe('a pause', () => {
  test('writes three annotations, with the end by the leader’s clock', async () => {
    const cluster = new Cluster()
    const { before, after, leader, replicas } = await cluster.pause({ forMs: 60_000, reason: 'upgrade' })
    const written = { [PAUSED]: 'true', [PAUSED_UNTIL]: inMs(60_000), [PAUSE_REASON]: 'upgrade' }
    assert.deepEqual(cluster.annotations, written)
    assert.deepEqual([before, after], [null, { until: inMs(60_000), reason: 'upgrade' }])
    assert.deepEqual([leader, replicas.map(({ shows }) => shows)], ['langflow-0', [true, true, true]])
  })

  test('gets a new end and keeps its reason if it is in force, and starts anew if it has expired', async () => {
    const cluster = new Cluster()
    await cluster.pause({ forMs: 60_000, reason: 'upgrade' })
    assert.deepEqual((await cluster.pause()).after, { until: null, reason: 'upgrade' })
    cluster.note({ [PAUSED_UNTIL]: inMs(-1) })
    assert.deepEqual((await cluster.pause()).after, { until: null, reason: null })
  })

  const holder = (holderIdentity: string) => (cluster: Cluster) => cluster.write({ holderIdentity })
  const silent = (pod: string) => (cluster: Cluster) => cluster.show(pod, 'refused')
  const after = (happens: (cluster: Cluster) => void) => (cluster: Cluster) => {
    cluster.carriedOut = () => happens(cluster)
  }
  const blind = (cluster: Cluster) => void cluster.seeing.splice(1, 1)
  const ended = after((cluster) => cluster.note({ [PAUSED]: null }))
  const leads = /^paused until an operator resumes\nlangflow-0 stays the leader/
  const rows: [when: string, change: (cluster: Cluster) => void, inForce: boolean, line: RegExp][] = [
    ['all replicas show it', () => {}, true, leads],
    ['no replica leads', holder(''), false, /\nno replica leads/],
    ['the pod of the leader is gone', holder('gone_uid'), false, /no such replica/],
    ['the leader does not answer', silent('langflow-0'), false, /langflow-0 does not .*: refused/],
    ['a follower does not answer', silent('langflow-2'), true, /langflow-2 does not .*: refused/],
    ['a follower does not show it in time', blind, false, /langflow-1 does not show the change: /],
    ['the leader releases the Lease meanwhile', after(holder('')), false, /\nno replica leads/],
    ['the leader removes it because of a handover', ended, false, /^not paused/],
  ]
  for (const [when, change, inForce, line] of rows)
    test(`is ${inForce ? '' : 'not '}in force if ${when}`, async () => {
      const cluster = new Cluster()
      change(cluster)
      const result = await cluster.pause()
      assert.equal(isInForce(result, true), inForce)
      assert.match(textOf(describeChange(result, true)), line)
    })

  test('is refused while a switchover is requested, and while the API server is away', async () => {
    const [busy, away, lost] = [new Cluster(), new Cluster(), new Cluster()]
    busy.note({ [SWITCHOVER_TO]: 'langflow-1' })
    await assert.rejects(busy.pause(), { code: 'switchover' })
    away.away = AWAY
    await assert.rejects(away.pause(), { code: 'unreachable' })
    assert.deepEqual([busy.written, away.written], [[], []])
    lost.carriedOut = () => void setImmediate(() => Object.assign(lost, { away: AWAY }))
    lost.seeing = []
    await assert.rejects(lost.pause(), { code: 'unreachable', message: /was written/ })
  })
})

describe('the end of a pause', () => {
  test('removes all annotations of a pause, even of an expired one, and no others', async () => {
    for (const until of [inMs(60_000), inMs(-60_000)]) {
      const cluster = new Cluster()
      cluster.note({ [PAUSED]: 'true', [PAUSED_UNTIL]: until, [PAUSE_REASON]: 'upgrade', other: 'kept' })
      const change = await resume(cluster, cluster.clock)
      assert.deepEqual(cluster.annotations, { other: 'kept' })
      assert.deepEqual([change.before, change.after], [{ until, reason: 'upgrade' }, null])
      assert.match(
        textOf(describeChange(change, false)),
        /^resumed; takeovers were paused until \S+ \(upgrade\)\n/,
      )
    }
  })

  test('writes nothing if the replicas cannot be read, or there is no pause', async () => {
    const [silent, none] = [new Cluster(), new Cluster()]
    silent.note({ [PAUSED]: 'true' })
    silent.replicas = async () => Promise.reject(AWAY)
    await assert.rejects(resume(silent, silent.clock), { code: 'unreachable' })
    assert.match(textOf(describeChange(await resume(none, none.clock), false)), /^there was no pause\n/)
    assert.deepEqual([silent.written, none.written], [[], []])
  })
})
