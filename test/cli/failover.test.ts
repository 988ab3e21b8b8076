import assert from 'node:assert/strict'
import { describe, type TestContext, test } from 'node:test'
import { OperationError } from '../../agent/cli/exit-codes.ts'
import { type FailedOver, type FailoverPlan, failover } from '../../agent/cli/failover.ts'
import type { Phase } from '../../agent/cli/following.ts'
import { readPlan, writeRequest } from '../../agent/cli/request-run.ts'
import {
  FAILOVER_TO,
  PAUSED,
  REQUEST_REASON,
  RESTART,
  SWITCHOVER_TO,
} from '../../agent/lease/operator-annotations.ts'
import { VirtualClock } from '../harness/virtual-clock.ts'
import { identityOf, LEADER, ScriptedCluster } from './scripted-cluster.ts'

const clock = new VirtualClock()
const request = (cluster: ScriptedCluster, to = '*', confirmed: FailoverPlan | null = null) =>
  writeRequest(cluster, failover(to, 'it hangs', clock), confirmed)

/** No replica answers, or the user may not ask them. */
function silence(cluster: ScriptedCluster): void {
  cluster.replicas = async () => {
    throw new OperationError('no_rights', 'may not list pods')
  }
}

describe('a failover', () => {
  test('is requested although no replica answers, and replaces requests that the leader has not answered', async () => {
    const cluster = new ScriptedCluster()
    silence(cluster)
    cluster.note({ [SWITCHOVER_TO]: '*', [RESTART]: '' })
    const plan = await request(cluster, 'langflow-9')
    assert.deepEqual(cluster.annotations, { [FAILOVER_TO]: 'langflow-9', [REQUEST_REASON]: 'it hangs' })
    const holder = identityOf('langflow-0')
    assert.deepEqual(plan, { from: 'langflow-0', holder, epoch: 7, to: 'langflow-9', able: [] })
    assert.match(
      failover('langflow-9', null, clock).prospect?.(plan) ?? '',
      /^langflow-9 does not report that it can take over, so LangFlow may be down/,
    )
  })

  test('is described with the replicas that can take over', async () => {
    const { prospect, question, describe, ...request } = failover('*', null, clock)
    const plan = await readPlan(new ScriptedCluster(), request)
    assert.equal(prospect?.(plan), 'langflow-1 and langflow-2 report that they can take over.')
    const to = 'from langflow-0 to the best prepared replica'
    assert.equal(question(plan), `Fail over ${to}, without a drain?`)
    assert.equal(describe(plan), `a failover ${to}`)
    assert.match(prospect?.({ ...plan, able: [] }) ?? '', /^No other replica reports/)
  })

  const refusals: [code: string, word: RegExp, change: (cluster: ScriptedCluster) => void, to?: string][] = [
    ['nobody_leads', /no leader to fail over from/, (cluster) => cluster.write({ holderIdentity: '' })],
    ['paused', /run langflow-leader resume first/, (cluster) => cluster.note({ [PAUSED]: 'true' })],
    ['switchover', /a failover .* is already requested/, (cluster) => cluster.note({ [FAILOVER_TO]: '*' })],
    ['already_leads', /^langflow-0 already leads/, () => {}, 'langflow-0'],
    ['unknown_pod', /no replica is named langflow-9/, () => {}, 'langflow-9'],
  ]
  for (const [code, word, change, to] of refusals)
    test(`is refused without a write: ${code}`, async () => {
      const cluster = new ScriptedCluster()
      change(cluster)
      await assert.rejects(request(cluster, to), { code, message: word })
      assert.deepEqual(cluster.written, [])
    })

  test('fails without waiting for the replicas if the Lease cannot be read', async () => {
    const cluster = new ScriptedCluster()
    cluster.replicas = () => new Promise(() => {})
    cluster.lease = async () => {
      throw new OperationError('unreachable', 'no answer')
    }
    await assert.rejects(request(cluster), { code: 'unreachable' })
  })

  test('is requested only from the leader that the user confirmed', async () => {
    const cluster = new ScriptedCluster()
    const confirmed = await readPlan(cluster, failover('*', null, clock))
    cluster.write({ holderIdentity: identityOf('langflow-1'), leaseTransitions: 8 })
    await assert.rejects(request(cluster, '*', confirmed), { code: 'conflict' })
    assert.deepEqual(cluster.written, [])
  })
})

/** A followed failover on a virtual clock. No replica answers unless the test says so. */
class Followed {
  readonly clock = new VirtualClock()
  readonly cluster = new ScriptedCluster()
  readonly told: string[] = []
  readonly ctrlC = new AbortController()
  outcome!: Promise<FailedOver>
  request!: ReturnType<typeof failover>
  plan!: FailoverPlan

  static async begin(t: TestContext, to = '*'): Promise<Followed> {
    const one = new Followed()
    const { clock, cluster, ctrlC, told } = one
    one.request = failover(to, null, clock)
    one.plan = await writeRequest(cluster, one.request, null)
    silence(cluster)
    const tell = ({ phase, pod }: Phase) => void told.push(`${phase} ${pod}`)
    one.outcome = one.request.follow(cluster, one.plan, { timeoutMs: 60_000, signal: ctrlC.signal, tell })
    one.outcome.catch(() => {})
    t.after(() => clock.pass(300_000))
    return one
  }

  async step(spec: Parameters<ScriptedCluster['write']>[0]): Promise<void> {
    this.cluster.write(spec)
    await this.clock.pass(250)
  }

  async takenBy(pod: string): Promise<void> {
    await this.step({ holderIdentity: '', annotations: {} })
    await this.step({ holderIdentity: identityOf(pod), leaseTransitions: 8 })
    this.cluster.remember({ epoch: 8, holder: pod, gapMs: 4_200 })
    await this.clock.pass(250)
  }
}

describe('a followed failover', () => {
  test('is read from the Lease alone, until the new leader has recorded that it serves', async (t) => {
    const one = await Followed.begin(t)
    await one.step({ renewTime: 'r2' })
    await one.takenBy('langflow-1')
    const done = await one.outcome
    assert.deepEqual(one.told, [
      'requested the best prepared replica',
      'released langflow-0',
      'acquired langflow-1',
      'serving langflow-1',
    ])
    assert.deepEqual([done.to, done.epoch, done.gapMs], ['langflow-1', 8, 4_200])
    const text = 'langflow-1 leads and serves instead of langflow-0; no replica served for 4.2 s\n'
    assert.equal(one.request.outcome(done, one.plan).text, text)
  })

  test('reports that another pod than the named one took over', async (t) => {
    const one = await Followed.begin(t, 'langflow-2')
    await one.takenBy('langflow-1')
    const { ok, text } = one.request.outcome(await one.outcome, one.plan)
    assert.equal(ok, false)
    assert.match(text, /\nlangflow-2 did not become the leader/)
  })

  test('that a renewing leader does not obey is withdrawn, with the command that ends its pod', async (t) => {
    const one = await Followed.begin(t)
    await one.step({ renewTime: 'r2' })
    await one.step({ renewTime: 'r3' })
    await one.clock.pass(60_000)
    await assert.rejects(one.outcome, {
      code: 'timed_out',
      message:
        /langflow-0 renews the Lease, but .*: end it with kubectl delete pod langflow-0 --namespace=team$/,
    })
    assert.deepEqual(one.cluster.annotations, {})
  })

  test('from a leader that does not renew any more is withdrawn, with the hint that its Lease expires', async (t) => {
    const one = await Followed.begin(t)
    one.ctrlC.abort()
    await one.clock.pass(250)
    await assert.rejects(one.outcome, { code: 'interrupted', message: /takes over when the Lease expires$/ })
    assert.deepEqual(one.cluster.annotations, {})
  })

  test('that the leader refuses ends with its reason', async (t) => {
    for (const answers of [true, false]) {
      const one = await Followed.begin(t)
      const { cluster } = one
      const switchover = {
        what: 'failover',
        to: '*',
        state: 'refused',
        reason: 'the Lease is paused',
      } as const
      cluster.show('langflow-0', { ...LEADER, switchover })
      if (answers) cluster.replicas = async () => cluster.rows
      await one.step({ annotations: {} })
      const message = answers
        ? /^langflow-0 did not obey the failover: the Lease is paused$/
        : /it refused, or another/
      await assert.rejects(one.outcome, { code: 'refused', message })
    }
  })
})
