/** What a replica tells of itself and its pod. */
export interface Member {
  readonly identity: string
  /** Whether it would take over now. */
  readonly ready: boolean
  /** Whether its standby is as warm as was asked for. */
  readonly prepared: boolean
  /** Whether it stands by with more than nothing. */
  readonly warm: boolean
  /** Of its pod's template; `null`: it does not know. */
  readonly revision: string | null
  /** How long ago its pod started, in milliseconds by its own clock; `null`: it does not know. */
  readonly podAgeMs: number | null
}

export type Own = Pick<Member, 'revision' | 'podAgeMs'>

export interface Succession {
  /** Who should follow a leader that releases now; `null`: nobody is ready. */
  readonly successor: string | null
  /** Whether it is of a newer revision, so that the leader should hand over of its own accord. */
  readonly newer: boolean
  /** Whether it serves sooner than a leader that has just begun to start from nothing, and is of no older revision. */
  readonly faster: boolean
}

/**
 * The best of the others: of the newest revision first, then the best prepared, then the oldest. Those that were tried in
 * vain come last, and are no reason to hand over.
 */
export function succession(own: Own, others: readonly Member[], inVain: ReadonlySet<string>): Succession {
  const ages = new Map(others.map(({ revision }) => [revision, ageOf(revision, own, others)]))
  const ownAge = ageOf(own.revision, own, others)
  /** The younger the newer; one that is not known to be newer is as good as the own one, or worse. */
  const rank = ({ revision }: Member): number => {
    const age = ages.get(revision) ?? null
    if (revision === own.revision) return Number.MAX_SAFE_INTEGER
    return age !== null && ownAge !== null && age < ownAge ? age : Number.POSITIVE_INFINITY
  }
  const order = [
    (member: Member) => Number(inVain.has(member.identity)),
    rank,
    ({ prepared }: Member) => Number(!prepared),
    ({ podAgeMs }: Member) => -(podAgeMs ?? 0),
  ]
  const [best] = others.filter(({ ready }) => ready).sort((a, b) => compare(a, b, order))
  if (best === undefined) return { successor: null, newer: false, faster: false }
  const promising = !inVain.has(best.identity)
  return {
    successor: best.identity,
    newer: promising && rank(best) < Number.MAX_SAFE_INTEGER,
    faster: promising && rank(best) <= Number.MAX_SAFE_INTEGER && best.prepared && best.warm,
  }
}

/**
 * How old a revision is: as its oldest pod. Hashes have no order, and a pod of an old revision that is made anew in the
 * middle of a rollout is young as well.
 */
function ageOf(revision: string | null, own: Own, others: readonly Member[]): number | null {
  const ages = [own, ...others].flatMap((one) =>
    revision !== null && one.revision === revision && one.podAgeMs !== null ? [one.podAgeMs] : [],
  )
  return ages.length === 0 ? null : Math.max(...ages)
}

function compare<T>(a: T, b: T, order: readonly ((one: T) => number)[]): number {
  for (const rank of order) {
    const [first, second] = [rank(a), rank(b)]
    if (first !== second) return first < second ? -1 : 1
  }
  return 0
}
