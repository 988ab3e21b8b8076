import type { listed } from '../../config/values.ts'
import type { podOf } from '../../lease/operator-annotations.ts'
import type { AgentStatus, ReplicaRow } from '../../status/agent-status.ts'

export interface Verdict {
  /** `good`: exactly one replica serves, and another one could and may take over. */
  readonly level: 'good' | 'warning' | 'bad'
  /** The leader and the replicas that could take over. It changes only if one of them does. */
  readonly sentence: string
  /** The leader. `null`: no replica leads, or several report that they do. */
  readonly leader: AgentStatus | null
}

/** One verdict for all replicas, this one first. Runs in the browser as well, so it uses nothing but its parameters. */
export function verdictOf(
  rows: readonly ReplicaRow[],
  { listed: list, podOf: pod }: { listed: typeof listed; podOf: typeof podOf },
): Verdict {
  const leading = rows.filter(({ status }) => status?.role === 'leader')
  if (leading.length > 1) {
    const pods = list(leading.map(({ pod }) => pod))
    return {
      level: 'bad',
      sentence: `${leading.length} replicas report that they lead: ${pods}`,
      leader: null,
    }
  }
  const standbys = rows.filter(({ status }) => status?.couldTakeOver).map(({ pod }) => pod)
  const paused = rows.some(({ status }) => status?.pause)
  const lacking =
    rows.length > 1 ? 'no other replica can take over' : 'there is no second replica to take over'
  const next = paused
    ? 'takeovers are paused'
    : standbys.length > 0
      ? `${list(standbys)} can take over`
      : lacking
  const leader = leading[0]?.status ?? null
  if (leader === null) {
    const holder = rows[0]?.status?.lease.holder
    return holder
      ? { level: 'warning', sentence: `${pod(holder)} holds the Lease; ${next}`, leader }
      : { level: 'bad', sentence: `No replica leads; ${next}`, leader }
  }
  const { leadership, traffic, workload } = leader
  const states = [
    [leadership.doubt, 'may have lost the Lease'],
    [leadership.steppingDown !== null, 'is stepping down'],
    [traffic.gate === 'open', 'leads'],
    [workload.servedSince === null, 'leads and is starting LangFlow'],
    [true, 'leads and does not serve'],
  ] as const
  const state = states.find(([applies]) => applies)?.[1]
  const isWell = state === 'leads' && standbys.length > 0 && !paused
  const level = leadership.doubt ? 'bad' : isWell ? 'good' : 'warning'
  return { level, sentence: `${leading[0]?.pod} ${state}; ${next}`, leader }
}
