import { Counter, Gauge, Histogram, Registry } from 'prom-client'
import { flagOf } from '../config/setting.ts'
import type { Verb } from '../kube/kube-errors.ts'
import type { ReasonCode } from '../lease/reasons.ts'
import { whyColder } from '../link/link-messages.ts'
import type { AgentStatus } from '../status/agent-status.ts'
import { VERSION } from '../version.ts'

const REQUEST_BUCKETS = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10]
const TAKEOVER_BUCKETS = [0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 15, 20, 30, 45, 60, 120, 300, 600]

const PHASES = ['detect', 'acquire', 'start', 'healthy'] as const
/** Codes of the failures after which LangFlow may be restarted in its term. */
const RESTARTS = ['workload_exited', 'workload_unhealthy', 'workload_lost', 'deadman', 'content_changed']

const HELP = {
  leader_election_master_status: 'Whether this replica holds the Lease.',
  leader_election_slowpath_total: 'Renewals that needed a read before the write.',
  langflow_leader_renewals_total: 'Writes of the Lease by outcome.',
  langflow_leader_renew_duration_seconds: 'Time from sending a write of the Lease to its acknowledgement.',
  langflow_leader_transitions_total: 'Changes of leadership at this replica by direction and reason.',
  langflow_leader_restarts_total: 'Restarts of LangFlow in place, by reason.',
  langflow_leader_takeover_duration_seconds: 'Duration of each phase of a takeover.',
  langflow_leader_stop_duration_seconds: 'Time from the order to stop LangFlow to its confirmation.',
  langflow_leader_api_requests_total: 'Requests to the API server by verb and answer.',
  langflow_leader_doubt_seconds_total: 'Total time for which leadership was in doubt.',
  langflow_leader_event_loop_lag_seconds: 'Delay of a timer of the agent, which fires each second.',
  langflow_leader_grant_refused: 'Whether the launcher refuses grants, so that LangFlow cannot start.',
  langflow_leader_stop_failed: 'Whether LangFlow could not be stopped.',

  langflow_leader_kill_deadline_seconds: 'Time until the deadman kills LangFlow.',
  langflow_leader_doubt: 'Whether leadership is in doubt.',
  langflow_leader_failsafe_members: 'Number of replicas whose consent replaces the API server.',
  langflow_leader_failsafe_left_seconds:
    'Time for which this leader may serve by consent. Absent: it does not need to.',
  langflow_leader_lease_epoch: 'The epoch (leaseTransitions) that this replica last saw.',
  langflow_leader_watch_up: 'Whether the watch on the Lease is open.',
  langflow_leader_gate_open: 'Whether the gate of this replica is open.',
  langflow_leader_workload_healthy: 'Whether LangFlow answers its health requests.',
  langflow_leader_workload_busy_seconds: 'Time for which LangFlow has been busy.',
  langflow_leader_langflow_outdated: 'Whether LangFlow is older than a version that has led.',
  langflow_leader_problem: 'Whether this replica has a problem, which /status describes.',
  langflow_leader_peers_ready: 'Number of other replicas that could take over.',
  langflow_leader_front_up: 'Whether the front of this replica accepts requests.',
  langflow_leader_front_held: 'Requests that wait in the front for a serving leader.',
  langflow_leader_front_oldest_held_seconds: 'Time for which the oldest of these requests has waited.',
  langflow_leader_front_in_flight: 'Forwarded requests whose answers are not complete, without streams.',
  langflow_leader_front_streams: 'Open SSE answers and websockets in the front.',
  langflow_leader_front_resident_memory_bytes: "Resident memory size of the front's process.",
  langflow_leader_front_streams_ended_total: 'Streams that the front ended for a handover.',
  langflow_leader_could_take_over: 'Whether this replica could take over.',
  langflow_leader_paused: 'Whether an operator has paused takeovers.',
  langflow_leader_standby_colder: 'Whether the standby is colder than configured.',
  langflow_leader_content_refused: 'Whether LangFlow does not use its files as they are now.',
  langflow_leader_last_drill_timestamp_seconds: 'Time of the last drill, in seconds since the Unix epoch.',
  langflow_leader_last_drill_ok: 'Whether the last drill succeeded within its limits.',
  langflow_leader_freezes_total: 'Freezes of LangFlow since its launcher started.',
  langflow_leader_deadman_firings_total: 'Stops of LangFlow by the clock of its launcher since it started.',
  // Only these metrics of the process: more would cost more than their use.
  process_resident_memory_bytes: 'Resident memory size.',
  process_cpu_seconds_total: 'User and system CPU time spent.',

  langflow_leader_build_info: 'Versions of this program and of Node.js.',
  langflow_leader_standby_state: 'State of the standby: 1 for the present state, 0 for the others.',
  langflow_leader_configured_seconds: 'Configured timings of this replica.',
  langflow_leader_flows_info: 'Digest of the files from which LangFlow loads its flows.',
  langflow_leader_revision_failed: "Why the first start of this pod's revision failed.",
  langflow_leader_front_forwarded_total: 'Requests answered completely, by the answering side.',
  langflow_leader_front_failed_total: 'Requests that the front refused, or that failed in it, by reason.',
}

type Name = keyof typeof HELP
type Labels = Readonly<Record<string, string>>
type Samples = readonly (readonly [Labels, number])[]
type Reason = ReasonCode | 'unknown'

/** A scrape reads these values from the status. A name with `_total` is a counter. */
const READINGS: { readonly [N in Name]?: (now: AgentStatus) => number | boolean | Samples | null } = {
  langflow_leader_kill_deadline_seconds: ({ leadership: { killInMs } }) =>
    killInMs === null ? null : Math.max(0, killInMs) / 1000,
  langflow_leader_doubt: (now) => now.leadership.doubt,
  langflow_leader_failsafe_members: ({ failsafe }) => failsafe?.members.length ?? null,
  langflow_leader_failsafe_left_seconds: ({ failsafe }) =>
    failsafe?.byConsent ? failsafe.byConsent.leftMs / 1000 : null,
  langflow_leader_lease_epoch: (now) => now.lease.epoch,
  langflow_leader_watch_up: (now) => now.lease.watch === 'up',
  langflow_leader_gate_open: (now) => now.traffic.gate === 'open',
  langflow_leader_workload_healthy: (now) => now.workload.healthy,
  langflow_leader_workload_busy_seconds: (now) => (now.workload.busy?.ms ?? 0) / 1000,
  langflow_leader_langflow_outdated: (now) => now.langflow.outdated,
  langflow_leader_problem: (now) => now.problem !== null,
  langflow_leader_peers_ready: (now) => now.peers?.ready ?? null,
  langflow_leader_front_up: ({ traffic: { front } }) => front?.listening ?? null,
  langflow_leader_front_held: ({ traffic: { front } }) => front?.held ?? null,
  langflow_leader_front_oldest_held_seconds: ({ traffic: { front } }) => front && front.oldestHeldMs / 1000,
  langflow_leader_front_in_flight: ({ traffic: { front } }) => front?.inFlight ?? null,
  langflow_leader_front_streams: ({ traffic: { front } }) => front?.streams ?? null,
  langflow_leader_front_resident_memory_bytes: ({ traffic: { front } }) => front?.rssBytes || null,
  langflow_leader_front_streams_ended_total: ({ traffic: { front } }) => front?.streamsEnded ?? 0,
  langflow_leader_could_take_over: (now) => now.couldTakeOver,
  langflow_leader_paused: (now) => now.pause !== null,
  langflow_leader_standby_colder: ({ standby }) => whyColder(standby, standby.wanted) !== null,
  langflow_leader_content_refused: ({ content }) => content && content.problem !== null,
  langflow_leader_last_drill_timestamp_seconds: ({ lastDrill }) =>
    lastDrill && Date.parse(lastDrill.at) / 1000,
  langflow_leader_last_drill_ok: ({ lastDrill }) => lastDrill && lastDrill.result === 'ok',
  langflow_leader_freezes_total: (now) => now.workload.freezes,
  langflow_leader_deadman_firings_total: (now) => now.workload.deadmanFirings,
  process_resident_memory_bytes: () => process.memoryUsage.rss(),
  process_cpu_seconds_total: () => (process.cpuUsage().user + process.cpuUsage().system) / 1e6,
  langflow_leader_build_info: () => info({ version: VERSION, node: process.versions.node }),
  langflow_leader_standby_state: ({ standby: { mode, state: now } }) =>
    ['ready', 'preparing', 'none'].map((state) => [{ mode, state }, Number(state === now)]),
  langflow_leader_configured_seconds: ({ timings }) =>
    Object.entries(timings).map(([key, ms]) => [
      { setting: flagOf(key).slice(2).replaceAll('-', '_') },
      ms / 1000,
    ]),
  langflow_leader_flows_info: ({ flowsDigest: digest }) => info({ digest }),
  langflow_leader_revision_failed: ({ revision, onTrial }) => info({ revision, reason: onTrial?.failed }),
  langflow_leader_front_forwarded_total: ({ traffic }) => each('to', traffic.front?.forwarded),
  langflow_leader_front_failed_total: ({ traffic }) => each('reason', traffic.front?.failed),
}

function info(labels: Readonly<Record<string, string | null | undefined>>): Samples {
  return Object.values(labels).every((value) => value != null) ? [[labels as Labels, 1]] : []
}

function each(label: string, counts: Readonly<Record<string, number>> = {}): Samples {
  return Object.entries(counts).map(([value, count]) => [{ [label]: value }, count])
}

export type Exposition = Pick<ReturnType<typeof createMetrics>, 'contentType' | 'expose'>
/** The counters and timers that an agent feeds. A scrape reads all other values from its status. */
export type Metrics = Omit<ReturnType<typeof createMetrics>, keyof Exposition>

export function createMetrics({ leaseName: name, status }: { leaseName: string; status: () => AgentStatus }) {
  const registry = new Registry()
  const registers = [registry]
  const gauge = (name: Name, ...labelNames: string[]) =>
    new Gauge({ name, help: HELP[name], labelNames, registers })
  const counter = (name: Name, ...labelNames: string[]) =>
    new Counter({ name, help: HELP[name], labelNames, registers })
  const histogram = (name: Name, buckets: number[], ...labelNames: string[]) =>
    new Histogram({ name, help: HELP[name], labelNames, buckets, registers })

  const leading = gauge('leader_election_master_status', 'name')
  const slowPath = counter('leader_election_slowpath_total', 'name')
  const renewals = counter('langflow_leader_renewals_total', 'outcome')
  const renewDuration = histogram('langflow_leader_renew_duration_seconds', REQUEST_BUCKETS)
  const transitions = counter('langflow_leader_transitions_total', 'direction', 'reason')
  const restarts = counter('langflow_leader_restarts_total', 'reason')
  const takeover = histogram('langflow_leader_takeover_duration_seconds', TAKEOVER_BUCKETS, 'phase')
  const stop = histogram('langflow_leader_stop_duration_seconds', TAKEOVER_BUCKETS)
  const apiRequests = counter('langflow_leader_api_requests_total', 'verb', 'code')
  const doubtSeconds = counter('langflow_leader_doubt_seconds_total')
  const lag = histogram('langflow_leader_event_loop_lag_seconds', REQUEST_BUCKETS)
  const alarms = {
    grant_refused: gauge('langflow_leader_grant_refused'),
    stop_failed: gauge('langflow_leader_stop_failed'),
  }
  leading.set({ name }, 0)
  slowPath.inc({ name }, 0)
  // `increase` misses the first value of a series, so each series starts at 0.
  for (const outcome of ['acknowledged', 'conflict', 'failed']) renewals.inc({ outcome }, 0)
  for (const reason of RESTARTS) restarts.inc({ reason }, 0)
  for (const phase of PHASES) takeover.zero({ phase })

  return {
    contentType: registry.contentType,
    expose: async () => (await registry.metrics()) + (await scrape(status())),
    leading: (yes: boolean) => leading.set({ name }, Number(yes)),
    slowPath: () => slowPath.inc({ name }),
    renewal(outcome: 'acknowledged' | 'conflict' | 'failed', latencyMs: number) {
      renewals.inc({ outcome })
      if (outcome === 'acknowledged') renewDuration.observe(latencyMs / 1000)
    },
    transition: (direction: 'acquired' | 'lost' | 'stepped_down', reason: Reason = 'unknown') =>
      transitions.inc({ direction, reason }),
    restarted: (reason: Reason = 'unknown') => restarts.inc({ reason }),
    doubted: (durationMs: number) => doubtSeconds.inc(durationMs / 1000),
    alarm: (what: keyof typeof alarms, yes: boolean) => alarms[what].set(Number(yes)),
    late: (ms: number) => lag.observe(ms / 1000),
    takeover: (phase: (typeof PHASES)[number], durationMs: number) =>
      takeover.observe({ phase }, durationMs / 1000),
    stopped: (durationMs: number) => stop.observe(durationMs / 1000),
    apiRequest: (verb: Verb, code: string) => apiRequests.inc({ verb, code }),
  }
}

/** New metrics for each scrape: Prometheus treats a falling total as a restart, which it is. */
function scrape(now: AgentStatus): Promise<string> {
  const registry = new Registry()
  for (const [name, read] of Object.entries(READINGS)) {
    const value = read(now)
    const samples: Samples = typeof value === 'object' ? (value ?? []) : [[{}, Number(value)]]
    const labelNames = Object.keys(samples[0]?.[0] ?? {})
    const options = { name, help: HELP[name as Name], labelNames, registers: [registry] }
    const metric = name.endsWith('_total') ? new Counter(options) : new Gauge(options)
    if (samples.length === 0) metric.remove()
    for (const [labels, total] of samples) metric.inc(labels, total)
  }
  return registry.metrics()
}
