import { Random } from '../simulation/random.ts'
import { type Fault, KINDS, kindOf } from './faults.ts'
import { REPLICAS } from './scene.ts'

/** The shortest and the longest time between two faults in milliseconds. */
const SPACING = [2_000, 8_000] as const
/** Time for the start of an API server after a fault that killed it. */
const COMES_UP_MS = 8_000
/** Shortest time between two edits of the Lease. Candidates can't detect two edits within one lease duration, as documented. */
const EDITS_APART_MS = 20_000
/** The part of the faults that are aimed at the leader. */
const AT_THE_LEADER = 0.6

/** Takes kinds in a random order. No kind repeats before all others came, except for kinds that don't fit at their time. */
function bag(random: Random): (fits: (kind: string) => boolean) => string {
  const kinds: string[] = []
  return (fits) => {
    if (!kinds.some(fits)) {
      const drawn = KINDS.map((kind) => ({ kind, at: random.next() })).sort((a, b) => a.at - b.at)
      kinds.push(...drawn.map(({ kind }) => kind))
    }
    return kinds.splice(kinds.findIndex(fits), 1)[0] as string
  }
}

/** Plans the faults of `spanMs` milliseconds. The same seed gives the same plan, and a longer plan begins with a shorter one. */
export function planFaults(seed: number, spanMs: number): Fault[] {
  const random = new Random(seed)
  const take = bag(random)
  const plan: Fault[] = []
  let apiFreeAt = 0
  let editFreeAt = 0
  for (let at = random.between(...SPACING); at < spanMs; at += random.between(...SPACING)) {
    const name = take((one) => {
      const { hits } = kindOf(one)
      return hits === 'api' ? at >= apiFreeAt : hits !== 'lease' || at >= Math.max(apiFreeAt, editFreeAt)
    })
    const { hits, ms: range } = kindOf(name)
    const ms = duration(random, ...range)
    if (hits === 'api') apiFreeAt = at + ms + COMES_UP_MS
    if (hits === 'lease') editFreeAt = at + EDITS_APART_MS
    plan.push({
      kind: name,
      at: Math.round(at),
      ms,
      leader: random.chance(AT_THE_LEADER),
      slot: random.whole(0, REPLICAS - 1),
      degree: random.next(),
    })
  }
  return plan
}

/** Draws a duration with an even distribution of its logarithm, because short faults find as many errors as long ones. */
function duration(random: Random, shortest: number, longest: number): number {
  if (longest === shortest) return longest
  return Math.round(shortest * (longest / shortest) ** random.next())
}
