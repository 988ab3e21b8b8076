import type { Random } from '../random.ts'
import type { Fault } from './fault.ts'
import { CALM, type FaultKind, GENTLE, HANDOVERS, KINDS, kindsOf } from './kinds.ts'

/** Groups of faults that are worse in combination. Half of the runs choose only from one group. */
const GROUPS: readonly (readonly FaultKind[])[] = `
Lease deleted; agent frozen; network cut; watch silent; connections refused; replica lost; replica evicted

Lease deleted and recreated; Lease deleted, candidates restart; Lease spec emptied; network cut; agent blocked;
watch lags; replica evicted

agent killed; holder replaced; holder replaced by another replica; writes lost; answers lost; watch lags

link slow; agent terminated; launcher frozen; replica evicted; holder replaced; workload unhealthy

launcher killed; launcher flaps; agent frozen; link slow; workload lingers after SIGKILL; launcher frozen

launcher flaps; workload lingers after SIGKILL

pod killed; pod killed; workload lingers after SIGKILL; writes late; answers lost; agent killed; launcher
killed; flow poses as launcher; identity used twice; Lease deleted

agent killed; holder replaced; writes lost

content changed; content changed; takeovers paused; workload exits; agent killed; launcher killed; network cut;
agent terminated at a stage

machine paused, wall clock corrected; writes late; writes late, watch silent; workload exits; replica evicted;
watches expire; workload exits at start

answers lost, watch lags; conflict after success; workload exits; epoch raised; holder cleared; agent terminated

agent terminated at a stage; agent terminated at a stage; network cut; workload unhealthy; workload loses its
worker; connections stay open; network slow

identity used twice; network cut; replica lost; agent killed; answers lost; agent terminated; Lease deleted

network cut while stopping; workload ignores SIGTERM; connections stay open; workload lingers after SIGKILL; API
server hangs; agent terminated twice; agent terminated at a stage

standby lost; standby preparation fails; standby preparation hangs; replica lost; replica evicted; network cut;
workload exits

machine paused, no clock shows it; container frozen; network cut; Lease deleted; replica evicted; holder
replaced; tini killed

watch black-holed; requests black-holed; connections black-holed; new connections black-holed; replica evicted;
replica lost; network cut

epoch at its maximum; replica evicted; workload exits; agent terminated; network cut; replica lost

takeovers paused; switchover requested; failover requested; restart requested; replica evicted; workload exits;
workload unhealthy; network cut; replica lost; agent killed

release faked; duration edited; renew time edited; network cut; watch lags; agent blocked; replica evicted
`
  .split('\n\n')
  .map(kindsOf)
  .toSpliced(9, 0, [...CALM, ...HANDOVERS])

const SHORTEST_MS = 200
const LONG_MS = 26_000
/** As long as the API server hangs in the fault table. */
const LONGEST_MS = 60_000

/** By then a leader has enrolled its members. */
const SETTLED_MS = 12_000

function duration(random: Random): number {
  if (random.chance(0.3)) return random.between(SHORTEST_MS, 3_000)
  return random.between(3_000, random.chance(0.05) ? LONGEST_MS : LONG_MS)
}

const OUTAGES = kindsOf(
  'API server hangs; API server restarts; network cut; connections refused; writes lost',
)
/** Above the ids of all drawn faults. */
const FIRST_OUTAGE = 20

/** Failsafe matters only in outages that are longer than a lease duration. */
export function planOutages(random: Random, replicas: number, firstAt: number, spanMs: number): Fault[] {
  const indexes = Array.from({ length: replicas }, (_, index) => index)
  return Array.from({ length: random.whole(0, 2) }, (_, n) => ({
    id: FIRST_OUTAGE + n,
    kind: random.pick(OUTAGES),
    at: firstAt + random.between(SETTLED_MS, spanMs),
    ms: random.between(SETTLED_MS, LONGEST_MS),
    targets: random.chance(0.5) ? [random.pick(indexes)] : random.some(indexes),
    degree: random.next(),
  }))
}

/**
 * Draws the faults of a run from all kinds or from one group. On average, each sixth run has only faults that don't cost a
 * replica its Lease. `among` limits the plan to these kinds.
 */
export function planFaults(
  random: Random,
  replicas: number,
  firstAt: number,
  spanMs: number,
  among?: readonly FaultKind[],
): Fault[] {
  const drawn = random.chance(1 / 6) ? GENTLE : random.chance(0.6) ? random.pick(GROUPS) : KINDS
  const kinds = among ?? drawn
  // A plan with few kinds has more combinations of the same ones.
  const chosen = Array.from({ length: random.whole(1, 6) }, () => random.pick(kinds))
  const indexes = Array.from({ length: replicas }, (_, index) => index)
  const plan = Array.from(
    { length: random.whole(1, 10) },
    (_, id): Fault => ({
      id,
      kind: random.pick(chosen),
      at: firstAt + random.between(0, spanMs),
      ms: duration(random),
      targets: random.chance(0.6) ? [random.pick(indexes)] : random.some(indexes),
      degree: random.next(),
    }),
  )
  return plan.sort((a, b) => a.at - b.at)
}
