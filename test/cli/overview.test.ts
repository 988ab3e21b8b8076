import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { overviewFrom, overviewOf, stateOf } from '../../agent/cli/overview.ts'
import type { Lease } from '../../agent/lease/lease.ts'
import type { AgentStatus, ReplicaRow } from '../../agent/observe/agent-status.ts'
import { FOLLOWING, SERVING, silent } from '../observe/replica.ts'
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

const PAUSED = { 'langflow-leader/paused': 'true' }
const THIRD = row('c', FOLLOWING)
const unready = (one: ReplicaRow) => changed(one, { couldTakeOver: false })
const starting = changed(LEADER, { traffic: { ...SERVING.traffic, gate: 'closed' } })

describe('it is as it should be', () => {
  const fine: [when: string, rows: ReplicaRow[]][] = [
    ['exactly one serves and another could take over', [LEADER, STANDBY]],
    ['one of the others could, whatever the rest is', [LEADER, silent('b'), THIRD]],
  ]
  for (const [when, rows] of fine)
    test(`where ${when}`, () => {
      const { ok, problems } = overviewOf(leaseWith(), rows, NOW)
      assert.deepEqual([ok, problems], [true, []])
    })

  const wrong: [when: string, rows: ReplicaRow[], lease: Lease, problems: string[]][] = [
    ['no replica is there', [], leaseWith(), ['no pod here competes for the Lease']],
    ['there is one alone', [LEADER], leaseWith(), ['no second replica is there to take over']],
    ['the other is not ready', [LEADER, unready(STANDBY)], leaseWith(), ['no other could take over']],
    ['the other is silent', [LEADER, silent('b')], leaseWith(), ['no other could take over']],
    [
      'another has another secret key',
      [changed(LEADER, { secretKeyDigest: 'one' }), changed(STANDBY, { secretKeyDigest: 'two' }), THIRD],
      leaseWith(),
      [
        "b could not read stored credentials: its LANGFLOW_SECRET_KEY is not the leader's; give all replicas the same, and restart them",
      ],
    ],
    [
      'whoever paused it by hand did not',
      [LEADER, STANDBY],
      leaseWith({ 'langflow-leader/paused': 'yes' }),
      [
        'the annotation langflow-leader/paused of the Lease is "yes", which pauses nothing: write exactly "true", or remove it',
      ],
    ],
    ['it is paused', [LEADER, STANDBY], leaseWith(PAUSED), ['it is paused: no takeover starts']],
    [
      'LangFlow does not serve yet',
      [changed(starting, { workload: { ...SERVING.workload, servedSince: null } }), STANDBY],
      leaseWith(),
      ['nobody serves: a holds the Lease, and is starting'],
    ],
    [
      'nobody holds the Lease',
      [STANDBY, THIRD],
      leaseWith({}, ''),
      ['nobody serves: the Lease has no holder'],
    ],
    [
      'its holder does not answer',
      [silent('a'), STANDBY],
      leaseWith(),
      ['nobody serves: a holds the Lease, and does not tell its status'],
    ],
    [
      'its holder is somebody else',
      [STANDBY, THIRD],
      leaseWith({}, 'x_1'),
      ['nobody serves: x holds the Lease, and is none of these replicas'],
    ],
    [
      'two say that they serve',
      [LEADER, changed(THIRD, { role: 'leader', traffic: SERVING.traffic, couldTakeOver: false }), STANDBY],
      leaseWith(),
      ['2 say that they lead: a and c', '2 serve at once: a and c'],
    ],
    [
      'one thinks that it leads still',
      [LEADER, changed(THIRD, { role: 'leader', couldTakeOver: false }), STANDBY],
      leaseWith(),
      ['2 say that they lead: a and c'],
    ],
  ]
  for (const [when, rows, lease, expected] of wrong)
    test(`not where ${when}`, () => {
      const { ok, problems } = overviewOf(lease, rows, NOW)
      assert.deepEqual([ok, problems], [false, expected])
    })
})

describe('an overview', () => {
  test('of a cluster has what the Lease says', () => {
    const notes = {
      ...PAUSED,
      'langflow-leader/pause-reason': 'backup',
      'langflow-leader/switchover-to': 'b',
    }
    const { lease, pause, switchover, replicas } = overviewOf(leaseWith(notes), [LEADER, STANDBY], NOW)
    const since = '2026-01-02T03:00:00.000000Z'
    assert.deepEqual(lease, {
      namespace: 'team',
      name: 'lock',
      holder: LEADER.status?.identity,
      epoch: 7,
      since,
    })
    assert.deepEqual(pause, { until: null, reason: 'backup' })
    assert.deepEqual(switchover, { to: 'b', state: 'requested', reason: null })
    assert.deepEqual(replicas, [LEADER, STANDBY])
  })

  test('has what the leader knows of a switchover rather than what was asked for', () => {
    const refused = { to: 'b', state: 'refused', reason: 'b is not ready' } as const
    const { switchover } = overviewOf(leaseWith(), [changed(LEADER, { switchover: refused }), STANDBY], NOW)
    assert.deepEqual(switchover, refused)
  })

  test('of replicas alone has what the leader says, else whoever answers', () => {
    const pause = { until: null, reason: null }
    const led = overviewFrom([silent('c'), STANDBY, changed(LEADER, { pause })])
    assert.deepEqual([led?.lease.epoch, led?.pause, led?.ok], [7, pause, false])
    assert.deepEqual(overviewFrom([silent('a'), STANDBY])?.problems, [
      'nobody serves: a holds the Lease, and does not tell its status',
    ])
    assert.equal(overviewFrom([silent('a')]), null)
  })

  test('takes a pause from the leader of the highest epoch', () => {
    const pause = { until: null, reason: 'backup' }
    const stale = changed(THIRD, { role: 'leader', lease: { ...SERVING.lease, epoch: 6 } })
    assert.deepEqual(overviewFrom([stale, changed(LEADER, { pause })])?.pause, pause)
  })
})

describe('the state of a replica', () => {
  const { leadership, workload, standby, langflow, traffic } = SERVING
  const closed = { ...traffic, gate: 'closed' } as const
  const unable = { ...FOLLOWING, couldTakeOver: false }
  const states: [expected: string, status: AgentStatus][] = [
    ['serving', SERVING],
    ['in doubt', { ...SERVING, leadership: { ...leadership, doubt: true } }],
    ['stepping down', { ...SERVING, traffic: closed, leadership: { ...leadership, steppingDown: 'x' } }],
    [
      'stepping down',
      {
        ...SERVING,
        traffic: closed,
        leadership: { ...leadership, steppingDown: 'x' },
        workload: { ...workload, state: 'stopping' },
      },
    ],
    ['stopping', { ...SERVING, traffic: closed, workload: { ...workload, state: 'stopping' } }],
    ['starting', { ...SERVING, traffic: closed, workload: { ...workload, servedSince: null } }],
    ['not healthy', { ...SERVING, traffic: closed }],
    [
      'not healthy',
      {
        ...SERVING,
        traffic: closed,
        pause: { until: null, reason: null },
        workload: { ...workload, state: 'idle', servedSince: null, healthy: false },
      },
    ],
    ['launcher silent', { ...SERVING, traffic: closed, workload: { ...workload, launcher: 'silent' } }],
    ['ready', FOLLOWING],
    ['launcher missing', { ...unable, workload: { ...FOLLOWING.workload, launcher: 'missing' } }],
    ['outdated', { ...unable, langflow: { ...langflow, outdated: true } }],
    ['cooling down', { ...unable, leadership: { ...FOLLOWING.leadership, coolDownMs: 900 } }],
    ['preparing', { ...unable, standby: { ...standby, state: 'preparing' } }],
    ['not ready', unable],
    ['unstoppable', { ...unable, workload: { ...FOLLOWING.workload, state: 'unstoppable' } }],
  ]
  for (const [expected, status] of states)
    test(`is ${expected}`, () => {
      assert.equal(stateOf(status), expected)
    })
})
