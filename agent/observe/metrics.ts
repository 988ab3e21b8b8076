/** Phases of a takeover, each measured from the end of the one before. */
export type TakeoverPhase = 'detect' | 'acquire' | 'start' | 'healthy'

/** What the program counts and times. Implemented on prom-client. */
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
  takeover(phase: TakeoverPhase, durationMs: number): void
  stopped(durationMs: number): void
  /** Requests to the API server by verb and outcome, so that load can be seen. */
  apiRequest(verb: 'get' | 'list' | 'update' | 'patch' | 'create' | 'watch', code: string): void
}
