import { Random } from '../simulation/random.ts'
import { type Fault, KINDS, kindOf } from './faults.ts'
import { REPLICAS } from './scene.ts'

/** Between two faults, in milliseconds. */
const SPACING = [2_000, 8_000] as const
/** An API server that was killed takes a while to come up again after its fault is over. */
const COMES_UP_MS = 8_000
/** Two hand edits within one lease duration are holes that no candidate can see, and documented as such. */
const EDITS_APART_MS = 20_000
const AT_THE_LEADER = 0.6

/** Takes kinds in a random order in which each comes once before any comes again, if its time allows. */
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

/** What goes wrong within so many milliseconds: the same seed gives the same plan, and a longer one begins with it. */
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
      id: plan.length,
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

/** As often below the middle of its logarithm as above: short faults are as interesting as long ones. */
function duration(random: Random, shortest: number, longest: number): number {
  if (longest === shortest) return longest
  return Math.round(shortest * (longest / shortest) ** random.next())
}
