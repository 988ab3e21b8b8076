import { Counter, Gauge, Histogram, Registry } from 'prom-client'
import { VERSION } from '../version.ts'
import type { AgentStatus } from './status.ts'

/** What the program counts and times. */
export interface Metrics {
  /** `leader_election_master_status{name}`, as client-go names it. */
  leading(yes: boolean): void
  /** `leader_election_slowpath_total{name}`: a renewal that needed a read first. */
  slowPath(): void
  /** One answered or failed Lease write; the latency histogram counts acknowledged ones. */
  renewal(outcome: 'acknowledged' | 'conflict' | 'failed', latencyMs: number): void
  /** Leadership changed here, e.g. `acquired`, `lost:renew_deadline`, `stepped_down:unhealthy`. */
  transition(direction: 'acquired' | 'lost' | 'stepped_down', reason: string): void
  /** LangFlow failed and is started again in the same term. */
  restarted(reason: string): void
  /** Phases of a takeover, each measured from the end of the one before. */
  takeover(phase: 'detect' | 'acquire' | 'start' | 'healthy', durationMs: number): void
  stopped(durationMs: number): void
  apiRequest(verb: 'get' | 'list' | 'update' | 'patch' | 'create' | 'watch', code: string): void
}

/** What `/metrics` answers with. */
export interface Exposition {
  readonly contentType: string
  /** The text format 0.0.4, as of now. */
  expose(): Promise<string>
}

const PREFIX = 'langflow_leader_'
const REQUEST_BUCKETS = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10]
const TAKEOVER_BUCKETS = [0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 15, 20, 30, 45, 60, 120, 300, 600]
const STOP_BUCKETS = [0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 15, 20, 30, 60]

const STANDBY_STATES = ['ready', 'preparing', 'none'] as const

/** Its name without the prefix, its help, and its value; `null`: absent. */
type Scraped = readonly [string, string, (status: AgentStatus) => number | boolean | null]

const GAUGES: readonly Scraped[] = [
  [
    'kill_deadline_seconds',
    'Seconds until the deadman stops the workload; absent where this replica does not lead.',
    ({ leadership: { killInMs } }) => (killInMs === null ? null : Math.max(0, killInMs) / 1000),
  ],
  ['doubt', 'Whether leadership is in doubt: 1 if so, and nothing executes.', (now) => now.leadership.doubt],
  ['lease_epoch', 'The epoch (leaseTransitions) that this replica last saw.', (now) => now.lease.epoch],
  ['watch_up', 'Whether the watch on the Lease is open: 1 if so.', (now) => now.lease.watch === 'up'],
  ['gate_open', 'Whether this replica takes traffic: 1 if so.', (now) => now.traffic.gate === 'open'],
  [
    'workload_healthy',
    'Whether the workload answers its health requests: 1 if so.',
    (now) => now.workload.healthy,
  ],
  [
    'langflow_outdated',
    'Whether LangFlow here is older than one that has led, so that it does not take over: 1 if so.',
    (now) => now.langflow.outdated,
  ],
  [
    'problem',
    'Whether something keeps this replica from working: 1 if so, see /status.',
    (now) => now.problem !== null,
  ],
  [
    'standby_memory_bytes',
    'Memory (PSS) that the standby held when it became ready; absent where there is none.',
    (now) => now.standby.memoryBytes,
  ],
  [
    'peers_ready',
    'Other replicas that would take over now; absent where this one does not lead, or does not ask.',
    (now) => now.peers?.ready ?? null,
  ],
]

/** Somebody else counts these. */
const TOTALS: readonly Scraped[] = [
  [
    'freezes_total',
    'How often the workload was frozen, since its launcher started.',
    (now) => now.workload.freezes,
  ],
  [
    'deadman_firings_total',
    'How often the launcher acted on its own because no grant came, since it started.',
    (now) => now.workload.deadmanFirings,
  ],
]

/** Every counter and timer of one agent, in a registry of its own. `status` is read once for each scrape. */
export function createMetrics(options: {
  leaseName: string
  status: () => AgentStatus
}): Metrics & Exposition {
  const name = options.leaseName
  const registry = new Registry()
  const registers = [registry]
  const gauge = (name: string, help: string, ...labelNames: string[]) =>
    new Gauge({ name, help, labelNames, registers })
  const counter = (name: string, help: string, ...labelNames: string[]) =>
    new Counter({ name, help, labelNames, registers })
  const histogram = (name: string, help: string, buckets: number[], ...labelNames: string[]) =>
    new Histogram({ name, help, labelNames, buckets, registers })

  const leading = gauge(
    'leader_election_master_status',
    'Whether this replica holds the Lease: 1 if it does, 0 if not.',
    'name',
  )
  const slowPath = counter(
    'leader_election_slowpath_total',
    'Renewals that needed a read before the write.',
    'name',
  )
  const renewals = counter(`${PREFIX}renewals_total`, 'Writes of the Lease by outcome.', 'outcome')
  const renewDuration = histogram(
    `${PREFIX}renew_duration_seconds`,
    'From sending a write of the Lease to its acknowledgement.',
    REQUEST_BUCKETS,
  )
  const transitions = counter(
    `${PREFIX}transitions_total`,
    'Changes of leadership at this replica by direction and reason.',
    'direction',
    'reason',
  )
  const restarts = counter(
    `${PREFIX}restarts_total`,
    'Failures of the workload after which it was started again in place, by reason.',
    'reason',
  )
  const takeover = histogram(
    `${PREFIX}takeover_duration_seconds`,
    'Phases of a takeover, each from the end of the one before.',
    TAKEOVER_BUCKETS,
    'phase',
  )
  const stop = histogram(
    `${PREFIX}stop_duration_seconds`,
    'From the order to stop the workload to the confirmation that nothing of it lives.',
    STOP_BUCKETS,
  )
  const apiRequests = counter(
    `${PREFIX}api_requests_total`,
    'Requests to the API server by verb and answer.',
    'verb',
    'code',
  )
  const build = gauge(
    `${PREFIX}build_info`,
    'Which version runs, on which Node.js; always 1.',
    'version',
    'node',
  )
  const standby = gauge(
    `${PREFIX}standby_state`,
    'What the standby is: 1 for the state it is in, 0 for the others.',
    'mode',
    'state',
  )
  const gauges = GAUGES.map(([name, help, read]) => [gauge(PREFIX + name, help), read] as const)
  const totals = TOTALS.map(([name, help, read]) => [counter(PREFIX + name, help), read] as const)
  // Of the process only these: more would cost more than they tell.
  const memory = gauge('process_resident_memory_bytes', 'Resident memory size in bytes.')
  const cpu = counter('process_cpu_seconds_total', 'User and system CPU time spent, in seconds.')
  gauge('process_start_time_seconds', 'When the process started, in seconds since the Unix epoch.').set(
    Math.round(performance.timeOrigin) / 1000,
  )

  leading.set({ name }, 0)
  slowPath.inc({ name }, 0)
  for (const outcome of ['acknowledged', 'conflict', 'failed']) renewals.inc({ outcome }, 0)
  build.set({ version: VERSION, node: process.versions.node }, 1)
  const reasonLabel = boundedLabel(32)
  const failureLabel = boundedLabel(32)
  const codeLabel = boundedLabel(32)

  return {
    leading: (yes) => leading.set({ name }, yes ? 1 : 0),
    slowPath: () => slowPath.inc({ name }),
    renewal(outcome, latencyMs) {
      renewals.inc({ outcome })
      if (outcome === 'acknowledged') renewDuration.observe(latencyMs / 1000)
    },
    transition: (direction, reason) => transitions.inc({ direction, reason: reasonLabel(reason) }),
    restarted: (reason) => restarts.inc({ reason: failureLabel(reason) }),
    takeover: (phase, durationMs) => takeover.observe({ phase }, durationMs / 1000),
    stopped: (durationMs) => stop.observe(durationMs / 1000),
    apiRequest: (verb, code) => apiRequests.inc({ verb, code: codeLabel(code) }),
    contentType: registry.contentType,
    expose() {
      const status = options.status()
      for (const [metric, read] of gauges) {
        const value = read(status)
        if (value === null) metric.remove()
        else metric.set(Number(value))
      }
      for (const [metric, read] of totals) countTo(metric, Number(read(status)))
      standby.reset()
      const { mode, state: present } = status.standby
      for (const state of STANDBY_STATES) standby.set({ mode, state }, state === present ? 1 : 0)
      memory.set(process.memoryUsage.rss())
      const { user, system } = process.cpuUsage()
      countTo(cpu, (user + system) / 1e6)
      return registry.metrics()
    },
  }
}

/** A total that falls is a restart, which is what Prometheus takes it for. */
function countTo(counter: Counter, total: number): void {
  counter.reset()
  counter.inc(total)
}

const LONGEST_LABEL = 48

/**
 * Makes label values out of text whose variety nobody bounds: lower-case words joined by `_`, without numbers, so
 * that "exited with code 137" and "exited with code 1" are one series; after `limit` different ones, `other`.
 */
function boundedLabel(limit: number): (text: string) => string {
  const known = new Set<string>()
  return (text) => {
    // A bare status code is a fixed set already.
    const label = /^\d{3}$/.test(text) ? text : words(text)
    if (known.has(label)) return label
    if (known.size >= limit) return 'other'
    known.add(label)
    return label
  }
}

function words(text: string): string {
  const label = text
    .toLowerCase()
    .split(/[^a-z]+/)
    .filter((word) => word !== '')
    .join('_')
  return label.slice(0, LONGEST_LABEL).replace(/_$/, '') || 'none'
}
