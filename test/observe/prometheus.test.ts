import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { COLD } from '../../agent/link/messages.ts'
import { VERSION } from '../../agent/version.ts'
import { FOLLOWING, Replica, SERVING } from './replica.ts'

/** What is scraped: the type and help of each family, and the samples by name and labels as they stand in the text. */
async function scrape(replica: Replica) {
  const text = await replica.metrics.expose()
  const announced = (kind: string) =>
    new Map(
      [...text.matchAll(new RegExp(`^# ${kind} (\\S+) (.+)$`, 'gm'))].map(([, name, said]) => [name!, said!]),
    )
  const samples = new Map(
    [...text.matchAll(/^([a-z].*) (\S+)$/gm)].map(([, sample, value]) => [sample!, Number(value)]),
  )
  return {
    types: announced('TYPE'),
    helps: announced('HELP'),
    value: (sample: string) => samples.get(sample),
    /** Of one family. */
    of: (family: string) => [...samples].filter(([sample]) => sample.startsWith(`${family}{`)),
  }
}

describe('the metrics', () => {
  it('follow the naming conventions of Prometheus', async () => {
    const { types, helps } = await scrape(new Replica())
    assert.deepEqual([...helps.keys()], [...types.keys()])
    for (const [name, type] of types) {
      assert.match(name, /^(langflow_leader|leader_election|process)_[a-z_]+$/)
      assert.equal(name.endsWith('_total'), type === 'counter', name)
      assert.doesNotMatch(name, /_(ms|milliseconds|duration)$/)
      assert.match(helps.get(name)!, /\.$/)
    }
  })

  it('use the names of client-go for what client-go counts', async () => {
    const replica = new Replica()
    const status = 'leader_election_master_status{name="langflow-leader-lock"}'
    const slow = 'leader_election_slowpath_total{name="langflow-leader-lock"}'
    let { value, types } = await scrape(replica)
    assert.deepEqual([value(status), value(slow)], [0, 0])
    assert.equal(types.get('leader_election_master_status'), 'gauge')
    assert.equal(types.get('leader_election_slowpath_total'), 'counter')
    replica.metrics.leading(true)
    replica.metrics.slowPath()
    replica.metrics.slowPath()
    ;({ value } = await scrape(replica))
    assert.deepEqual([value(status), value(slow)], [1, 2])
    replica.metrics.leading(false)
    assert.equal((await scrape(replica)).value(status), 0)
  })

  it('show the seconds left until the kill deadline, as of the scrape, and only on the leader', async () => {
    const replica = new Replica()
    for (const [now, seconds] of [
      [SERVING, 13.25],
      [{ ...SERVING, leadership: { ...SERVING.leadership, killInMs: 1000 } }, 1],
      [{ ...SERVING, leadership: { ...SERVING.leadership, killInMs: -5 } }, 0],
      [FOLLOWING, undefined],
      [SERVING, 13.25],
    ] as const) {
      replica.now = now
      assert.equal((await scrape(replica)).value('langflow_leader_kill_deadline_seconds'), seconds)
    }
  })

  it('time and count what happens', async () => {
    const replica = new Replica()
    const { metrics } = replica
    metrics.renewal('acknowledged', 4)
    metrics.renewal('acknowledged', 600)
    metrics.renewal('conflict', 4)
    metrics.renewal('failed', 5000)
    metrics.takeover('start', 40)
    metrics.takeover('healthy', 37_000)
    metrics.stopped(7000)
    metrics.restarted('LangFlow lost its worker (pid 7)')
    metrics.restarted('LangFlow lost its worker (pid 43)')
    metrics.apiRequest('update', '200')
    metrics.apiRequest('watch', 'network')
    metrics.transition('lost', 'renew_deadline')
    const { value } = await scrape(replica)
    const expected = {
      'langflow_leader_renewals_total{outcome="acknowledged"}': 2,
      'langflow_leader_renewals_total{outcome="conflict"}': 1,
      'langflow_leader_renewals_total{outcome="failed"}': 1,
      langflow_leader_renew_duration_seconds_count: 2,
      langflow_leader_renew_duration_seconds_sum: 0.604,
      'langflow_leader_renew_duration_seconds_bucket{le="0.005"}': 1,
      'langflow_leader_takeover_duration_seconds_sum{phase="healthy"}': 37,
      'langflow_leader_takeover_duration_seconds_count{phase="start"}': 1,
      langflow_leader_stop_duration_seconds_sum: 7,
      'langflow_leader_restarts_total{reason="langflow_lost_its_worker_pid"}': 2,
      'langflow_leader_api_requests_total{verb="update",code="200"}': 1,
      'langflow_leader_api_requests_total{verb="watch",code="network"}': 1,
      'langflow_leader_transitions_total{direction="lost",reason="renew_deadline"}': 1,
    }
    for (const [sample, number] of Object.entries(expected)) assert.equal(value(sample), number, sample)
  })

  it('show what the status says', async () => {
    const replica = new Replica()
    const shown = async () => {
      const { value } = await scrape(replica)
      const short = ['doubt', 'lease_epoch', 'watch_up', 'gate_open', 'workload_healthy']
      return [...short, 'langflow_outdated', 'problem'].map((name) => value(`langflow_leader_${name}`))
    }
    assert.deepEqual(await shown(), [0, 7, 1, 1, 1, 0, 0])
    replica.now = {
      ...FOLLOWING,
      problem: 'forbidden',
      langflow: { version: '1.12.8', newest: '1.13.0', outdated: true },
      lease: { ...FOLLOWING.lease, epoch: 8, watch: 'down' },
      leadership: { ...FOLLOWING.leadership, doubt: true },
    }
    assert.deepEqual(await shown(), [1, 8, 0, 0, 0, 1, 1])
  })

  it('show what the launcher counted, also when a new launcher counts from zero', async () => {
    const replica = new Replica()
    for (const [freezes, deadmanFirings] of [
      [3, 2],
      [3, 2],
      [0, 0],
    ] as const) {
      replica.now = { ...SERVING, workload: { ...SERVING.workload, freezes, deadmanFirings } }
      const { value } = await scrape(replica)
      assert.equal(value('langflow_leader_freezes_total'), freezes)
      assert.equal(value('langflow_leader_deadman_firings_total'), deadmanFirings)
    }
  })

  it('show the standby in one state at a time', async () => {
    const replica = new Replica({ ...SERVING, standby: { ...COLD, wanted: 'cold', state: 'ready' } })
    const { of } = await scrape(replica)
    assert.deepEqual(Object.fromEntries(of('langflow_leader_standby_state')), {
      'langflow_leader_standby_state{mode="cold",state="ready"}': 1,
      'langflow_leader_standby_state{mode="cold",state="preparing"}': 0,
      'langflow_leader_standby_state{mode="cold",state="none"}': 0,
    })
  })

  it('show how many peers are ready, and nothing where nobody is asked', async () => {
    for (const [now, ready] of [
      [SERVING, 1],
      [{ ...SERVING, peers: { ready: 0, seen: 0 } }, 0],
      [FOLLOWING, undefined],
    ] as const)
      assert.equal((await scrape(new Replica(now))).value('langflow_leader_peers_ready'), ready)
  })

  it('tell the version and what the process uses', async () => {
    const { value } = await scrape(new Replica())
    assert.equal(value(`langflow_leader_build_info{version="${VERSION}",node="${process.versions.node}"}`), 1)
    assert.ok(value('process_resident_memory_bytes')! > 20e6)
    assert.ok(value('process_cpu_seconds_total')! > 0)
    assert.ok(Math.abs(value('process_start_time_seconds')! * 1000 - performance.timeOrigin) < 1000)
  })

  it('stay few, whatever reasons and codes there are', async () => {
    const replica = new Replica()
    for (let i = 0; i < 500; i++) {
      replica.metrics.transition('stepped_down', `exited with code ${i}`)
      replica.metrics.transition('lost', `reason ${String.fromCharCode(97 + (i % 26), 97 + i / 26)}"\n\\`)
      replica.metrics.restarted(`reason ${String.fromCharCode(97 + (i % 26), 97 + i / 26)}`)
      replica.metrics.apiRequest('get', `net${'x'.repeat(i)}`)
    }
    const { of, value } = await scrape(replica)
    assert.equal(
      value('langflow_leader_transitions_total{direction="stepped_down",reason="exited_with_code"}'),
      500,
    )
    assert.ok(of('langflow_leader_transitions_total').length <= 35)
    assert.ok(of('langflow_leader_restarts_total').length <= 33)
    assert.ok(of('langflow_leader_api_requests_total').length <= 33)
  })
})
