import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { OperationError } from '../../agent/cli/exit-codes.ts'
import { readPlan, writeRequest } from '../../agent/cli/request-run.ts'
import { type Plan, withdraw } from '../../agent/cli/switchover.ts'
import { switchover } from '../../agent/cli/switchover-progress.ts'
import { ApiError } from '../../agent/kube/kube-errors.ts'
import {
  PAUSE_REASON,
  PAUSED,
  REQUEST_REASON,
  SWITCHOVER_TO,
} from '../../agent/lease/operator-annotations.ts'
import type { AgentStatus } from '../../agent/status/agent-status.ts'
import { VirtualClock } from '../harness/virtual-clock.ts'
import { identityOf, LEADER, row, ScriptedCluster, STANDBY } from './scripted-cluster.ts'

const clock = new VirtualClock()
/** A request without a reason removes that of an earlier request. */
const WRITTEN = { [SWITCHOVER_TO]: 'langflow-1', [REQUEST_REASON]: null }
const UNREADY: AgentStatus = { ...STANDBY, couldTakeOver: false, unable: 'its standby is starting' }

const request = (cluster: ScriptedCluster, to = 'langflow-1', planned: Plan | null = null) =>
  writeRequest(cluster, switchover(to, null, clock), planned)

type Refusal = readonly [code: string, word: RegExp, change: (cluster: ScriptedCluster) => void, to?: string]

const timeout = () => new ApiError('timeout', 'no answer', { mayHaveCommitted: true })
const nothing = () => {}
const alone = (cluster: ScriptedCluster) => {
  cluster.rows = [row('langflow-0', LEADER)]
}
const leaderIs = (change: Partial<AgentStatus> | string) => (cluster: ScriptedCluster) =>
  cluster.show('langflow-0', typeof change === 'string' ? change : { ...LEADER, ...change })

describe('a switchover is refused without a write if', () => {
  const refusals: Readonly<Record<string, Refusal>> = {
    'no replica has that name': ['unknown_pod', /langflow-1 and langflow-2$/, nothing, 'langflow-7'],
    'the replica already leads': ['already_leads', /^langflow-0 already leads/, nothing, 'langflow-0'],
    'the replica is not ready': [
      'not_ready',
      /^langflow-1 cannot take over: its standby is starting$/,
      (cluster) => cluster.show('langflow-1', UNREADY),
    ],
    'the replica does not answer': [
      'not_ready',
      /connection refused$/,
      (cluster) => cluster.show('langflow-1', 'connection refused'),
    ],
    'no other replica could take over': [
      'not_ready',
      /langflow-1: its standby is starting; langflow-2: gone$/,
      (cluster) => {
        cluster.show('langflow-1', UNREADY)
        cluster.show('langflow-2', 'gone')
      },
      '*',
    ],
    'there is no other replica': ['not_ready', /only one replica/, alone, '*'],
    'there is no leader': [
      'nobody_leads',
      /no replica leads/,
      (cluster) => cluster.write({ holderIdentity: '' }),
    ],
    'the leader has no pod': [
      'leader_silent',
      /no such replica/,
      (cluster) => cluster.write({ holderIdentity: identityOf('langflow-9') }),
    ],
    'the holder is an earlier pod with the same name': [
      'leader_silent',
      /langflow-0 holds the Lease, .* no such replica/,
      (cluster) => cluster.write({ holderIdentity: 'langflow-0_earlier' }),
    ],
    "the leader's agent has restarted": [
      'leader_silent',
      /^langflow-0 holds the Lease, but its agent has restarted/,
      leaderIs({ role: 'follower', lease: { ...LEADER.lease, holder: identityOf('langflow-0') } }),
    ],
    'the leader does not answer': ['leader_silent', /: connection refused$/, leaderIs('connection refused')],
    'takeovers are paused': [
      'paused',
      /\(upgrade\): run langflow-leader resume/,
      (cluster) => cluster.note({ [PAUSED]: 'true', [PAUSE_REASON]: 'upgrade' }),
    ],
    'another switchover is requested': [
      'switchover',
      /from langflow-0 to langflow-2 is already requested/,
      (cluster) => cluster.note({ [SWITCHOVER_TO]: 'langflow-2' }),
    ],
    'another switchover is under way': [
      'switchover',
      /is already under way/,
      leaderIs({ switchover: { what: 'switchover', to: '*', state: 'under way', reason: null } }),
    ],
    'the leader hands over for another reason': [
      'switchover',
      /is already handing over \(SIGTERM\)/,
      leaderIs({ leadership: { ...LEADER.leadership, steppingDown: 'SIGTERM' } }),
    ],
    'other writers change the Lease three times in a row': [
      'conflict',
      /3 times in a row: try again/,
      (cluster) => {
        cluster.arriving = () => cluster.write({})
      },
    ],
  }
  for (const [what, [code, word, change, to]] of Object.entries(refusals)) {
    test(what, async () => {
      const cluster = new ScriptedCluster()
      change(cluster)
      const before = cluster.annotations
      await assert.rejects(request(cluster, to), { code, message: word })
      assert.deepEqual([cluster.written, cluster.annotations], [[], before])
    })
  }
})

describe('a switchover is requested', () => {
  test('by one annotation, with the name of a pod or *', async () => {
    const cluster = new ScriptedCluster()
    const plan = await request(cluster)
    assert.deepEqual(plan, {
      from: 'langflow-0',
      holder: identityOf('langflow-0'),
      epoch: 7,
      to: 'langflow-1',
      candidates: ['langflow-1'],
    })
    assert.deepEqual(cluster.written, [WRITTEN])
    const other = new ScriptedCluster()
    other.show('langflow-2', UNREADY)
    assert.deepEqual((await request(other, '*')).candidates, ['langflow-1'])
    assert.deepEqual(other.written, [{ ...WRITTEN, [SWITCHOVER_TO]: '*' }])
  })

  test('by only one of two operators; the other gets an error', async () => {
    const cluster = new ScriptedCluster()
    const outcomes = await Promise.allSettled([request(cluster), request(cluster, 'langflow-2')])
    const lost = outcomes.find(({ status }) => status === 'rejected') as PromiseRejectedResult
    assert.equal(outcomes.filter(({ status }) => status === 'fulfilled').length, 1)
    assert.equal(cluster.written.length, 1)
    assert.equal(lost.reason.code, 'switchover')
    assert.match(lost.reason.message, /^a switchover from langflow-0 to langflow-1 is already requested/)
  })

  test('once, if the answer to the write is lost', async () => {
    const cluster = new ScriptedCluster()
    cluster.carriedOut = () => timeout()
    await request(cluster)
    assert.deepEqual(cluster.written, [WRITTEN])
    const other = new ScriptedCluster()
    other.arriving = (attempt) => (attempt === 1 ? timeout() : undefined)
    await request(other)
    assert.deepEqual(other.written, [WRITTEN])
  })

  test('only from the leader that the user confirmed', async () => {
    const cluster = new ScriptedCluster()
    const planned = await readPlan(cluster, switchover('*', null, clock))
    cluster.write({ holderIdentity: identityOf('langflow-1'), leaseTransitions: 8 })
    cluster.show('langflow-0', STANDBY)
    await assert.rejects(request(cluster, '*', planned), {
      code: 'conflict',
      message: /langflow-1 leads now: start again/,
    })
    assert.deepEqual(cluster.written, [])
  })
})

describe('a request is withdrawn', () => {
  test('if it is still in the Lease, and the leader has not started', async () => {
    const cluster = new ScriptedCluster()
    const plan = await request(cluster)
    assert.equal(await withdraw(cluster, plan), 'withdrawn')
    assert.deepEqual(cluster.annotations, {})
  })

  test('with the result begun if the leader has started, or another replica leads', async () => {
    const cluster = new ScriptedCluster()
    const plan = await request(cluster)
    cluster.carriedOut = () =>
      cluster.show('langflow-0', {
        ...LEADER,
        switchover: { what: 'switchover', to: 'langflow-1', state: 'under way', reason: null },
      })
    assert.equal(await withdraw(cluster, plan), 'begun')
    assert.deepEqual(cluster.annotations, {})
    cluster.show('langflow-0', LEADER)
    cluster.write({ holderIdentity: identityOf('langflow-1'), leaseTransitions: 8 })
    assert.equal(await withdraw(cluster, plan), 'begun')
  })

  test('without removing the request of another operator', async () => {
    const cluster = new ScriptedCluster()
    const plan = await request(cluster)
    cluster.note({ [SWITCHOVER_TO]: 'langflow-2' })
    await withdraw(cluster, plan)
    assert.deepEqual(cluster.annotations, { [SWITCHOVER_TO]: 'langflow-2' })
  })

  test('by the user if the write fails; the error has the command', async () => {
    const cluster = new ScriptedCluster()
    const plan = await request(cluster)
    cluster.away = new OperationError('unreachable', 'cannot reach it')
    const command =
      /kubectl annotate lease langflow-leader-lock --namespace=team langflow-leader\/switchover-to-$/
    await assert.rejects(withdraw(cluster, plan), { code: 'failed', message: command })
  })
})
