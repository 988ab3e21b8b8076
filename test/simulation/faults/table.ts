/** The rows of the fault table of the design that a model can play; what each does to the product, in short. */
export const FAULT_TABLE = {
  T1: 'leader partitioned, another takes over, the partition heals while stopping',
  T2: 'Lease hand-edited to another holder',
  T3: 'write commits, reply late or lost',
  T4: 'API server hangs or restarts',
  T5: 'partition while stopping',
  T6: 'agent or launcher killed or frozen, socket removed',
  T7: '409 on a write that had succeeded; 401, 403, 429, 5xx, truncated watch, 410',
  T8: 'workload ignores SIGTERM, leaves children, or loses parent or worker',
  T9: 'Lease deleted while held, with live and with freshly started candidates',
  T10: 'two agents with one identity',
  T11: 'wall clock jumps; machine suspended',
  T12: 'event loop of the agent blocked for 20 s',
  T13: 'token expires, CA rotates',
  T14: 'SIGTERM in every state',
  T15: 'port already taken; workload exits at once, again and again',
  T16: 'the API server that a follower watches loses its power, the others answer',
  T17: 'a replica without a way to the API server, without rights, with a wrong token: nobody makes way for it',
  T18: 'a candidate whose standby never gets ready, beside a prepared one',
} as const

export type Row = keyof typeof FAULT_TABLE
