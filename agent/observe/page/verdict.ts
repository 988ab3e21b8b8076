import { listed } from '../../config/values.ts'
import { podOf } from '../../lease/operator-annotations.ts'
import type { AgentStatus, ReplicaRow } from '../agent-status.ts'

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
  if (leader === null) {
    const holder = rows[0]?.status?.lease.holder
    return holder
      ? { level: 'warning', sentence: `${podOf(holder)} holds the Lease${next}`, leader }
      : { level: 'bad', sentence: `Nobody leads${next}`, leader }
  }
  const doing = doingOf(leader)
  const isWell = doing === 'leads' && heirs.length > 0 && !paused
  const level = leader.leadership.doubt ? 'bad' : isWell ? 'good' : 'warning'
  return { level, sentence: `${pods[0]} ${doing}${next}`, leader }
}

function nextOf(heirs: readonly string[], replicas: number): string {
  if (heirs.length > 0) return `; ${listed(heirs)} could take over`
  return replicas > 1 ? '; nobody could take over' : '; no other replica is known here'
}

function doingOf({ leadership, traffic, workload }: AgentStatus): string {
  if (leadership.doubt) return 'is in doubt whether it leads'
  if (leadership.steppingDown !== null) return 'is stepping down'
  if (traffic.gate === 'open') return 'leads'
  return workload.servedSince === null ? 'leads and is starting LangFlow' : 'leads and does not serve'
}
