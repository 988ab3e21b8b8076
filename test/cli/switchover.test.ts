import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { OperationError } from '../../agent/cli/exit-codes.ts'
import { type Plan, readPlan, requestSwitchover, withdraw } from '../../agent/cli/switchover.ts'
import { ApiError } from '../../agent/kube/kube-errors.ts'
import { PAUSE_REASON, PAUSED, PAUSED_UNTIL, SWITCHOVER_TO } from '../../agent/lease/operator-annotations.ts'
import type { AgentStatus } from '../../agent/observe/agent-status.ts'
import { statusOf } from '../../agent/observe/agent-status.ts'
import { VirtualClock } from '../harness/virtual-clock.ts'
import { identityOf, LEADER, row, ScriptedCluster, STANDBY } from './scripted-cluster.ts'

const clock = new VirtualClock()
const UNREADY: AgentStatus = { ...STANDBY, couldTakeOver: false, unable: 'its standby is starting' }

const request = (cluster: ScriptedCluster, to = 'langflow-1', planned: Plan | null = null) =>
  requestSwitchover(cluster, clock, to, planned)

const without = (status: AgentStatus, key: keyof AgentStatus): AgentStatus => {
  const { [key]: _, ...rest } = status
  return rest as AgentStatus
}

type Refusal = readonly [
  what: string,
  code: string,
  sentence: RegExp,
  change: (cluster: ScriptedCluster) => void,
  to?: string,
]

const timeout = () => new ApiError('timeout', 'no answer', { mayHaveCommitted: true })

describe('a switchover is refused, and nothing written, where', () => {
  const refusals: readonly Refusal[] = [
    [
      'nobody has that name',
      'unknown_pod',
      /^no replica is called langflow-7: the other replicas are langflow-1 and langflow-2$/,
      () => {},
      'langflow-7',
    ],
    [
      'nobody has that name, and nobody else is there',
      'unknown_pod',
      /: there is no other replica$/,
      (cluster) => {
        cluster.rows = [row('langflow-0', LEADER)]
      },
      'langflow-7',
    ],
    ['it leads already', 'already_leads', /^langflow-0 leads already$/, () => {}, 'langflow-0'],
    [
      'it is not ready',
      'not_ready',
      /^langflow-1 could not take over: its standby is starting$/,
      (cluster) => cluster.show('langflow-1', UNREADY),
    ],
    [
      'it does not answer',
      'not_ready',
      /^langflow-1 could not take over: connection refused$/,
      (cluster) => cluster.show('langflow-1', 'connection refused'),
    ],
    [
      'it is of an earlier version, which does not say why it could not',
      'not_ready',
      /: it is outdated$/,
      (cluster) => cluster.show('langflow-1', { ...without(UNREADY, 'unable'), problem: 'it is outdated' }),
    ],
    [
      'nobody could',
      'not_ready',
      /^nobody else could take over: langflow-1: its standby is starting; langflow-2: gone$/,
      (cluster) => {
        cluster.show('langflow-1', UNREADY)
        cluster.show('langflow-2', 'gone')
      },
      '*',
    ],
    [
      'nobody else is there',
      'not_ready',
      /: there is one replica only$/,
      (cluster) => {
        cluster.rows = [row('langflow-0', LEADER)]
      },
      '*',
    ],
    ['nobody leads', 'nobody_leads', /^nobody leads, /, (cluster) => cluster.write({ holderIdentity: '' })],
    [
      'the leader is no pod that is there',
      'leader_silent',
      /^langflow-9 holds the Lease, and there is no such pod here/,
      (cluster) => cluster.write({ holderIdentity: identityOf('langflow-9') }),
    ],
    [
      'the leader does not answer',
      'leader_silent',
      /^langflow-0 leads and does not tell whether it could hand over: connection refused$/,
      (cluster) => cluster.show('langflow-0', 'connection refused'),
    ],
    [
      'the leader is of a version that knows no switchover',
      'too_old',
      /^langflow-0 runs langflow-leader 0\.0\.9, which knows no switchover: update it first$/,
      (cluster) => cluster.show('langflow-0', { ...without(LEADER, 'switchover'), version: '0.0.9' }),
    ],
    [
      'it is paused',
      'paused',
      /^paused until somebody resumes \(upgrade\): resume first, with langflow-leader resume$/,
      (cluster) => cluster.note({ [PAUSED]: 'true', [PAUSE_REASON]: 'upgrade' }),
    ],
    [
      'another was asked for',
      'switchover',
      /^a switchover from langflow-0 to langflow-2 was asked for already: wait until it is over$/,
      (cluster) => cluster.note({ [SWITCHOVER_TO]: 'langflow-2' }),
    ],
    [
      'another is under way',
      'switchover',
      /^langflow-0 is switching over to whoever is prepared best already: wait/,
      (cluster) =>
        cluster.show('langflow-0', {
          ...LEADER,
          switchover: { to: '*', state: 'under way', reason: null },
        }),
    ],
    [
      'the leader hands over for another reason',
      'switchover',
      /^langflow-0 is handing over already \(the agent was told to end\): wait/,
      (cluster) =>
        cluster.show('langflow-0', {
          ...LEADER,
          leadership: { ...LEADER.leadership, steppingDown: 'the agent was told to end' },
        }),
    ],
    [
      'the API server is away',
      'unreachable',
      /^cannot reach it$/,
      (cluster) => {
        cluster.away = new OperationError('unreachable', 'cannot reach it')
      },
    ],
    [
      'the Lease may not be written',
      'no_rights',
      /^user "eve" may not "patch" leases$/,
      (cluster) => {
        cluster.arriving = () =>
          new ApiError('forbidden', 'user "eve" may not "patch" leases', { status: 403 })
      },
    ],
    [
      'the Lease is written by others again and again',
      'conflict',
      /has changed since it was read/,
      (cluster) => {
        cluster.arriving = () => cluster.write({})
      },
    ],
  ]
  for (const [what, code, sentence, change, to] of refusals) {
    test(what, async () => {
      const cluster = new ScriptedCluster()
      change(cluster)
      const before = cluster.annotations
      const error = await request(cluster, to).then(
        () => assert.fail('it was asked for'),
        (error) => error,
      )
      assert.ok(error instanceof OperationError, error.stack)
      assert.deepEqual([error.code, cluster.written], [code, []])
      assert.match(error.message, sentence)
      assert.deepEqual(cluster.annotations, before)
    })
  }

  test('the API server notes who asked for the one that is under way', async () => {
    const cluster = new ScriptedCluster()
    cluster.note({ [SWITCHOVER_TO]: 'langflow-2' })
    const managedFields = [
      { manager: 'langflow-leader', time: '2026-01-01T00:00:00Z', fieldsV1: { 'f:spec': {} } },
      {
        manager: 'kubectl-annotate',
        time: '2026-01-02T03:04:05Z',
        fieldsV1: { 'f:metadata': { 'f:annotations': { [`f:${SWITCHOVER_TO}`]: {} } } },
      },
    ]
    const { lease } = cluster
    cluster.lease = async () => {
      const now = await lease()
      return { ...now, metadata: { ...now.metadata, managedFields } }
    }
    await assert.rejects(request(cluster), /was asked for already \(kubectl-annotate, 2026-01-02T03:04:05Z\)/)
  })
})

test('an agent that knows neither switchover nor pause is told from one where there is none', () => {
  const { switchover: _s, pause: _p, ...old } = LEADER
  const { switchover, pause } = statusOf(structuredClone(old)) as AgentStatus
  assert.deepEqual([switchover, pause], [undefined, undefined])
  const now = statusOf(structuredClone(LEADER)) as AgentStatus
  assert.deepEqual([now.switchover, now.pause], [null, null])
})

describe('a switchover is asked for', () => {
  test('by one annotation, of the pod or of whoever is prepared best', async () => {
    const cluster = new ScriptedCluster()
    const plan = await request(cluster)
    assert.deepEqual(plan, {
      from: 'langflow-0',
      holder: identityOf('langflow-0'),
      epoch: 7,
      to: 'langflow-1',
      candidates: ['langflow-1'],
    })
    assert.deepEqual(cluster.written, [{ [SWITCHOVER_TO]: 'langflow-1' }])
    const other = new ScriptedCluster()
    other.show('langflow-2', UNREADY)
    assert.deepEqual((await request(other, '*')).candidates, ['langflow-1'])
    assert.deepEqual(other.written, [{ [SWITCHOVER_TO]: '*' }])
  })

  test('after a pause that is over', async () => {
    const cluster = new ScriptedCluster()
    cluster.note({ [PAUSED]: 'true', [PAUSED_UNTIL]: new Date(clock.now().wall - 1).toISOString() })
    await request(cluster)
    assert.equal(cluster.written.length, 1)
  })

  test('again where the leader renewed in between', async () => {
    const cluster = new ScriptedCluster()
    cluster.arriving = (attempt) => (attempt < 3 ? cluster.write({}) : undefined)
    await request(cluster)
    assert.deepEqual(cluster.written, [{ [SWITCHOVER_TO]: 'langflow-1' }])
  })

  test('by one of two at once; the other is told', async () => {
    const cluster = new ScriptedCluster()
    const outcomes = await Promise.allSettled([request(cluster), request(cluster, 'langflow-2')])
    const lost = outcomes.find(({ status }) => status === 'rejected') as PromiseRejectedResult
    assert.equal(outcomes.filter(({ status }) => status === 'fulfilled').length, 1)
    assert.equal(cluster.written.length, 1)
    assert.equal(lost.reason.code, 'switchover')
    assert.match(lost.reason.message, /^a switchover from langflow-0 to langflow-1 was asked for already/)
  })

  test('once, where the answer to the write is lost', async () => {
    const cluster = new ScriptedCluster()
    cluster.carriedOut = () => timeout()
    await request(cluster)
    assert.deepEqual(cluster.written, [{ [SWITCHOVER_TO]: 'langflow-1' }])
    const other = new ScriptedCluster()
    other.arriving = (attempt) => (attempt === 1 ? timeout() : undefined)
    await request(other)
    assert.deepEqual(other.written, [{ [SWITCHOVER_TO]: 'langflow-1' }])
  })

  test('only of the leader that somebody agreed to', async () => {
    const cluster = new ScriptedCluster()
    const planned = await readPlan(cluster, clock, '*')
    cluster.write({ holderIdentity: identityOf('langflow-1'), leaseTransitions: 8 })
    cluster.show('langflow-0', STANDBY)
    await assert.rejects(request(cluster, '*', planned), (error: OperationError) => {
      assert.equal(error.code, 'conflict')
      assert.equal(error.message, 'langflow-0 no longer leads, langflow-1 does: start again')
      return true
    })
    assert.deepEqual(cluster.written, [])
  })
})

describe('Ctrl-C', () => {
  const interrupted = { code: 'interrupted', exitCode: 130 }

  test('before the write: nothing is asked for', async () => {
    const cluster = new ScriptedCluster()
    const asked = requestSwitchover(cluster, clock, '*', null, AbortSignal.abort())
    await assert.rejects(asked, { ...interrupted, message: /nothing was asked for/ })
    assert.deepEqual(cluster.written, [])
  })

  test('during a write without an answer: it says how to take back what may have been asked for', async () => {
    const cluster = new ScriptedCluster()
    const ctrlC = new AbortController()
    cluster.arriving = () => {
      ctrlC.abort()
      return timeout()
    }
    const asked = requestSwitchover(cluster, clock, '*', null, ctrlC.signal)
    await assert.rejects(asked, { ...interrupted, message: /may have been asked for: .* kubectl annotate/ })
  })
})

describe('a request is taken back', () => {
  test('where the Lease still says it, and the leader has not begun', async () => {
    const cluster = new ScriptedCluster()
    const plan = await request(cluster)
    assert.equal(await withdraw(cluster, plan), 'withdrawn')
    assert.deepEqual(cluster.annotations, {})
  })

  test('also where the leader does not answer', async () => {
    const cluster = new ScriptedCluster()
    const plan = await request(cluster)
    cluster.show('langflow-0', 'connection refused')
    assert.equal(await withdraw(cluster, plan), 'withdrawn')
  })

  test('and had begun already, where the leader says so or another one leads', async () => {
    const cluster = new ScriptedCluster()
    const plan = await request(cluster)
    cluster.carriedOut = () =>
      cluster.show('langflow-0', {
        ...LEADER,
        switchover: { to: 'langflow-1', state: 'under way', reason: null },
      })
    assert.equal(await withdraw(cluster, plan), 'begun')
    assert.deepEqual(cluster.annotations, {})
    cluster.show('langflow-0', LEADER)
    cluster.write({ holderIdentity: identityOf('langflow-1'), leaseTransitions: 8 })
    assert.equal(await withdraw(cluster, plan), 'begun')
  })

  test('and nobody else is: what another operator asks for stays', async () => {
    const cluster = new ScriptedCluster()
    const plan = await request(cluster)
    cluster.note({ [SWITCHOVER_TO]: 'langflow-2' })
    await withdraw(cluster, plan)
    assert.deepEqual(cluster.annotations, { [SWITCHOVER_TO]: 'langflow-2' })
  })

  test('by hand, where it cannot be', async () => {
    const cluster = new ScriptedCluster()
    const plan = await request(cluster)
    cluster.away = new OperationError('unreachable', 'cannot reach it')
    await assert.rejects(
      withdraw(cluster, plan),
      new OperationError(
        'failed',
        'the request could not be taken back: cannot reach it; take it back with ' +
          'kubectl annotate lease langflow-leader-lock --namespace=team langflow-leader/switchover-to-',
      ),
    )
  })
})
