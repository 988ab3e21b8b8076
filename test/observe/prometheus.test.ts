import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { COLD } from '../../agent/link/link-messages.ts'
import type { AgentStatus } from '../../agent/status/agent-status.ts'
import { VERSION } from '../../agent/version.ts'
import { FOLLOWING, FRONT, Replica, SERVING } from './replica.ts'

/** Scrapes the type and help of each metric, and the samples by name and labels as in the text. */
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
    /** The samples of one metric. */
    of: (family: string) => [...samples].filter(([sample]) => sample.startsWith(`${family}{`)),
  }
}

/**
 * In this order: a leader, the same again, a new launcher with silent peers, a failed standby, a follower with many
 * problems, a leader with a front.
 */
const CONTENT = { digest: 'c1', ageMs: 1_500, running: null, earlier: [], problem: null }

const SCRAPED: readonly AgentStatus[] = [
  SERVING,
  SERVING,
  {
    ...SERVING,
    leadership: { ...SERVING.leadership, killInMs: -5 },
    workload: { ...SERVING.workload, freezes: 0, deadmanFirings: 0, busy: { ms: 6_500, cpuMs: 600 } },
    standby: { ...COLD, wanted: 'cold', state: 'ready' },
    peers: { ready: 0, seen: 0 },
    lastDrill: { at: '2026-01-02T03:04:04Z', result: 'ok' },
  },
  {
    ...SERVING,
    standby: { ...COLD, wanted: 'warm', reason: 'LangFlow cannot be kept warm: it ended' },
    flowsDigest: 'a01b',
    content: { ...CONTENT, running: 'c1' },
  },
  {
    ...FOLLOWING,
    problem: 'forbidden',
    revision: '5d9c',
    onTrial: { reason: 'its first start failed', failed: 'workload_exited' },
    standby: { ...COLD, mode: 'warm', wanted: 'warm', state: 'ready' },
    langflow: { version: '1.12.8', newest: '1.13.0', outdated: true },
    lease: { ...FOLLOWING.lease, epoch: 8, watch: 'down' },
    leadership: { ...FOLLOWING.leadership, doubt: true },
    pause: { until: null, reason: null },
    lastDrill: { at: '2026-01-02T03:04:05Z', result: 'missed' },
    flowsDigest: '5f3c',
    content: { ...CONTENT, digest: 'c2', problem: 'a.json is not JSON' },
    timings: { ...FOLLOWING.timings, killMarginMs: 600 },
  },
  { ...SERVING, traffic: { ...SERVING.traffic, front: FRONT } },
]

/** The value at each scrape. `-`: no sample. */
const SHOWN: Readonly<Record<string, string>> = {
  kill_deadline_seconds: '13.25 13.25 0 13.25 - 13.25',
  doubt: '0 0 0 0 1 0',
  lease_epoch: '7 7 7 7 8 7',
  watch_up: '1 1 1 1 0 1',
  gate_open: '1 1 1 1 0 1',
  workload_healthy: '1 1 1 1 0 1',
  workload_busy_seconds: '0 0 6.5 0 0 0',
  langflow_outdated: '0 0 0 0 1 0',
  problem: '0 0 0 0 1 0',
  content_refused: '- - - 0 1 -',
  'revision_failed{revision="5d9c",reason="workload_exited"}': '- - - - 1 -',
  freezes_total: '3 3 0 3 3 3',
  deadman_firings_total: '2 2 0 2 2 2',
  peers_ready: '1 1 0 1 - 1',
  'standby_state{mode="cold",state="ready"}': '0 0 1 0 - 0',
  'standby_state{mode="cold",state="none"}': '1 1 0 1 - 1',
  'standby_state{mode="cold",state="preparing"}': '0 0 0 0 - 0',
  'standby_state{mode="warm",state="ready"}': '- - - - 1 -',
  could_take_over: '0 0 0 0 1 0',
  paused: '0 0 0 0 1 0',
  standby_colder: '0 0 0 1 0 0',
  last_drill_timestamp_seconds: '- - 1767323044 - 1767323045 -',
  last_drill_ok: '- - 1 - 0 -',
  'flows_info{digest="5f3c"}': '- - - - 1 -',
  'flows_info{digest="a01b"}': '- - - 1 - -',
  front_up: '- - - - - 1',
  front_held: '- - - - - 2',
  front_oldest_held_seconds: '- - - - - 1.5',
  front_in_flight: '- - - - - 3',
  front_streams: '- - - - - 4',
  front_resident_memory_bytes: '- - - - - 90000000',
  'front_forwarded_total{to="langflow"}': '- - - - - 500',
  'front_forwarded_total{to="leader"}': '- - - - - 60',
  'front_failed_total{reason="hold_timeout"}': '- - - - - 5',
  'front_failed_total{reason="client_gone"}': '- - - - - 9',
  front_streams_ended_total: '0 0 0 0 0 10',
  'configured_seconds{setting="lease_duration"}': '15 15 15 15 15 15',
  'configured_seconds{setting="renew_deadline"}': '10 10 10 10 10 10',
  'configured_seconds{setting="retry_period"}': '2 2 2 2 2 2',
  'configured_seconds{setting="kill_margin"}': '1 1 1 1 0.6 1',
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

  it('have the names of client-go if client-go has the same metric', async () => {
    const replica = new Replica()
    const shown = async () => {
      const { value } = await scrape(replica)
      const label = '{name="langflow-leader-lock"}'
      return ['master_status', 'slowpath_total'].map((name) => value(`leader_election_${name}${label}`))
    }
    assert.deepEqual(await shown(), [0, 0])
    replica.metrics.leading(true)
    replica.metrics.slowPath()
    assert.deepEqual(await shown(), [1, 1])
    replica.metrics.leading(false)
    assert.deepEqual(await shown(), [0, 1])
  })

  it('begin at 0, so that the first event of each kind is an increase', async () => {
    const { of } = await scrape(new Replica())
    const sum = 'langflow_leader_takeover_duration_seconds_sum'
    for (const [name, series] of Object.entries({ langflow_leader_restarts_total: 5, [sum]: 4 })) {
      const counts = of(name).map(([, count]) => count)
      assert.deepEqual(counts, Array(series).fill(0))
    }
  })

  it('count and time events', async () => {
    const replica = new Replica()
    const { metrics } = replica
    metrics.renewal('acknowledged', 4)
    metrics.renewal('acknowledged', 600)
    metrics.renewal('conflict', 4)
    metrics.renewal('failed', 5000)
    metrics.takeover('start', 40)
    metrics.takeover('healthy', 37_000)
    metrics.stopped(7000)
    metrics.restarted('workload_lost')
    metrics.restarted('workload_lost')
    metrics.apiRequest('update', '200')
    metrics.apiRequest('watch', 'network')
    metrics.transition('lost', 'no_renewal')
    metrics.transition('lost', undefined)
    metrics.doubted(1_500)
    metrics.doubted(250)
    metrics.late(3)
    metrics.late(20_000)
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
      'langflow_leader_restarts_total{reason="workload_lost"}': 2,
      'langflow_leader_api_requests_total{verb="update",code="200"}': 1,
      'langflow_leader_api_requests_total{verb="watch",code="network"}': 1,
      'langflow_leader_transitions_total{direction="lost",reason="no_renewal"}': 1,
      'langflow_leader_transitions_total{direction="lost",reason="unknown"}': 1,
      langflow_leader_doubt_seconds_total: 1.75,
      'langflow_leader_event_loop_lag_seconds_bucket{le="0.005"}': 1,
      'langflow_leader_event_loop_lag_seconds_bucket{le="10"}': 1,
      langflow_leader_event_loop_lag_seconds_count: 2,
    }
    for (const [sample, number] of Object.entries(expected)) assert.equal(value(sample), number, sample)
  })

  it('show the status at each scrape', async () => {
    const replica = new Replica()
    const scrapes: Awaited<ReturnType<typeof scrape>>[] = []
    for (const now of SCRAPED) {
      replica.now = now
      scrapes.push(await scrape(replica))
    }
    for (const [name, values] of Object.entries(SHOWN)) {
      const shown = scrapes.map(({ value }) => value(`langflow_leader_${name}`) ?? '-')
      assert.equal(shown.join(' '), values, name)
    }
  })

  it('include the version and the resources of the process', async () => {
    const { value } = await scrape(new Replica())
    assert.equal(value(`langflow_leader_build_info{version="${VERSION}",node="${process.versions.node}"}`), 1)
    assert.ok(value('process_resident_memory_bytes')! > 20e6)
    assert.ok(value('process_cpu_seconds_total')! > 0)
  })

  it('show each alarm while it lasts', async () => {
    const replica = new Replica()
    const alarms = async () => {
      const { value } = await scrape(replica)
      return [value('langflow_leader_grant_refused'), value('langflow_leader_stop_failed')]
    }
    assert.deepEqual(await alarms(), [0, 0])
    replica.metrics.alarm('grant_refused', true)
    assert.deepEqual(await alarms(), [1, 0])
    replica.metrics.alarm('stop_failed', true)
    replica.metrics.alarm('grant_refused', false)
    assert.deepEqual(await alarms(), [0, 1])
  })
})
