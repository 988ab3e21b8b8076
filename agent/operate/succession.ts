/** What a replica tells of itself and its pod. */
export interface Member {
  readonly identity: string
  /** Whether it would take over now. */
  readonly ready: boolean
  /** Whether its standby is as warm as was asked for. */
  readonly prepared: boolean
  /** Of its pod's template; `null`: it does not know. */
  readonly revision: string | null
  /** How long ago its pod started, in milliseconds by its own clock; `null`: it does not know. */
  readonly podAgeMs: number | null
}

export interface Succession {
  /** Who should follow a leader that releases now; `null`: nobody is ready. */
  readonly successor: string | null
  /** Whether it is of a newer revision, so that the leader should hand over of its own accord. */
  readonly newer: boolean
}

/** The best of the others: of the newest revision first, then the best prepared, then the oldest. */
export function succession(
  own: Pick<Member, 'revision' | 'podAgeMs'>,
  others: readonly Member[],
): Succession {
  const isNewer = ({ revision }: Member) => revision !== null && newerThanOwn(own, others, revision)
  const isOlder = ({ revision }: Member) => revision !== own.revision
  const rank = (member: Member) => (isNewer(member) ? 0 : isOlder(member) ? 4 : 2) + (member.prepared ? 0 : 1)
  const [best] = others
    .filter(({ ready }) => ready)
    .sort((a, b) => rank(a) - rank(b) || (b.podAgeMs ?? 0) - (a.podAgeMs ?? 0))
  return best === undefined
    ? { successor: null, newer: false }
    : { successor: best.identity, newer: isNewer(best) }
}

/**
 * Which of two revisions came later: that whose oldest pod is the younger one. Hashes have no order, and a pod of an old
 * revision that is made anew in the middle of a rollout is young as well.
 */
function newerThanOwn(
  own: Pick<Member, 'revision' | 'podAgeMs'>,
  others: readonly Member[],
  revision: string,
): boolean {
  if (own.revision === null || own.podAgeMs === null || revision === own.revision) return false
  const oldest = (of: string, known: number) =>
    others.reduce(
      (age, member) => (member.revision === of ? Math.max(age, member.podAgeMs ?? 0) : age),
      known,
    )
  const age = oldest(revision, 0)
  return age > 0 && age < oldest(own.revision, own.podAgeMs)
}
