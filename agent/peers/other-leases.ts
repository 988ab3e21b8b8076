import { once } from 'node:events'
import { type Clock, pause } from '../clock.ts'
import type { Fault } from '../fault.ts'
import type { LogThrottle } from '../observe/log.ts'
import type { HandoverOptions, Member, Peers } from './peers.ts'

export interface OtherLeasesOptions extends HandoverOptions {
  readonly peers: Pick<Peers, 'survey'>
  readonly lease: string
  readonly podAgeMs: () => number | null
  readonly clock: Clock
  readonly repeats: Pick<LogThrottle, 'happened' | 'over'>
}

/** A starting replica waits no longer than this for peers that cannot be reached. */
const ANSWERS_WITHIN_MS = 2_000
const AGAIN_MS = 5_000

/**
 * Two elections have two leaders, for example if a rolling update changes the Lease's name: the replica that competed
 * first continues, and a starting one waits. Must be called before this replica campaigns.
 */
export function watchOtherLeases(options: OtherLeasesOptions): { close(): void } {
  const { peers, state, clock, repeats, dispatch } = options
  const closing = new AbortController()
  const { signal } = closing
  const closed = once(signal, 'abort').then(() => {})
  const bar = (reason: Fault) => dispatch({ type: 'barred', reason })
  const look = async () => {
    for (; !signal.aborted; await pause(clock, AGAIN_MS, closed)) {
      const others = await Promise.race([peers.survey(), pause(clock, ANSWERS_WITHIN_MS).then(() => [])])
      if (signal.aborted) return
      const rivals = others.filter((one) => competesElsewhere(one, options))
      const rival = rivals.find((one) => one.leads) ?? rivals[0]
      // A replica that took its own grant back competed before.
      if (state().term !== null || (rival === undefined && others.length > 0)) {
        repeats.over('rivals', 'no other replica competes for another Lease any more')
        bar(null)
        return
      }
      // Peers that cannot be reached yet, such as before their name resolves, delay no start, and are asked again.
      const problem = rival === undefined ? null : describe(rival, options.lease)
      bar(problem)
      if (problem !== null) repeats.happened('rivals', problem)
    }
  }
  bar('asking the other replicas which Lease they compete for')
  void look()
  return { close: () => closing.abort() }
}

function competesElsewhere(
  { lease, leads, podAgeMs }: Member,
  own: Pick<OtherLeasesOptions, 'lease' | 'podAgeMs'>,
): boolean {
  if (lease === own.lease) return false
  const age = own.podAgeMs()
  return leads || (age !== null && podAgeMs !== null && podAgeMs > age)
}

function describe({ identity, lease, leads }: Member, own: string): string {
  return (
    `${identity} ${leads ? 'holds' : 'already competes for'} the Lease "${lease}", but this replica is configured for "${own}", ` +
    'which would make two leaders: set --lease-name and --lease-namespace to the same values on all replicas, or first stop ' +
    `all replicas that compete for "${lease}"`
  )
}
