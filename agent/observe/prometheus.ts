import { Counter, Gauge, Histogram, Registry } from 'prom-client'
import type { Timings } from '../config/timings.ts'
import type { Verb } from '../kube/kube-errors.ts'
import type { ReasonCode } from '../lease/reasons.ts'
import { whyColder } from '../link/link-messages.ts'
import type { AgentStatus } from '../status/agent-status.ts'
import { VERSION } from '../version.ts'

export interface Exposition {
  readonly contentType: string
  /** The text format 0.0.4, with the present values. */
  expose(): Promise<string>
}

const REQUEST_BUCKETS = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10]
const TAKEOVER_BUCKETS = [0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 15, 20, 30, 45, 60, 120, 300, 600]
const STOP_BUCKETS = [0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 15, 20, 30, 60]

const HOLD_BUCKETS = [0.01, 0.05, 0.1, 0.25, 0.5, 1, 1.5, 2, 3, 5, 10, 15, 20, 30, 60]
const LAG_BUCKETS = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10]

const STANDBY_STATES = ['ready', 'preparing', 'none'] as const
const PHASES = ['detect', 'acquire', 'start', 'healthy'] as const
/** Codes of the failures after which LangFlow may be restarted in its term. */
const RESTARTED_BECAUSE = [
  'workload_exited',
  'workload_unhealthy',
  'workload_lost',
  'deadman',
  'content_changed',
] as const

const HELP = {
  leader_election_master_status: 'Whether this replica holds the Lease: 1 if it does, 0 if not.',
  leader_election_slowpath_total: 'Renewals that needed a read before the write.',
  langflow_leader_renewals_total: 'Writes of the Lease by outcome.',
  langflow_leader_renew_duration_seconds: 'Seconds from sending a write of the Lease to its acknowledgement.',
  langflow_leader_transitions_total: 'Changes of leadership at this replica by direction and reason.',
  langflow_leader_restarts_total: 'Restarts of LangFlow in place, by reason.',
  langflow_leader_takeover_duration_seconds:
    'Duration of each phase of a takeover, from the end of the previous phase.',
  langflow_leader_stop_duration_seconds:
    'Seconds from the order to stop LangFlow to the confirmation that none of its processes is alive.',
  langflow_leader_api_requests_total: 'Requests to the API server by verb and answer.',
  langflow_leader_build_info: 'Versions of this program and of Node.js; always 1.',
  langflow_leader_standby_state: 'State of the standby: 1 for the present state, 0 for the others.',
  langflow_leader_kill_deadline_seconds:
    'Seconds until the deadman kills LangFlow; absent if this replica does not lead.',
  langflow_leader_doubt_seconds_total: 'Total seconds for which leadership was in doubt at this replica.',
  langflow_leader_event_loop_lag_seconds:
    "Delay of the agent's own timer, which fires each second: other work on its event loop is delayed as much.",
  langflow_leader_configured_seconds: 'Configured timings of this replica.',
  langflow_leader_could_take_over:
    'Whether this replica could take over: 1 if so, even while takeovers are paused; 0 on the leader.',
  langflow_leader_paused: 'Whether an operator has paused takeovers: 1 if so.',
  langflow_leader_standby_colder:
    'Whether the standby is colder than configured: 1 if so; /status has the reason.',
  langflow_leader_grant_refused:
    'Whether the launcher refuses grants, so that LangFlow cannot start: 1 if so.',
  langflow_leader_stop_failed:
    'Whether LangFlow could not be stopped, so that the leader keeps the Lease: 1 if so.',
  langflow_leader_flows_info:
    'Digest of the files from which LangFlow loads its flows; always 1, absent if it is unknown.',
  langflow_leader_content_info:
    'Digests of the files from which LangFlow starts, now and at its start; always 1, absent if no files are watched.',
  langflow_leader_content_age_seconds:
    'Seconds since the launcher first saw the present digest; absent if no files are watched.',
  langflow_leader_content_refused:
    'Whether the files from which LangFlow starts are not used as they are now: 1 if so; /status has the reason; absent if no files are watched.',
  langflow_leader_last_drill_timestamp_seconds:
    'Time of the last drill, in seconds since the Unix epoch; absent if there was none.',
  langflow_leader_last_drill_ok:
    'Whether the last drill succeeded within its limits: 1 if so; absent if there was none.',
  langflow_leader_doubt: 'Whether leadership is in doubt: 1 if so; LangFlow is frozen or stopped then.',
  langflow_leader_lease_epoch: 'The epoch (leaseTransitions) that this replica last saw.',
  langflow_leader_watch_up: 'Whether the watch on the Lease is open: 1 if so.',
  langflow_leader_gate_open: 'Whether the gate of this replica is open: 1 if so.',
  langflow_leader_workload_healthy: 'Whether the workload answers its health requests: 1 if so.',
  langflow_leader_langflow_outdated:
    'Whether LangFlow is older than a version that has led, so that this replica does not take over: 1 if so.',
  langflow_leader_revision_failed:
    "Reason why the first start of this pod's revision failed; always 1, absent if it did not fail.",
  langflow_leader_problem: 'Whether this replica has a problem: 1 if so; /status describes it.',
  langflow_leader_standby_memory_bytes:
    'Memory (PSS) of the standby when it became ready; absent if there is none.',
  langflow_leader_peers_ready:
    'Number of other replicas that could take over, even while takeovers are paused; absent if this replica does not lead, or --peers is not set.',
  langflow_leader_front_up:
    'Whether the front of this replica accepts requests: 1 if so; absent if there is no front.',
  langflow_leader_front_held: 'Requests that wait in the front for a serving leader.',
  langflow_leader_front_in_flight:
    'Requests that the front has forwarded and whose answers are not complete, without streams.',
  langflow_leader_front_streams: 'Open SSE answers and websockets in the front.',
  langflow_leader_front_leader_unreachable:
    "Address of the leader's front, if it does not answer this replica's front although the leader is healthy: always 1, otherwise absent.",
  langflow_leader_front_resident_memory_bytes: "Resident memory size of the front's process in bytes.",
  langflow_leader_front_forwarded_total:
    "Requests answered completely, by the answering side: langflow, or leader (the leader's front).",
  langflow_leader_front_failed_total: 'Requests that the front refused, or that failed in it, by reason.',
  langflow_leader_front_streams_ended_total: 'Streams that the front ended for a handover.',
  langflow_leader_front_hold_duration_seconds:
    'Seconds that requests waited in the front, without requests that did not wait.',
  langflow_leader_freezes_total: 'Number of freezes of LangFlow since its launcher started.',
  langflow_leader_deadman_firings_total:
    'Number of times that the launcher stopped LangFlow by its own clock since it started, because no grant arrived.',
  // Only these metrics of the process: more would cost more than their use.
  process_resident_memory_bytes: 'Resident memory size in bytes.',
  process_cpu_seconds_total: 'User and system CPU time spent, in seconds.',
  process_start_time_seconds: 'Start time of the process, in seconds since the Unix epoch.',
}

type Name = keyof typeof HELP

/** The values that each scrape reads from the status. `null`: absent. */
const GAUGES: { readonly [N in Name]?: (now: AgentStatus) => number | boolean | null } = {
  langflow_leader_kill_deadline_seconds: ({ leadership: { killInMs } }) =>
    killInMs === null ? null : Math.max(0, killInMs) / 1000,
  langflow_leader_doubt: (now) => now.leadership.doubt,
  langflow_leader_lease_epoch: (now) => now.lease.epoch,
  langflow_leader_watch_up: (now) => now.lease.watch === 'up',
  langflow_leader_gate_open: (now) => now.traffic.gate === 'open',
  langflow_leader_workload_healthy: (now) => now.workload.healthy,
  langflow_leader_langflow_outdated: (now) => now.langflow.outdated,
  langflow_leader_problem: (now) => now.problem !== null,
  langflow_leader_standby_memory_bytes: (now) => now.standby.memoryBytes,
  langflow_leader_peers_ready: (now) => now.peers?.ready ?? null,
  langflow_leader_front_up: ({ traffic: { front } }) => front?.listening ?? null,
  langflow_leader_front_held: ({ traffic: { front } }) => front?.held ?? null,
  langflow_leader_front_in_flight: ({ traffic: { front } }) => front?.inFlight ?? null,
  langflow_leader_front_streams: ({ traffic: { front } }) => front?.streams ?? null,
  langflow_leader_front_resident_memory_bytes: ({ traffic: { front } }) => front?.rssBytes || null,
  langflow_leader_could_take_over: (now) => now.couldTakeOver,
  langflow_leader_paused: (now) => now.pause !== null,
  langflow_leader_standby_colder: ({ standby }) => whyColder(standby, standby.wanted) !== null,
  langflow_leader_content_age_seconds: ({ content }) =>
    content?.ageMs == null ? null : content.ageMs / 1000,
  langflow_leader_content_refused: ({ content }) => content && content.problem !== null,
  langflow_leader_last_drill_timestamp_seconds: ({ lastDrill }) =>
    lastDrill === null ? null : Date.parse(lastDrill.at) / 1000,
  langflow_leader_last_drill_ok: ({ lastDrill }) => (lastDrill === null ? null : lastDrill.result === 'ok'),
}

/** Labels of `langflow_leader_configured_seconds`. */
const SETTINGS = {
  leaseDurationMs: 'lease_duration',
  renewDeadlineMs: 'renew_deadline',
  retryPeriodMs: 'retry_period',
  killMarginMs: 'kill_margin',
} as const satisfies Record<keyof Timings, string>

/** The counters and timers that an agent feeds. A scrape reads all other values from its status. */
export type Metrics = Omit<ReturnType<typeof createMetrics>, keyof Exposition>

/** Every metric of one agent, in its own registry. `status` is read once for each scrape. */
export function createMetrics(options: { leaseName: string; status: () => AgentStatus }) {
  const name = options.leaseName
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
  const stop = histogram('langflow_leader_stop_duration_seconds', STOP_BUCKETS)
  const apiRequests = counter('langflow_leader_api_requests_total', 'verb', 'code')
  const build = gauge('langflow_leader_build_info', 'version', 'node')
  const standby = gauge('langflow_leader_standby_state', 'mode', 'state')
  const doubtSeconds = counter('langflow_leader_doubt_seconds_total')
  const lag = histogram('langflow_leader_event_loop_lag_seconds', LAG_BUCKETS)
  const configured = gauge('langflow_leader_configured_seconds', 'setting')
  const alarms = {
    grant_refused: gauge('langflow_leader_grant_refused'),
    stop_failed: gauge('langflow_leader_stop_failed'),
  }
  const flows = gauge('langflow_leader_flows_info', 'digest')
  const contentInfo = gauge('langflow_leader_content_info', 'digest', 'running')
  const revisionFailed = gauge('langflow_leader_revision_failed', 'revision', 'reason')
  const unreachable = gauge('langflow_leader_front_leader_unreachable', 'address')
  const gauges = Object.entries(GAUGES).map(([name, read]) => [gauge(name as Name), read] as const)
  const freezes = counter('langflow_leader_freezes_total')
  const deadmanFirings = counter('langflow_leader_deadman_firings_total')
  const forwarded = counter('langflow_leader_front_forwarded_total', 'to')
  const failed = counter('langflow_leader_front_failed_total', 'reason')
  const streamsEnded = counter('langflow_leader_front_streams_ended_total')
  const hold = histogram('langflow_leader_front_hold_duration_seconds', HOLD_BUCKETS)
  const memory = gauge('process_resident_memory_bytes')
  const cpu = counter('process_cpu_seconds_total')
  gauge('process_start_time_seconds').set(Math.round(performance.timeOrigin) / 1000)

  leading.set({ name }, 0)
  slowPath.inc({ name }, 0)
  // `increase` misses the first value of a series, so each series starts at 0.
  for (const outcome of ['acknowledged', 'conflict', 'failed']) renewals.inc({ outcome }, 0)
  for (const reason of RESTARTED_BECAUSE) restarts.inc({ reason }, 0)
  for (const phase of PHASES) takeover.zero({ phase })
  build.set({ version: VERSION, node: process.versions.node }, 1)

  const exposition: Exposition = {
    contentType: registry.contentType,
    expose() {
      const status = options.status()
      for (const [metric, read] of gauges) {
        const value = read(status)
        if (value === null) metric.remove()
        else metric.set(Number(value))
      }
      // The launcher counts these.
      countTo(freezes, status.workload.freezes)
      countTo(deadmanFirings, status.workload.deadmanFirings)
      standby.reset()
      const { mode, state: present } = status.standby
      for (const state of STANDBY_STATES) standby.set({ mode, state }, state === present ? 1 : 0)
      for (const [timing, setting] of Object.entries(SETTINGS))
        configured.set({ setting }, status.timings[timing as keyof Timings] / 1000)
      const { front } = status.traffic
      for (const [to, total] of Object.entries(front?.forwarded ?? {})) countTo(forwarded, total, { to })
      for (const [reason, total] of Object.entries(front?.failed ?? {})) countTo(failed, total, { reason })
      countTo(streamsEnded, front?.streamsEnded ?? 0)
      const { flowsDigest, content, revision, onTrial } = status
      only(unreachable, { address: front?.unreachable })
      only(flows, { digest: flowsDigest })
      only(contentInfo, { digest: content?.digest, running: content?.running ?? '' })
      only(revisionFailed, { revision, reason: onTrial?.failed })
      memory.set(process.memoryUsage.rss())
      const { user, system } = process.cpuUsage()
      countTo(cpu, (user + system) / 1e6)
      return registry.metrics()
    },
  }
  return {
    ...exposition,
    leading: (yes: boolean) => leading.set({ name }, yes ? 1 : 0),
    /** A renewal needed a read first. */
    slowPath: () => slowPath.inc({ name }),
    /** One answered or failed Lease write. */
    renewal(outcome: 'acknowledged' | 'conflict' | 'failed', latencyMs: number) {
      renewals.inc({ outcome })
      if (outcome === 'acknowledged') renewDuration.observe(latencyMs / 1000)
    },
    transition: (direction: 'acquired' | 'lost' | 'stepped_down', reason: ReasonCode | undefined) =>
      transitions.inc({ direction, reason: reason ?? 'unknown' }),
    restarted: (reason: ReasonCode | undefined) => restarts.inc({ reason: reason ?? 'unknown' }),
    /** A doubt about leadership is over. */
    doubted: (durationMs: number) => doubtSeconds.inc(durationMs / 1000),
    /** Whether a state lasts that requires an operator. */
    alarm: (what: keyof typeof alarms, yes: boolean) => alarms[what].set(yes ? 1 : 0),
    /** Delay of a timer. */
    late: (ms: number) => lag.observe(ms / 1000),
    takeover: (phase: (typeof PHASES)[number], durationMs: number) =>
      takeover.observe({ phase }, durationMs / 1000),
    stopped: (durationMs: number) => stop.observe(durationMs / 1000),
    /** A request no longer waits in the front. */
    held: (durationMs: number) => hold.observe(durationMs / 1000),
    apiRequest: (verb: Verb, code: string) => apiRequests.inc({ verb, code }),
  }
}

/** Shows the one sample of a metric. It is absent if the value of a label is unknown. */
function only(gauge: Gauge, labels: Readonly<Record<string, string | null | undefined>>): void {
  gauge.reset()
  if (Object.values(labels).every((value) => value != null)) gauge.set(labels as Record<string, string>, 1)
}

/** Prometheus treats a falling total as a restart, which it is. */
function countTo(counter: Counter, total: number, labels: Record<string, string> = {}): void {
  counter.remove(labels)
  counter.inc(labels, total)
}
