import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { overviewFrom, overviewOf, stateOf } from '../../agent/cli/overview.ts'
import type { Lease } from '../../agent/lease/lease.ts'
import { encodeHistory, HISTORY } from '../../agent/lease/lease-history.ts'
import type { AgentStatus, ReplicaRow } from '../../agent/status/agent-status.ts'
import { FOLLOWING, SERVING, silent, TERM } from '../observe/replica.ts'
import { changed, LEADER, row, STANDBY } from './agents.ts'

const NOW = Date.parse('2026-01-02T03:04:05Z')

function leaseWith(annotations: Record<string, string> = {}, holder = LEADER.status?.identity): Lease {
  return {
    metadata: { namespace: 'team', name: 'lock', annotations },
    spec: {
      holderIdentity: holder ?? '',
      leaseTransitions: 7,
      acquireTime: '2026-01-02T03:00:00.000000Z',
      leaseDurationSeconds: 15,
    },
  }
}

const ENDED = { ...TERM, ended: '2026-01-02T03:04:00Z', endedBecause: 'workload_exited' } as const
const PAUSED = { 'langflow-leader/paused': 'true' }
const THIRD = row('c', FOLLOWING)
const unready = (one: ReplicaRow) => changed(one, { couldTakeOver: false })
const starting = changed(LEADER, { traffic: { ...SERVING.traffic, gate: 'closed' } })

describe('the overview of replicas', () => {
  const fine: [when: string, rows: ReplicaRow[]][] = [
    ['exactly one replica serves and another could take over', [LEADER, STANDBY]],
    ['one standby could take over, even if another is silent', [LEADER, silent('b'), THIRD]],
  ]
  for (const [when, rows] of fine)
    test(`is ok if ${when}`, () => {
      const { ok, problems } = overviewOf(leaseWith(), rows, NOW)
      assert.deepEqual([ok, problems], [true, []])
    })

  const otherKey = changed(STANDBY, { secretKeyDigest: 'two' })
  const withKey = changed(LEADER, { secretKeyDigest: 'one' })
  const beforeStart = changed(starting, { workload: { ...SERVING.workload, servedSince: null } })
  const second = { role: 'leader', couldTakeOver: false } as const
  const alsoServes = changed(THIRD, { ...second, traffic: SERVING.traffic })
  const sees = (freeInMs: number) => changed(STANDBY, { lease: { ...FOLLOWING.lease, freeInMs } })
  const restarted = changed(STANDBY, { lease: { ...FOLLOWING.lease, holder: 'b_uid' } })
  const inDoubt = changed(starting, { leadership: { ...SERVING.leadership, doubt: true } })
  const released = leaseWith({ [HISTORY]: encodeHistory([ENDED]) }, '')
  const RESTARTED = /^no replica serves: b .* has restarted, and does not lead; takeover in about 14 s unless/
  const EARLIER = /^no replica serves: an earlier pod b holds the Lease; takeover in about 9 s unless/
  const IN_DOUBT = /^no replica serves: a .* in doubt; takeover in about 14 s unless the Lease is renewed$/
  const RELEASED = /no holder; langflow-0 led until 2026-01-02T03:04:00Z \(workload_exited\)$/
  const misspelled = leaseWith({ 'langflow-leader/paused': 'yes' })
  const wrong: [when: string, rows: ReplicaRow[], problems: RegExp, lease?: Lease][] = [
    ['there is no replica', [], /^no pod .* competes/],
    ['there is only one replica', [LEADER], /no second replica/],
    ['the only other replica is not ready', [LEADER, unready(STANDBY)], /^no other replica can take over$/],
    ['the only other replica is silent', [LEADER, silent('b')], /^no other replica can take over$/],
    ['a standby has another secret key', [withKey, otherKey, THIRD], /^b cannot read .*LANGFLOW_SECRET_KEY/],
    ['its pause has an invalid value', [LEADER, STANDBY], /"yes", which has no effect/, misspelled],
    ['takeovers are paused', [LEADER, STANDBY], /^takeovers are paused/, leaseWith(PAUSED)],
    ['LangFlow does not serve yet', [beforeStart, STANDBY], /^no replica serves: a .* is starting$/],
    ['there is no holder', [STANDBY, THIRD], /^no replica serves: .* no holder$/, leaseWith({}, '')],
    [
      'the holder does not answer',
      [silent('a'), STANDBY],
      /^no replica serves: a .* does not report its status/,
    ],
    [
      'the holder has no pod',
      [STANDBY, THIRD],
      /^no replica serves: x .* no such replica/,
      leaseWith({}, 'x_1'),
    ],
    ['the agent of the holder has restarted', [restarted, THIRD], RESTARTED, leaseWith({}, 'b_uid')],
    ['an earlier pod of its name is the holder', [sees(8_200)], EARLIER, leaseWith({}, 'b_earlier')],
    ['the Lease of the holder has expired', [silent('a'), sees(0)], /its status; a takeover is due$/],
    ['the leader is in doubt', [inDoubt, STANDBY], IN_DOUBT],
    [
      'the holder is silent during a pause',
      [silent('a'), STANDBY],
      /its status; takeovers are paused/,
      leaseWith(PAUSED),
    ],
    ['the last leader has released the Lease', [STANDBY, THIRD], RELEASED, released],
    [
      'two replicas serve',
      [LEADER, alsoServes, STANDBY],
      /^2 replicas .* lead: a and c; 2 .* time: a and c$/,
    ],
    [
      'two replicas lead',
      [LEADER, changed(THIRD, second), STANDBY],
      /^2 replicas report that they lead: a and c$/,
    ],
  ]
  for (const [when, rows, expected, lease = leaseWith()] of wrong)
    test(`is not ok if ${when}`, () => {
      const { ok, problems } = overviewOf(lease, rows, NOW)
      assert.equal(ok, false)
      assert.match(problems.join('; '), expected)
    })
})

describe('the overview', () => {
  test('of a cluster shows the values of the Lease', () => {
    const notes = {
      ...PAUSED,
      'langflow-leader/pause-reason': 'backup',
      'langflow-leader/switchover-to': 'b',
    }
    const { lease, pause, switchover, replicas } = overviewOf(leaseWith(notes), [LEADER, STANDBY], NOW)
    const since = '2026-01-02T03:00:00.000000Z'
    const holder = LEADER.status?.identity
    assert.deepEqual(lease, { namespace: 'team', name: 'lock', holder, epoch: 7, since })
    assert.deepEqual(pause, { until: null, reason: 'backup' })
    assert.deepEqual(switchover, { what: 'switchover', to: 'b', state: 'requested', reason: null })
    assert.deepEqual(replicas, [LEADER, STANDBY])
  })

  test('shows the switchover as the leader reports it, not as requested', () => {
    const refused = { what: 'switchover', to: 'b', state: 'refused', reason: 'b is not ready' } as const
    const { switchover } = overviewOf(leaseWith(), [changed(LEADER, { switchover: refused }), STANDBY], NOW)
    assert.deepEqual(switchover, refused)
  })

  test('of replicas without a cluster shows the values of the leader, or of any replica that answers', () => {
    const pause = { until: null, reason: null }
    const led = overviewFrom([silent('c'), STANDBY, changed(LEADER, { pause })])
    assert.deepEqual([led.lease.epoch, led.pause, led.ok], [7, pause, false])
    assert.equal(overviewFrom([silent('a'), STANDBY]).lease.epoch, 7)
    assert.throws(() => overviewFrom([silent('a')]), { code: 'unreachable' })
  })

  test('takes a pause from the leader of the highest epoch', () => {
    const pause = { until: null, reason: 'backup' }
    const stale = changed(THIRD, { role: 'leader', lease: { ...SERVING.lease, epoch: 6 } })
    assert.deepEqual(overviewFrom([stale, changed(LEADER, { pause })]).pause, pause)
  })
})

describe('the state of a replica', () => {
  const { leadership, workload, traffic } = SERVING
  const closed = { ...traffic, gate: 'closed' } as const
  const unable = { ...FOLLOWING, couldTakeOver: false }
  const ended = { ...workload, state: 'idle', servedSince: null, healthy: false } as const
  const states: [expected: string, status: AgentStatus][] = [
    ['serving', SERVING],
    ['in doubt', { ...SERVING, leadership: { ...leadership, doubt: true } }],
    ['stepping down', { ...SERVING, traffic: closed, leadership: { ...leadership, steppingDown: 'x' } }],
    ['starting', { ...SERVING, traffic: closed, workload: { ...workload, servedSince: null } }],
    ['not healthy', { ...SERVING, traffic: closed }],
    ['not healthy', { ...SERVING, traffic: closed, pause: { until: null, reason: null }, workload: ended }],
    ['ready', FOLLOWING],
    ['not ready', unable],
    ['unstoppable', { ...unable, workload: { ...FOLLOWING.workload, state: 'unstoppable' } }],
  ]
  for (const [expected, status] of states)
    test(`is ${expected}`, () => {
      assert.equal(stateOf(status), expected)
    })
})
