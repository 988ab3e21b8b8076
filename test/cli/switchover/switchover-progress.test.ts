import assert from 'node:assert/strict'
import { describe, type TestContext, test } from 'node:test'
import { OperationError } from '../../../agent/cli/exit-codes.ts'
import { type Plan, planOf, writeRequest } from '../../../agent/cli/switchover/switchover-plan.ts'
import {
  describeOutcome,
  followRequest,
  type Outcome,
  REQUESTED,
  step,
} from '../../../agent/cli/switchover/switchover-progress.ts'
import { type OperatorRequest, REQUESTS } from '../../../agent/lease/operator-annotations.ts'
import type { AgentStatus } from '../../../agent/status/agent-status.ts'
import { VirtualClock } from '../../harness/virtual-clock.ts'
import { identityOf, LEADER, ScriptedCluster, STANDBY } from '../scripted-cluster.ts'

const { workload, leadership, traffic } = LEADER
const DRAINING: AgentStatus = { ...LEADER, leadership: { ...leadership, steppingDown: 'switchover' } }
const WAITING: AgentStatus = {
  ...LEADER,
  leadership: { ...leadership, planned: { reason: 'switchover', leftMs: 23_400 } },
}
const STOPPED: AgentStatus = { ...DRAINING, workload: { ...workload, state: 'idle' } }
const NEW: AgentStatus = { ...LEADER, workload: { ...workload, orderedAt: 99 } }
const STARTING: AgentStatus = { ...NEW, traffic: { ...traffic, gate: 'closed' } }
const ASKED = {
  switchover: { what: 'switchover', to: 'langflow-1', reason: null, now: false },
  any: { what: 'switchover', to: '*', reason: null, now: false },
  failover: { what: 'failover', to: '*', reason: null, now: false },
  restart: { what: 'restart', to: '', reason: null, now: false },
} as const

type Event = (cluster: ScriptedCluster, asked: OperatorRequest) => void

const leader =
  (status: AgentStatus | string): Event =>
  (cluster) =>
    cluster.show('langflow-0', status)
const answered: Event = (cluster, { what }) => cluster.note({ [REQUESTS[what]]: null })
const released: Event = (cluster, asked) => {
  answered(cluster, asked)
  cluster.write({ holderIdentity: '' })
  cluster.show('langflow-0', STANDBY)
}
const acquired =
  (pod: string, epoch = 8): Event =>
  (cluster, asked) => {
    released(cluster, asked)
    cluster.write({ holderIdentity: identityOf(pod), leaseTransitions: epoch })
    cluster.show(pod, { ...STARTING, lease: { ...LEADER.lease, epoch }, workload })
  }
const serving =
  (pod: string): Event =>
  (cluster) =>
    cluster.showFrom(pod, (status) => ({ ...status, traffic: { ...status.traffic, gate: 'open' } }))
const recorded =
  (epoch: number, gapMs: number): Event =>
  (cluster) =>
    cluster.remember({ epoch, gapMs })
const refusing =
  (what: OperatorRequest['what']): Event =>
  (cluster) =>
    cluster.show('langflow-0', {
      ...LEADER,
      switchover: { what, to: '', state: 'refused', reason: 'not now' },
    })
const all =
  (...events: Event[]): Event =>
  (cluster, asked) => {
    for (const event of events) event(cluster, asked)
  }

/** `events`: what happens between two reads. `end`: the outcome, a part of the refusal, or `null` if it is not over. */
type Row = [
  asked: keyof typeof ASKED,
  name: string,
  events: readonly Event[],
  begun: boolean,
  end: Partial<Outcome> | string | null,
]

const allSilent: Event = (cluster) => void Object.assign(cluster, { rows: [] })
const [ACQUIRED, SERVES] = [acquired('langflow-1'), serving('langflow-1')]

const ROWS: readonly Row[] = [
  [
    'switchover',
    'the new leader has recorded the time without a server',
    [leader(DRAINING), leader(STOPPED), released, ACQUIRED, SERVES, recorded(8, 1_234)],
    true,
    { result: 'switched', from: 'langflow-0', to: 'langflow-1', epoch: 8, gapMs: 1_234 },
  ],
  [
    'any',
    'all between two reads',
    [all(acquired('langflow-2'), serving('langflow-2'), recorded(8, 90))],
    true,
    { result: 'switched', to: 'langflow-2', gapMs: 90 },
  ],
  ['switchover', 'the leader waits for a quiet moment', [leader(WAITING)], false, null],
  ['switchover', 'the leader has waited, and hands over', [leader(WAITING), leader(DRAINING)], true, null],
  [
    'switchover',
    'another operator withdraws it while the leader waits',
    [leader(WAITING), answered],
    false,
    'another operator',
  ],
  ['switchover', 'the new leader has not recorded it', [ACQUIRED, SERVES], true, null],
  [
    'switchover',
    'the requested replica fails, and another one serves',
    [all(ACQUIRED, SERVES), acquired('langflow-2', 9), serving('langflow-2'), recorded(9, 700)],
    true,
    { result: 'elsewhere', to: 'langflow-2', epoch: 9, gapMs: 700 },
  ],
  [
    'any',
    'the same replica leads again',
    [released, acquired('langflow-0'), serving('langflow-0'), recorded(8, 700)],
    true,
    { result: 'elsewhere', to: 'langflow-0' },
  ],
  ['switchover', 'an earlier refusal does not count', [refusing('switchover')], false, null],
  ['switchover', 'the leader refuses', [all(refusing('switchover'), answered)], false, 'not now'],
  ['any', 'another operator withdraws it', [answered], false, 'another operator'],
  ['switchover', 'a leader that does not answer may obey', [all(leader('timeout'), answered)], false, null],
  [
    'failover',
    'no replica answers: the Lease alone shows the outcome',
    [allSilent, released, ACQUIRED, recorded(8, 700)],
    true,
    { result: 'failed_over', to: 'langflow-1', gapMs: 700 },
  ],
  ['failover', 'the request is gone', [answered], false, 'another operator'],
  ['failover', 'the leader refuses', [all(refusing('failover'), answered)], false, 'not now'],
  [
    'restart',
    'the leader serves with a new LangFlow',
    [leader(WAITING), leader(DRAINING), all(leader(STOPPED), answered), leader(STARTING), leader(NEW)],
    true,
    { result: 'restarted', from: 'langflow-0', to: 'langflow-0', epoch: 7, gapMs: 750 },
  ],
  ['restart', 'LangFlow starts between two reads', [all(answered, leader(STARTING))], true, null],
  ['restart', 'the leader refuses', [all(refusing('restart'), answered)], false, 'not now'],
  ['restart', 'its request is gone, and it has not begun', [answered], false, null],
  ['restart', 'another replica leads', [ACQUIRED], true, 'no longer leads'],
]

/** The request as it is written, and a cluster in which it is. */
async function written(asked: OperatorRequest): Promise<{ cluster: ScriptedCluster; plan: Plan }> {
  const cluster = new ScriptedCluster()
  return { cluster, plan: await writeRequest(cluster, asked, 0) }
}

describe('the progress of a request', () => {
  for (const [asked, name, events, begun, end] of ROWS)
    test(`${asked}: ${name}`, async () => {
      const { cluster, plan } = await written(ASKED[asked])
      let progress = REQUESTED
      for (const [at, event] of events.entries()) {
        event(cluster, ASKED[asked])
        const [lease, rows] = [await cluster.lease(), await cluster.replicas()]
        progress = step(plan, progress, { lease, rows, afterMs: 250 * (at + 1) })
      }
      assert.equal(progress.begunMs !== null, begun)
      if (typeof end === 'string') assert.ok(progress.refusal?.includes(end), String(progress.refusal))
      else assert.equal(progress.refusal, null)
      if (end === null) assert.equal(progress.outcome, null)
      if (typeof end === 'object' && end !== null) assert.partialDeepStrictEqual(progress.outcome, end)
    })
})

/** A followed request on a virtual clock. */
async function followed(t: TestContext, asked: OperatorRequest = ASKED.switchover) {
  const { cluster, plan } = await written(asked)
  const clock = new VirtualClock()
  const ctrlC = new AbortController()
  const reported: string[] = []
  const outcome = followRequest(cluster, clock, plan, {
    timeoutMs: 5_000,
    signal: ctrlC.signal,
    report: (line) => void reported.push(line),
  })
  outcome.catch(() => {})
  t.after(() => clock.pass(10_000))
  return { cluster, clock, ctrlC, reported, outcome }
}

describe('a followed request', () => {
  test('survives an outage of the API server, and reports its wait and its beginning once', async (t) => {
    const { cluster, clock, reported, outcome } = await followed(t)
    cluster.away = new OperationError('unreachable', 'cannot reach it')
    await clock.pass(500)
    cluster.away = null
    cluster.show('langflow-0', WAITING)
    await clock.pass(1_000)
    all(acquired('langflow-1'), serving('langflow-1'))(cluster, ASKED.switchover)
    await clock.pass(1_000)
    cluster.remember({ epoch: 8, gapMs: 1_234 })
    await clock.pass(250)
    assert.deepEqual(
      [...reported, ...describeOutcome(await outcome)],
      [
        '      0s  langflow-0 is asked for a switchover to langflow-1',
        '   750ms  waiting for a quiet moment: 0 requests in flight, 24 s left',
        '    1.8s  langflow-0 has begun',
        'langflow-1 serves instead of langflow-0; no replica served for 1.2s',
      ],
    )
  })

  for (const [cause, begun] of [
    ['timed_out', false],
    ['interrupted', false],
    ['interrupted', true],
  ] as const)
    test(`is withdrawn: ${cause}${begun ? ', after the leader has begun' : ''}`, async (t) => {
      const { cluster, clock, ctrlC, outcome } = await followed(t)
      if (begun) cluster.show('langflow-0', DRAINING)
      await clock.pass(250)
      if (cause === 'interrupted') ctrlC.abort()
      await clock.pass(cause === 'interrupted' ? 250 : 5_000)
      await assert.rejects(outcome, { code: cause, message: begun ? /which continues/ : /was withdrawn/ })
      assert.deepEqual(cluster.annotations, {})
    })

  test('of a failover that the leader ignores names the last resort', async (t) => {
    const { clock, outcome } = await followed(t, ASKED.failover)
    await clock.pass(5_250)
    const message = /kubectl delete pod langflow-0 --namespace=team$/
    await assert.rejects(outcome, { code: 'timed_out', message })
  })
})

test('the result for people names the leader, and a replica that did not become it', async () => {
  const plan = planOf(ASKED.switchover, await new ScriptedCluster().lease(), new ScriptedCluster().rows, 0)
  const about = { asked: plan.to, from: plan.from, epoch: 8, gapMs: null }
  const texts = [
    describeOutcome({ ...about, result: 'elsewhere', to: 'langflow-2' }),
    describeOutcome({ ...about, result: 'elsewhere', to: 'langflow-0', asked: '*' }),
    describeOutcome({ ...about, result: 'restarted', to: 'langflow-0', gapMs: 1_000 }),
  ]
  assert.deepEqual(texts, [
    [
      'langflow-2 serves instead of langflow-0',
      'langflow-1 did not become the leader: see langflow-leader history',
    ],
    [
      'langflow-0 serves again',
      'the best prepared replica did not become the leader: see langflow-leader history',
    ],
    ['langflow-0 serves with a new LangFlow; no replica served for about 1s'],
  ])
})
