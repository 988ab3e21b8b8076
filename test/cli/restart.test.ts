import assert from 'node:assert/strict'
import { describe, type TestContext, test } from 'node:test'
import type { Phase } from '../../agent/cli/following.ts'
import { writeRequest } from '../../agent/cli/request-run.ts'
import { type Restarted, restartInPlace } from '../../agent/cli/restart.ts'
import { PAUSED, REQUEST_REASON, RESTART, SWITCHOVER_TO } from '../../agent/lease/operator-annotations.ts'
import type { AgentStatus } from '../../agent/status/agent-status.ts'
import { VirtualClock } from '../harness/virtual-clock.ts'
import { identityOf, LEADER, ScriptedCluster } from './scripted-cluster.ts'

const { workload, leadership, traffic } = LEADER
const stepping = { ...leadership, steppingDown: 'an operator asked for a restart in place' }
const closed = { ...traffic, gate: 'closed' } as const
const DRAINING: AgentStatus = { ...LEADER, leadership: stepping, traffic: closed }
const STOPPED: AgentStatus = { ...DRAINING, workload: { ...workload, state: 'idle' } }
const NEW: AgentStatus = { ...LEADER, workload: { ...workload, orderedAt: 99 } }
const STARTING: AgentStatus = { ...NEW, traffic: closed }

class Followed {
  readonly clock = new VirtualClock()
  readonly cluster = new ScriptedCluster()
  readonly told: string[] = []
  readonly ctrlC = new AbortController()
  outcome!: Promise<Restarted>
  text!: (done: Restarted) => string

  static async begin(t: TestContext): Promise<Followed> {
    const one = new Followed()
    const { clock, cluster, ctrlC, told } = one
    const request = restartInPlace('a leak', clock)
    one.text = (done) => request.outcome(done, plan).text
    const plan = await writeRequest(cluster, request, null)
    const tell = ({ phase, pod }: Phase) => void told.push(`${phase} ${pod}`)
    one.outcome = request.follow(cluster, plan, { timeoutMs: 60_000, signal: ctrlC.signal, tell })
    one.outcome.catch(() => {})
    t.after(() => clock.pass(300_000))
    return one
  }

  async shows(status: AgentStatus): Promise<void> {
    this.cluster.show('langflow-0', status)
    await this.clock.pass(250)
  }
}

describe('a restart in place', () => {
  test('is requested by one write', async () => {
    const cluster = new ScriptedCluster()
    await writeRequest(cluster, restartInPlace('a leak', new VirtualClock()), null)
    assert.deepEqual(cluster.annotations, { [RESTART]: 'in-place', [REQUEST_REASON]: 'a leak' })
  })

  for (const [code, change] of [
    ['paused', (cluster: ScriptedCluster) => cluster.note({ [PAUSED]: 'true' })],
    ['switchover', (cluster: ScriptedCluster) => cluster.note({ [SWITCHOVER_TO]: '*' })],
    ['switchover', (cluster: ScriptedCluster) => cluster.show('langflow-0', DRAINING)],
    ['leader_silent', (cluster: ScriptedCluster) => cluster.show('langflow-0', 'connection refused')],
    ['nobody_leads', (cluster: ScriptedCluster) => cluster.write({ holderIdentity: '' })],
  ] as const)
    test(`is refused without a write: ${code}`, async () => {
      const cluster = new ScriptedCluster()
      change(cluster)
      await assert.rejects(writeRequest(cluster, restartInPlace(null, new VirtualClock()), null), { code })
      assert.deepEqual(cluster.written, [])
    })

  test('ends when the leader serves with a new LangFlow, and reports the time without a server', async (t) => {
    const one = await Followed.begin(t)
    await one.shows(LEADER)
    await one.shows(DRAINING)
    one.cluster.note({ [RESTART]: null, [REQUEST_REASON]: null })
    await one.shows(STOPPED)
    await one.shows(STARTING)
    await one.shows(NEW)
    const done = await one.outcome
    assert.deepEqual(
      one.told,
      ['requested', 'draining', 'stopped', 'serving'].map((word) => `${word} langflow-0`),
    )
    assert.equal(
      one.text(done),
      'langflow-0 serves with a new LangFlow; no replica served for at most 1.0 s\n',
    )
  })

  test('that the leader refuses, or that becomes a handover, fails', async (t) => {
    const refused = await Followed.begin(t)
    refused.cluster.note({ [RESTART]: null })
    const switchover = { what: 'restart', to: '', state: 'refused', reason: 'the Lease is paused' } as const
    await refused.shows({ ...LEADER, switchover })
    await assert.rejects(refused.outcome, { code: 'refused', message: /the Lease is paused$/ })
    const lost = await Followed.begin(t)
    lost.cluster.write({ holderIdentity: identityOf('langflow-1'), leaseTransitions: 8 })
    await lost.clock.pass(250)
    await assert.rejects(lost.outcome, { code: 'failed', message: /^langflow-0 no longer leads/ })
  })

  test('is withdrawn on Ctrl-C unless it has begun', async (t) => {
    for (const begun of [false, true]) {
      const one = await Followed.begin(t)
      if (begun) await one.shows(DRAINING)
      one.ctrlC.abort()
      await one.clock.pass(250)
      const message = begun ? /already begun the restart, which continues/ : /the request was withdrawn/
      await assert.rejects(one.outcome, { code: 'interrupted', message })
      assert.deepEqual(one.cluster.annotations, {})
    }
  })
})
