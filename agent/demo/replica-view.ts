import type { EventName } from '../observe/events.ts'
import type { Happening } from './journal.ts'

/** One replica as its own log tells it, for the board. */
export interface ReplicaView {
  readonly name: string
  readonly agent: 'starting' | 'running' | 'hanging' | 'ending' | 'killed'
  readonly role: 'leader' | 'follower' | '-'
  /** Of the last term that it had itself. */
  readonly epoch: number | null
  /** Ready to take over. */
  readonly standby: boolean
  readonly workload: 'none' | 'starting' | 'healthy' | 'frozen' | 'draining'
}

export function newView(name: string): ReplicaView {
  return { name, agent: 'starting', role: '-', epoch: null, standby: false, workload: 'none' }
}

const MEANS: Readonly<Partial<Record<EventName, Partial<ReplicaView>>>> = {
  campaigning: { agent: 'running', role: 'follower', standby: false, workload: 'none' },
  standby_ready: { standby: true },
  acquired: { role: 'leader', standby: false },
  workload_started: { workload: 'starting' },
  serving: { workload: 'healthy' },
  draining: { workload: 'draining' },
  workload_frozen: { workload: 'frozen' },
  workload_thawed: { workload: 'healthy' },
  workload_stopped: { workload: 'none' },
  lost: { role: 'follower' },
  stepped_down: { role: 'follower' },
}

/** The view after an event of that replica's log. */
export function viewAfter(view: ReplicaView, { event, epoch }: Happening): ReplicaView {
  return { ...view, ...MEANS[event], ...(event === 'acquired' ? { epoch } : {}) }
}

const SENTENCES: Readonly<Partial<Record<EventName, string>>> = {
  acquired: 'acquired the Lease',
  workload_started: 'started its workload',
  serving: 'serves: the workload is healthy, the gate is open',
  doubt: 'is in doubt: the gate is closed',
  workload_frozen: 'launcher froze the workload',
  deadman_fired: 'launcher acted on its own',
  workload_stopped: 'workload is dead, confirmed',
  draining: 'closed its gate and drains',
  released: 'released the Lease',
  lost: 'lost the Lease',
  standby_ready: 'stands by',
}

/** An event as the end of a sentence that begins with the replica's name; `null` for those that say nothing new. */
export function sentenceOf({ event, epoch, reason }: Happening): string | null {
  const sentence = SENTENCES[event]
  if (sentence === undefined) return null
  const told = reason === null ? '' : `: ${reason}`
  return event === 'acquired' ? `${sentence} in epoch ${epoch}${told}` : `${sentence}${told}`
}
