import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { OperationError } from '../../../agent/cli/exit-codes.ts'
import { type Plan, withdraw, writeRequest } from '../../../agent/cli/switchover/switchover-plan.ts'
import { ApiError } from '../../../agent/kube/kube-errors.ts'
import { MEMBERS } from '../../../agent/lease/lease-members.ts'
import {
  FAILOVER_TO,
  MEMBERS_DEAD,
  type OperatorRequest,
  PAUSED,
  REQUEST_NOW,
  REQUEST_REASON,
  RESTART,
  SWITCHOVER_TO,
} from '../../../agent/lease/operator-annotations.ts'
import type { AgentStatus } from '../../../agent/status/agent-status.ts'
import { identityOf, LEADER, row, ScriptedCluster, STANDBY } from '../scripted-cluster.ts'

const REQUESTS: Readonly<Record<string, OperatorRequest>> = {
  'switchover --to langflow-1': { what: 'switchover', to: 'langflow-1', reason: null, now: false },
  'switchover --to langflow-0': { what: 'switchover', to: 'langflow-0', reason: null, now: false },
  'switchover --to langflow-7': { what: 'switchover', to: 'langflow-7', reason: null, now: false },
  switchover: { what: 'switchover', to: '*', reason: null, now: false },
  'failover --members-dead': { what: 'failover', to: '*', reason: null, now: false, membersDead: true },
  failover: { what: 'failover', to: '*', reason: 'it hangs', now: false },
  'switchover --now': { what: 'switchover', to: '*', reason: null, now: true },
  'restart --in-place': { what: 'restart', to: '', reason: 'a leak', now: false },
}
const UNREADY: AgentStatus = { ...STANDBY, couldTakeOver: false, unable: 'its standby is starting' }

type Change = (cluster: ScriptedCluster) => void

const request = (cluster: ScriptedCluster, command = 'switchover --to langflow-1'): Promise<Plan> =>
  writeRequest(cluster, REQUESTS[command] as OperatorRequest, 0)
const leaderIs =
  (change: Partial<AgentStatus> | string): Change =>
  (cluster) =>
    cluster.show('langflow-0', typeof change === 'string' ? change : { ...LEADER, ...change })
const nothing: Change = () => {}
const hasNoLeader: Change = (cluster) => cluster.write({ holderIdentity: '' })
const noted =
  (notes: Record<string, string>): Change =>
  (cluster) =>
    cluster.note(notes)
const paused = noted({ [PAUSED]: 'true' })
const unready: Change = (cluster) => cluster.show('langflow-1', UNREADY)
const noneReady: Change = (cluster) => {
  unready(cluster)
  cluster.show('langflow-2', 'gone')
}
const isAlone: Change = (cluster) => void Object.assign(cluster, { rows: [row('langflow-0', LEADER)] })
const isEarlier: Change = (cluster) => cluster.write({ holderIdentity: 'langflow-0_earlier' })
const isBusy: Change = (cluster) => void Object.assign(cluster, { arriving: () => cluster.write({}) })
const isSilent: Change = (cluster) => {
  cluster.replicas = () => Promise.reject(new OperationError('no_rights', 'may not list pods'))
}
const members = (identity: string) =>
  JSON.stringify({ key: 'k'.repeat(16), maxMs: 600_000, members: [{ identity, at: 'member:8090' }] })
const lost =
  (member: string, ...pods: string[]): Change =>
  (cluster) => {
    cluster.note({ [MEMBERS]: members(member) })
    for (const pod of pods) cluster.show(pod, 'no answer')
  }
const hasLiveMember = lost(identityOf('langflow-2'), 'langflow-0')
const hasDeadMember = lost(identityOf('langflow-1'), 'langflow-0', 'langflow-1')
const hasReplacedMember = lost('langflow-1_earlier', 'langflow-0')
const stepping = { ...LEADER.leadership, steppingDown: 'SIGTERM' }
const restarted = { role: 'follower', lease: { ...LEADER.lease, holder: identityOf('langflow-0') } } as const
const timeout = () => new ApiError('timeout', 'no answer')

describe('a request is refused without a write', () => {
  const refusals: [command: string, when: string, change: Change, code: string, word: RegExp][] = [
    ['switchover --to langflow-7', 'no such replica', nothing, 'unknown_pod', /langflow-1 and langflow-2$/],
    ['switchover --to langflow-0', 'it already leads', nothing, 'already_leads', /langflow-0/],
    [
      'switchover --to langflow-1',
      'it is not ready',
      unready,
      'not_ready',
      /^langflow-1 cannot .* starting: /,
    ],
    [
      'switchover',
      'no other replica could take over',
      noneReady,
      'not_ready',
      /starting; langflow-2 .*: gone: /,
    ],
    ['switchover', 'there is no other replica', isAlone, 'not_ready', /only one replica/],
    ['switchover', 'there is no leader', hasNoLeader, 'nobody_leads', /./],
    ['switchover', 'an earlier pod with its name leads', isEarlier, 'leader_silent', /no such replica/],
    ['switchover', "the leader's agent has restarted", leaderIs(restarted), 'leader_silent', /restarted/],
    ['switchover', 'the leader does not answer', leaderIs('refused'), 'leader_silent', /: refused$/],
    ['restart --in-place', 'the leader does not answer', leaderIs('refused'), 'leader_silent', /: refused$/],
    ['switchover', 'takeovers are paused', paused, 'paused', /langflow-leader resume/],
    ['switchover', 'another request', noted({ [RESTART]: '' }), 'switchover', /restart in place is already/],
    ['failover --members-dead', 'the leader answers', nothing, 'refused', /^langflow-0 answers/],
    ['failover --members-dead', 'a member answers', hasLiveMember, 'refused', /^langflow-2 answers/],
    ['failover --members-dead', 'no right to ask', isSilent, 'no_rights', /may not list pods/],
    ['failover', 'another failover', noted({ [FAILOVER_TO]: 'x' }), 'switchover', /x is already requested/],
    ['switchover', 'the leader hands over', leaderIs({ leadership: stepping }), 'switchover', /SIGTERM/],
    ['restart --in-place', 'a handover', leaderIs({ leadership: stepping }), 'switchover', /SIGTERM/],
    ['switchover', 'the Lease changes three times in a row', isBusy, 'conflict', /try again/],
  ]
  for (const [command, when, change, code, message] of refusals)
    test(`${command}: ${when}`, async () => {
      const cluster = new ScriptedCluster()
      change(cluster)
      const before = cluster.annotations
      await assert.rejects(request(cluster, command), { code, message })
      assert.deepEqual([cluster.written, cluster.annotations], [[], before])
    })
})

describe('a request is written', () => {
  const dead = { [FAILOVER_TO]: '*', [MEMBERS_DEAD]: '7' }
  const lost = { ...dead, [MEMBERS]: members(identityOf('langflow-1')) }
  const replaced = { ...dead, [MEMBERS]: members('langflow-1_earlier') }
  const failover = { [FAILOVER_TO]: '*', [REQUEST_REASON]: 'it hangs' }
  const writes: [command: string, change: Change, written: object, candidates: string[]][] = [
    ['switchover --to langflow-1', nothing, { [SWITCHOVER_TO]: 'langflow-1' }, ['langflow-1']],
    ['switchover', unready, { [SWITCHOVER_TO]: '*' }, ['langflow-2']],
    [
      'switchover --now',
      nothing,
      { [SWITCHOVER_TO]: '*', [REQUEST_NOW]: 'true' },
      ['langflow-1', 'langflow-2'],
    ],
    ['failover', nothing, failover, ['langflow-1', 'langflow-2']],
    ['failover', isSilent, failover, []],
    ['failover', noted({ [SWITCHOVER_TO]: '*', [RESTART]: '' }), failover, ['langflow-1', 'langflow-2']],
    ['failover --members-dead', hasDeadMember, lost, ['langflow-2']],
    ['failover --members-dead', hasReplacedMember, replaced, ['langflow-1', 'langflow-2']],
    ['restart --in-place', nothing, { [RESTART]: 'in-place', [REQUEST_REASON]: 'a leak' }, []],
  ]
  for (const [command, change, written, candidates] of writes)
    test(`${command}: ${JSON.stringify(written)}`, async () => {
      const cluster = new ScriptedCluster()
      change(cluster)
      const plan = await request(cluster, command)
      assert.deepEqual([plan.from, plan.epoch, plan.candidates], ['langflow-0', 7, candidates])
      assert.deepEqual([cluster.annotations, cluster.written.length], [written, 1])
    })

  test('only with --yes', async () => {
    const cluster = new ScriptedCluster()
    const declined = writeRequest(cluster, REQUESTS.switchover as OperatorRequest, 0, { yes: false })
    await assert.rejects(declined, { code: 'declined', exitCode: 3, message: /langflow-0.*--yes/ })
    assert.deepEqual(cluster.written, [])
  })

  test('only to the leader and the term that were checked, and not after Ctrl-C', async () => {
    const ctrlC = new AbortController()
    const meanwhile: [code: string, act: (cluster: ScriptedCluster) => void][] = [
      [
        'refused',
        (cluster) => cluster.write({ holderIdentity: identityOf('langflow-1'), leaseTransitions: 8 }),
      ],
      ['refused', (cluster) => cluster.write({ leaseTransitions: 8 })],
      ['interrupted', () => ctrlC.abort()],
    ]
    for (const [code, act] of meanwhile) {
      const cluster = new ScriptedCluster()
      cluster.replicas = async () => {
        await cluster.lease()
        act(cluster)
        return cluster.rows
      }
      const asked = REQUESTS.failover as OperatorRequest
      await assert.rejects(writeRequest(cluster, asked, 0, { signal: ctrlC.signal }), { code })
      assert.deepEqual(cluster.written, [])
    }
  })

  test('by only one of two operators', async () => {
    const cluster = new ScriptedCluster()
    const outcomes = await Promise.allSettled([request(cluster), request(cluster, 'switchover')])
    const lost = outcomes.filter(({ status }) => status === 'rejected') as PromiseRejectedResult[]
    assert.deepEqual([lost.map(({ reason }) => reason.code), cluster.written.length], [['switchover'], 1])
  })

  test('once, if the answer to the write is lost', async () => {
    const [arrived, lost] = [new ScriptedCluster(), new ScriptedCluster()]
    arrived.carriedOut = () => timeout()
    lost.arriving = (attempt) => (attempt === 1 ? timeout() : undefined)
    for (const cluster of [arrived, lost]) {
      await request(cluster)
      assert.equal(cluster.written.length, 1)
    }
  })
})

describe('a request is withdrawn', () => {
  test('unless it is that of another operator', async () => {
    for (const [asked, left] of [
      ['langflow-1', {}],
      ['langflow-2', { [SWITCHOVER_TO]: 'langflow-2' }],
    ] as const) {
      const cluster = new ScriptedCluster()
      const plan = await request(cluster)
      cluster.note({ [SWITCHOVER_TO]: asked })
      await withdraw(cluster, plan)
      assert.deepEqual(cluster.annotations, left)
    }
  })

  test('by the user if the write fails; the error has the command', async () => {
    const cluster = new ScriptedCluster()
    const plan = await request(cluster)
    cluster.away = new OperationError('unreachable', 'cannot reach it')
    const message =
      /kubectl annotate lease langflow-leader-lock --namespace=team langflow-leader\/switchover-to-$/
    await assert.rejects(withdraw(cluster, plan), { code: 'failed', message })
  })
})
