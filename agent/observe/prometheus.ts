import { Counter, Gauge, Histogram, Registry } from 'prom-client'
import { VERSION } from '../version.ts'
import { boundedLabel } from './bounded-label.ts'
import type { Metrics } from './metrics.ts'
import { scrapedMetrics } from './scraped-metrics.ts'
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
