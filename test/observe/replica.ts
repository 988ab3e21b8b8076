import type { PastTerm } from '../../agent/lease/lease-history.ts'
import { podOf } from '../../agent/lease/operator-annotations.ts'
import { COLD } from '../../agent/link/link-messages.ts'
import type { StatusSource } from '../../agent/observe/http-server.ts'
import { createMetrics } from '../../agent/observe/prometheus.ts'
import type { AgentStatus, FrontView, ReplicaRow } from '../../agent/status/agent-status.ts'

/** Every number differs, so that a test notices if two fields are mixed up. */
export const FRONT: FrontView = {
  listening: true,
  held: 2,
  oldestHeldMs: 1_500,
  inFlight: 3,
  streams: 4,
  forwarded: { langflow: 500, leader: 60 },
  failed: { hold_timeout: 5, hold_limit: 6, overload: 20, outcome_unknown: 7, cut: 8, client_gone: 9 },
  streamsEnded: 10,
  answeredAt: 11,
  rssBytes: 90_000_000,
}

/** A leader that serves. */
export const SERVING: AgentStatus = {
  identity: 'langflow-0_3f1c',
  version: '0.1.0',
  revision: '7d9c5b8f4',
  onTrial: null,
  podAgeMs: 90_000,
  now: '2026-01-02T03:04:05.678Z',
  role: 'leader',
  couldTakeOver: false,
  unable: null,
  decision: 'holding the Lease in epoch 7, 13.2 s left',
  problem: null,
  lease: {
    namespace: 'team',
    name: 'langflow-leader-lock',
    holder: 'langflow-0_3f1c',
    self: true,
    epoch: 7,
    since: '2026-01-02T03:00:00.000000Z',
    watch: 'up',
    freeInMs: null,
  },
  leadership: { doubt: false, killInMs: 13_250, steppingDown: null, planned: null, coolDownMs: null },
  failsafe: null,
  workload: {
    state: 'running',
    epoch: 7,
    identity: 'langflow-0_3f1c',
    pid: 42,
    killAt: 1,
    deadmanFirings: 2,
    freezes: 3,
    orderedAt: 1,
    servedSince: 2,
    loss: null,
    launcher: 'connected',
    healthy: true,
    lastProbe: '/health 200',
    busy: null,
  },
  langflow: { version: '1.13.0', newest: '1.13.0', outdated: false },
  standby: { ...COLD, wanted: 'cold' },
  peers: { ready: 1, seen: 2 },
  traffic: { mode: 'readiness', gate: 'open', routedTo: null, front: null },
  timings: { leaseDurationMs: 15_000, renewDeadlineMs: 10_000, retryPeriodMs: 2_000, killMarginMs: 1_000 },
  pause: null,
  switchover: null,
  lastDrill: null,
  history: [],
  flowsDigest: null,
  secretKeyDigest: null,
  content: null,
  checks: [
    { name: 'leadership', ok: true, detail: 'holds the Lease' },
    { name: 'lease', ok: true, detail: 'watched' },
    { name: 'launcher', ok: true, detail: 'connected' },
    { name: 'workload', ok: true, detail: 'healthy' },
    { name: 'gate', ok: true, detail: 'open' },
  ],
}

/** A follower that could take over. */
export const FOLLOWING: AgentStatus = {
  ...SERVING,
  role: 'follower',
  couldTakeOver: true,
  decision: 'langflow-1_9d2e leads',
  lease: { ...SERVING.lease, holder: 'langflow-1_9d2e', self: false, freeInMs: 13_100 },
  leadership: { ...SERVING.leadership, killInMs: null },
  workload: { ...SERVING.workload, state: 'idle', pid: null, healthy: false },
  peers: null,
  traffic: { mode: 'readiness', gate: 'closed', routedTo: null, front: null },
  checks: [
    { name: 'leadership', ok: false, detail: 'held by langflow-1_9d2e' },
    { name: 'lease', ok: true, detail: 'watched' },
    { name: 'launcher', ok: true, detail: 'connected' },
    { name: 'workload', ok: false, detail: 'not running' },
    { name: 'gate', ok: false, detail: 'closed' },
  ],
}

/** The view of a front that has just started. */
const NEW_FRONT: FrontView = { ...FRONT, held: 0, oldestHeldMs: 0, inFlight: 0, streams: 0 }

/** The same status in front mode. */
export function fronted(status: AgentStatus, front: Partial<FrontView> = {}): AgentStatus {
  return { ...status, traffic: { ...status.traffic, mode: 'front', front: { ...NEW_FRONT, ...front } } }
}

/** A term that began after a release, an hour before `SERVING.now`, and has not ended. */
export const TERM: PastTerm = {
  epoch: 7,
  holder: 'langflow-0',
  began: '2026-01-02T02:04:05Z',
  because: 'released',
  phases: { detectMs: 3, acquireMs: 14, startMs: 1_210, healthyMs: 290 },
  gapMs: 1_734,
  ended: null,
  endedBecause: null,
  stopMs: null,
}

export function silent(pod: string, problem = 'no answer on port 8090'): ReplicaRow {
  return { pod, node: null, status: null, problem }
}

/** The source of the HTTP routes. A test can change it at any time. */
export class Replica implements StatusSource {
  now: AgentStatus
  alive = true
  answers = true
  takesOver = true
  fault: string | null = null
  others: readonly ReplicaRow[] = []
  readonly metrics = createMetrics({ leaseName: 'langflow-leader-lock', status: () => this.now })

  constructor(now: AgentStatus = SERVING) {
    this.now = now
  }

  status(): AgentStatus {
    return this.now
  }
  async replicas(): Promise<readonly ReplicaRow[]> {
    const status = this.status()
    return [{ pod: podOf(status.identity), node: null, status, problem: null }, ...this.others]
  }
  live(): boolean {
    return this.alive
  }
  ready(): boolean {
    return this.now.checks.every(({ ok }) => ok)
  }
  couldServe(): boolean {
    return this.takesOver
  }
  frontFault(): string | null {
    return this.fault
  }
  launcherAnswers(): boolean {
    return this.answers
  }
  consent(sealed: string): string | null {
    return sealed === 'signed' ? 'agreed' : null
  }
}
