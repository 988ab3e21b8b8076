import { listed } from '../../config/values.ts'
import { podOf } from '../../lease/operation.ts'
import type { AgentStatus, ReplicaRow } from '../status.ts'

export interface Verdict {
  /** `good`: exactly one serves, and another one could and may take over. */
  readonly level: 'good' | 'warning' | 'bad'
  /** Who leads and who could take over, in one sentence without a full stop. Changes only when one of both does. */
  readonly sentence: string
  /** The one that leads; `null`: none, or several say so. */
  readonly leader: AgentStatus | null
}

/** What all of it comes to. `rows`: this replica first. */
export function verdictOf(rows: readonly ReplicaRow[]): Verdict {
  const leading = rows.filter(({ status }) => status?.role === 'leader')
  const pods = leading.map(({ pod }) => pod)
  if (pods.length > 1)
    return { level: 'bad', sentence: `${listed(pods)} both say that they lead`, leader: null }
  const heirs = rows.filter(({ status }) => status?.couldTakeOver).map(({ pod }) => pod)
  const paused = rows.some(({ status }) => status?.pause)
  const next = paused ? '; takeovers are paused' : nextOf(heirs, rows.length)
  const leader = leading[0]?.status ?? null
  if (leader === null) return { ...withoutLeader(rows, next), leader }
  const { doing, serves } = doingOf(leader)
  return {
    level: leader.leadership.doubt ? 'bad' : serves && heirs.length > 0 && !paused ? 'good' : 'warning',
    sentence: `${pods[0]} ${doing}${next}`,
    leader,
  }
}

function nextOf(heirs: readonly string[], replicas: number): string {
  if (heirs.length > 0) return `; ${listed(heirs)} could take over`
  return replicas > 1 ? '; nobody could take over' : '; no other replica is known here'
}

function withoutLeader(rows: readonly ReplicaRow[], next: string): Omit<Verdict, 'leader'> {
  const holder = rows[0]?.status?.lease.holder
  if (!holder) return { level: 'bad', sentence: `Nobody leads${next}` }
  const pod = podOf(holder)
  const isKnown = rows.some((row) => row.pod === pod)
  const sentence = isKnown
    ? `${pod} holds the Lease and does not say that it leads${next}`
    : `${pod} holds the Lease${next}`
  return { level: 'warning', sentence }
}

function doingOf({ leadership, traffic, workload }: AgentStatus): { doing: string; serves: boolean } {
  if (leadership.doubt) return { doing: 'is in doubt whether it leads', serves: false }
  if (leadership.steppingDown !== null) return { doing: 'is stepping down', serves: false }
  if (traffic.gate === 'open') return { doing: 'leads', serves: true }
  const starting = workload.servedSince === null
  return { doing: starting ? 'leads and is starting LangFlow' : 'leads and does not serve', serves: false }
}
