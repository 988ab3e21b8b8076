import type { Clock } from '../clock.ts'
import { isUnproven } from '../election/revision-trial.ts'
import type { SuccessorContent, Term } from '../election/state.ts'
import type { EndedBecause } from '../lease/reasons.ts'
import type { ContentView } from '../link/link-messages.ts'
import type { WorkloadStatus } from '../supervisor/supervisor.ts'
import type { HandoverOptions, Member, Peers } from './peers.ts'

export interface VoluntaryHandoverOptions extends HandoverOptions {
  readonly peers: Pick<Peers, 'members'>
  readonly revision: string | null
  readonly podAgeMs: () => number | null
  readonly clock: Pick<Clock, 'mono'>
  readonly workload: () => Pick<WorkloadStatus, 'served' | 'digests'>
  /** Whether requests cannot reach this replica because its front does not listen. */
  readonly frontDown: () => boolean
}

/** Limits the cost of false answers of peers, and of a revision that gives the Lease back. */
const APART_MS = 60_000

const REASONS = {
  newer_revision: 'a replica of a newer revision is ready',
  front_down: "this replica's front does not listen, and another replica is ready",
} as const satisfies Partial<Record<EndedBecause, string>>

/**
 * The leader hands over to a newer revision once it serves itself, so that a false report of readiness costs no start. If
 * its front did not listen at two polls in a row, it hands over to any replica that could take over.
 */
export class VoluntaryHandover {
  private readonly options: VoluntaryHandoverOptions
  private lastAt = Number.NEGATIVE_INFINITY
  private pollsDown = 0

  constructor(options: VoluntaryHandoverOptions) {
    this.options = options
  }

  asked(): void {
    const { peers, clock, revision, podAgeMs, state, frontDown, dispatch } = this.options
    const { term, paused } = state()
    this.pollsDown = term !== null && !paused && frontDown() ? this.pollsDown + 1 : 0
    if (term === null || paused) return
    const now = clock.mono()
    const { members } = peers
    const { digests, served } = this.options.workload()
    const content = digests.content ?? null
    const own = { revision, unproven: isUnproven({ revision }, state()), podAgeMs: podAgeMs(), content }
    const { successor, newer, content: successorContent } = chooseSuccessor(own, members)
    dispatch({ type: 'successor', identity: successor, content: successorContent, newer })
    if (successor === null) return
    if (this.pollsDown > 1) this.handOver('front_down', term, now)
    else if (newer && served) this.handOver('newer_revision', term, now)
  }

  private handOver(code: keyof typeof REASONS, { doubt, stepDown }: Term, now: number): void {
    // No client is served while the front does not listen, so that handover does not wait.
    if (doubt || stepDown !== null || (now < this.lastAt + APART_MS && code !== 'front_down')) return
    this.lastAt = now
    const front = code === 'front_down'
    this.options.dispatch({ type: 'step_down', code, reason: REASONS[code], now: front })
  }
}

export type OwnPod = Pick<Member, 'revision' | 'unproven' | 'podAgeMs'> & {
  readonly content: Pick<ContentView, 'digest' | 'earlier'> | null
}

/**
 * How the revision of a replica compares with the leader's, the best first. A younger revision is newer. An unproven one
 * is newer at any age, or its rollout would wait forever: pods of the old revision may be recreated while it waits.
 */
const NEWER = 0
const UNPROVEN = 1
const SAME = 2
const NOT_NEWER = 3

/**
 * A replica with content that this leader has seen replaced is no successor: it would take the change back.
 * `newer`: the leader should hand over voluntarily. `content`: whether one is prepared with the leader's present files.
 */
export function chooseSuccessor(own: OwnPod, others: readonly Member[]) {
  const ageOf = ({ revision }: Pick<Member, 'revision'>) => ageOfRevision(revision, [own, ...others])
  const ownAge = ageOf(own)
  const rank = (member: Member) => {
    const { revision, unproven } = member
    const age = ageOf(member)
    if (revision === own.revision) return SAME
    if (unproven && !own.unproven) return age === null ? UNPROVEN : NEWER
    return age !== null && ownAge !== null && age < ownAge ? NEWER : NOT_NEWER
  }
  const hasContent = ({ content }: Member) => content !== null && content.digest === own.content?.digest
  const isPromising = (one: Member) => rank(one) <= SAME
  const isOlder = ({ content }: Member) =>
    content !== null && own.content?.earlier.includes(content.digest ?? '')
  const order = [
    rank,
    (member: Member) => (rank(member) === NEWER ? (ageOf(member) ?? 0) : 0),
    (member: Member) => Number(!hasContent(member)),
    ({ prepared }: Member) => Number(!prepared),
    ({ podAgeMs }: Member) => -(podAgeMs ?? 0),
  ]
  const couldFollow = others.filter((member) => member.ready && !isOlder(member))
  const [best] = couldFollow.sort((a, b) => compare(a, b, order))
  const promising = best !== undefined && isPromising(best)
  const content: SuccessorContent = promising && hasContent(best) && best.warm ? 'ready' : 'none'
  const awaited = others.some((one) => isPromising(one) && one.content !== null && one.warm)
  return {
    successor: best?.identity ?? null,
    newer: promising && rank(best) < SAME,
    content: content === 'none' && awaited ? ('awaited' as const) : content,
  }
}

/** That of its oldest pod: hashes have no order, and a pod that is recreated during a rollout is also young. */
function ageOfRevision(
  revision: string | null,
  pods: readonly Pick<Member, 'revision' | 'podAgeMs'>[],
): number | null {
  const ages = pods.flatMap((one) =>
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
