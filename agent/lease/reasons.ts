/** Why a term began: stable codes, for metrics, Events and the history. The sentence beside each is for people. */
export const ACQUIRED_BECAUSE = [
  'released', // its holder released it
  'expired', // its holder did not renew it in time
  'never_held',
  'deleted', // it did not exist for a whole lease duration
  'resumed', // a restarted agent took its own grant back
] as const

/** Why a term ended, or is about to end. */
export const ENDED_BECAUSE = [
  // Planned.
  'terminated', // the agent was asked to end
  'container_ending', // LangFlow's container was asked to end
  'switchover', // an operator requested it
  'failover', // an operator ordered it
  'restart', // an operator requested it, and LangFlow could not start again in the term
  'newer_revision', // a replica of a newer revision is ready
  'content_changed', // the files that LangFlow was started from
  'front_down', // requests do not reach the leader
  'pod_restarted', // every process of its pod was killed, and the pod is back
  // LangFlow or its launcher failed.
  'revision_failed', // the first start of a revision that has never served
  'workload_exited',
  'workload_unhealthy',
  'workload_lost', // a worker or its master
  'start_refused',
  'start_timeout',
  'launcher_gone',
  'launcher_silent',
  'deadman', // the launcher stopped LangFlow by itself
  // Without consent.
  'no_renewal', // no renewal was acknowledged in time
  'held_by_other',
  'lease_gone',
  'identity_taken', // another process uses this replica's name
] as const

export type AcquiredBecause = (typeof ACQUIRED_BECAUSE)[number]
export type EndedBecause = (typeof ENDED_BECAUSE)[number]
export type ReasonCode = AcquiredBecause | EndedBecause
