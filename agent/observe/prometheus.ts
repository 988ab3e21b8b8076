import { Counter, Gauge, Histogram, Registry } from 'prom-client'
import { VERSION } from '../version.ts'
import type { Metrics } from './metrics.ts'
import type { AgentStatus } from './status.ts'

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

/** Every counter and timer of one agent, in a registry of its own. `status` is read once for each scrape. */
export function createMetrics(options: {
  leaseName: string
  status: () => AgentStatus
}): Metrics & Exposition {
  const name = options.leaseName
  const registry = new Registry()
  const registers = [registry]

  const leading = new Gauge({
    name: 'leader_election_master_status',
    help: 'Whether this replica holds the Lease: 1 if it does, 0 if not.',
    labelNames: ['name'],
    registers,
  })
  const slowPath = new Counter({
    name: 'leader_election_slowpath_total',
    help: 'Renewals that needed a read before the write.',
    labelNames: ['name'],
    registers,
  })
  const renewals = new Counter({
    name: `${PREFIX}renewals_total`,
    help: 'Writes of the Lease by outcome.',
    labelNames: ['outcome'],
    registers,
  })
  const renewDuration = new Histogram({
    name: `${PREFIX}renew_duration_seconds`,
    help: 'From sending a write of the Lease to its acknowledgement.',
    buckets: REQUEST_BUCKETS,
    registers,
  })
  const transitions = new Counter({
    name: `${PREFIX}transitions_total`,
    help: 'Changes of leadership at this replica by direction and reason.',
    labelNames: ['direction', 'reason'],
    registers,
  })
  const restarts = new Counter({
    name: `${PREFIX}restarts_total`,
    help: 'Failures of the workload after which it was started again in place, by reason.',
    labelNames: ['reason'],
    registers,
  })
  const takeover = new Histogram({
    name: `${PREFIX}takeover_duration_seconds`,
    help: 'Phases of a takeover, each from the end of the one before.',
    labelNames: ['phase'],
    buckets: TAKEOVER_BUCKETS,
    registers,
  })
  const stop = new Histogram({
    name: `${PREFIX}stop_duration_seconds`,
    help: 'From the order to stop the workload to the confirmation that nothing of it lives.',
    buckets: STOP_BUCKETS,
    registers,
  })
  const apiRequests = new Counter({
    name: `${PREFIX}api_requests_total`,
    help: 'Requests to the API server by verb and answer.',
    labelNames: ['verb', 'code'],
    registers,
  })
  new Gauge({
    name: `${PREFIX}build_info`,
    help: 'Which version runs, on which Node.js; always 1.',
    labelNames: ['version', 'node'],
    registers,
  }).set({ version: VERSION, node: process.versions.node }, 1)
  const scrape = scrapedMetrics(registers, PREFIX)

  leading.set({ name }, 0)
  slowPath.inc({ name }, 0)
  for (const outcome of ['acknowledged', 'conflict', 'failed']) renewals.inc({ outcome }, 0)
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
      scrape(options.status())
      return registry.metrics()
    },
  }
}

const STANDBY_STATES = ['ready', 'preparing', 'none'] as const

/**
 * What is not counted as it happens but read when someone asks, which is what the returned function does.
 * CPU and memory are the only ones of the process: more would cost more than they tell.
 */
function scrapedMetrics(registers: Registry[], prefix: string): (status: AgentStatus) => void {
  const gauge = (name: string, help: string) => new Gauge({ name, help, registers })
  const counter = (name: string, help: string) => new Counter({ name, help, registers })

  const killIn = gauge(
    `${prefix}kill_deadline_seconds`,
    'Seconds until the deadman stops the workload; absent where this replica does not lead.',
  )
  const doubt = gauge(`${prefix}doubt`, 'Whether leadership is in doubt: 1 if so, and nothing executes.')
  const epoch = gauge(`${prefix}lease_epoch`, 'The epoch (leaseTransitions) that this replica last saw.')
  const watchUp = gauge(`${prefix}watch_up`, 'Whether the watch on the Lease is open: 1 if so.')
  const gate = gauge(`${prefix}gate_open`, 'Whether this replica takes traffic: 1 if so.')
  const healthy = gauge(
    `${prefix}workload_healthy`,
    'Whether the workload answers its health requests: 1 if so.',
  )
  const outdated = gauge(
    `${prefix}langflow_outdated`,
    'Whether LangFlow here is older than one that has led, so that it does not take over: 1 if so.',
  )
  const problem = gauge(
    `${prefix}problem`,
    'Whether something keeps this replica from working: 1 if so, see /status.',
  )
  const freezes = counter(
    `${prefix}freezes_total`,
    'How often the workload was frozen, since its launcher started.',
  )
  const firings = counter(
    `${prefix}deadman_firings_total`,
    'How often the launcher acted on its own because no grant came, since it started.',
  )
  const standby = new Gauge({
    name: `${prefix}standby_state`,
    help: 'What the standby is: 1 for the state it is in, 0 for the others.',
    labelNames: ['mode', 'state'],
    registers,
  })
  const standbyMemory = gauge(
    `${prefix}standby_memory_bytes`,
    'Memory (PSS) that the standby held when it became ready; absent where there is none.',
  )
  const peersReady = gauge(
    `${prefix}peers_ready`,
    'Other replicas that would take over now; absent where this one does not lead, or does not ask.',
  )
  const memory = gauge('process_resident_memory_bytes', 'Resident memory size in bytes.')
  const cpu = counter('process_cpu_seconds_total', 'User and system CPU time spent, in seconds.')
  gauge('process_start_time_seconds', 'When the process started, in seconds since the Unix epoch.').set(
    Math.round(performance.timeOrigin) / 1000,
  )

  return (status) => {
    const { killInMs } = status.leadership
    if (killInMs === null) killIn.remove()
    else killIn.set(Math.max(0, killInMs) / 1000)
    doubt.set(status.leadership.doubt ? 1 : 0)
    epoch.set(status.lease.epoch)
    watchUp.set(status.lease.watch === 'up' ? 1 : 0)
    gate.set(status.traffic.gate === 'open' ? 1 : 0)
    healthy.set(status.workload.healthy ? 1 : 0)
    outdated.set(status.langflow.outdated ? 1 : 0)
    problem.set(status.problem === null ? 0 : 1)
    countTo(freezes, status.workload.freezes)
    countTo(firings, status.workload.deadmanFirings)
    standby.reset()
    for (const state of STANDBY_STATES) {
      standby.set({ mode: status.standby.mode, state }, status.standby.state === state ? 1 : 0)
    }
    if (status.standby.memoryBytes === null) standbyMemory.remove()
    else standbyMemory.set(status.standby.memoryBytes)
    if (status.peers === null) peersReady.remove()
    else peersReady.set(status.peers.ready)
    memory.set(process.memoryUsage.rss())
    const { user, system } = process.cpuUsage()
    countTo(cpu, (user + system) / 1e6)
  }
}

/** Somebody else counts; a total that falls is a restart, which is what Prometheus takes it for. */
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
