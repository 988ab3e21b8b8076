/** The log's `event` field. What each means is in docs/operations.md. */
export const EVENTS = [
  'campaigning',
  'leader_observed',
  'acquired',
  'workload_started',
  'serving',
  'doubt',
  'workload_frozen',
  'workload_thawed',
  'lost',
  'draining',
  'workload_stopped',
  'released',
  'stepped_down',
  'standby_ready',
  'deadman_fired',
  'fatal',
] as const

export type EventName = (typeof EVENTS)[number]
