import type { Random } from '../random.ts'
import type { Fault } from './fault.ts'
import { CALM, type FaultKind, GENTLE, HANDOVERS, KINDS } from './kinds.ts'

/** Faults that are worse together; in half of the runs only those of one group strike. */
const GROUPS: readonly (readonly FaultKind[])[] = [
  ['lease deleted', 'agent frozen', 'cut', 'watch silent', 'refused', 'replica lost', 'evicted'],
  [
    'lease deleted and applied',
    'lease deleted, candidates restart',
    'spec emptied',
    'cut',
    'agent blocked',
    'watch lags',
    'evicted',
  ],
  [
    'agent killed',
    'holder replaced',
    'holder is another replica',
    'writes lost',
    'answers lost',
    'watch lags',
  ],
  ['link slow', 'agent ended', 'launcher frozen', 'evicted', 'holder replaced', 'unhealthy'],
  [
    'launcher killed',
    'launcher flaps',
    'agent frozen',
    'link slow',
    'lingers when killed',
    'launcher frozen',
  ],
  ['launcher flaps', 'lingers when killed'],
  [
    'pod killed',
    'pod killed',
    'lingers when killed',
    'late writes',
    'answers lost',
    'agent killed',
    'launcher killed',
    'flow poses as launcher',
    'twin',
    'lease deleted',
  ],
  ['agent killed', 'holder replaced', 'writes lost'],
  [...CALM, ...HANDOVERS],
  [
    'paused',
    'late writes',
    'writes late, watch silent',
    'exits',
    'evicted',
    'watches expire',
    'dies at start',
  ],
  [
    'answers lost, watch lags',
    'conflict after success',
    'exits',
    'epoch raised',
    'holder cleared',
    'agent ended',
  ],
  [
    'agent ended at a stage',
    'agent ended at a stage',
    'cut',
    'unhealthy',
    'loses its worker',
    'connected',
    'slow',
  ],
  ['twin', 'cut', 'replica lost', 'agent killed', 'answers lost', 'agent ended', 'lease deleted'],
  [
    'cut while stopping',
    'ignores SIGTERM',
    'connected',
    'lingers when killed',
    'api hangs',
    'agent ended twice',
    'agent ended at a stage',
  ],
  ['standby lost', 'standby fails', 'standby hangs', 'replica lost', 'evicted', 'cut', 'exits'],
  ['stands still', 'container frozen', 'cut', 'lease deleted', 'evicted', 'holder replaced', 'tini killed'],
  [
    'watch black-holed',
    'requests black-holed',
    'connections black-holed',
    'new connections black-holed',
    'evicted',
    'replica lost',
    'cut',
  ],
  ['epochs used up', 'evicted', 'exits', 'agent ended', 'cut', 'replica lost'],
  [
    'takeovers paused',
    'switchover asked',
    'evicted',
    'exits',
    'unhealthy',
    'cut',
    'replica lost',
    'agent killed',
  ],
  ['release faked', 'duration edited', 'renew time edited', 'cut', 'watch lags', 'agent blocked', 'evicted'],
]

const SHORTEST_MS = 200
const LONG_MS = 26_000
/** The fault table hangs the API server for as long. */
const LONGEST_MS = 60_000

function duration(random: Random): number {
  if (random.chance(0.3)) return random.between(SHORTEST_MS, 3_000)
  return random.between(3_000, random.chance(0.05) ? LONGEST_MS : LONG_MS)
}

/**
 * What goes wrong in a run: anything at any time, or, in every sixth run, nothing that takes a Lease away; only what is
 * in `among`, where that is given.
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
  // A few kinds at a time meet each other more often than all of them would.
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
