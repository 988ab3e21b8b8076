import { type Clock, pause } from '../clock.ts'
import type { Fact } from '../election/state.ts'
import type { LogThrottle } from '../observe/log-throttle.ts'
import type { Member, Peers } from './peers.ts'

export interface RivalsOptions {
  readonly peers: Pick<Peers, 'survey'>
  /** What this replica competes for, as `Member` has it. */
  readonly lease: string
  readonly podAgeMs: () => number | null
  readonly leads: () => boolean
  readonly clock: Clock
  readonly repeats: Pick<LogThrottle, 'happened' | 'over'>
  readonly tell: (fact: Fact) => void
}

/** Nobody waits longer than this for peers that cannot be reached. */
const ANSWERS_WITHIN_MS = 2_000
const AGAIN_MS = 5_000

/**
 * Keeps a replica that starts from competing for a Lease of its own while others of the same LangFlow compete for another
 * one, as when its name is changed in a rolling update: two elections have two leaders. Who was there first goes on.
 */
export class Rivals {
  private readonly options: RivalsOptions
  private closed = false

  constructor(options: RivalsOptions) {
    this.options = options
  }

  /** To be called before this replica campaigns. */
  start(): void {
    this.bar('asking the other replicas which Lease they compete for')
    void this.look()
  }

  close(): void {
    this.closed = true
  }

  private async look(): Promise<void> {
    const { peers, clock, repeats, leads } = this.options
    for (;;) {
      const others = await Promise.race([peers.survey(), pause(clock, ANSWERS_WITHIN_MS).then(() => [])])
      if (this.closed) return
      // One that took its own grant back was there before.
      if (leads()) break
      const rivals = others.filter((one) => this.isRival(one))
      const rival = rivals.find((one) => one.leads) ?? rivals[0]
      if (rival !== undefined) {
        const problem = this.describe(rival)
        this.bar(problem)
        repeats.happened('rivals', problem)
      } else {
        if (others.length > 0) break
        // Who cannot be reached yet, such as before its name resolves, keeps nobody waiting, and is asked again.
        this.bar(null)
      }
      await pause(clock, AGAIN_MS)
    }
    repeats.over('rivals', 'no other replica competes for another Lease any more')
    this.bar(null)
  }

  private bar(reason: string | null): void {
    this.options.tell({ type: 'barred', reason })
  }

  private isRival({ lease, leads, podAgeMs }: Member): boolean {
    if (lease === this.options.lease) return false
    const own = this.options.podAgeMs()
    return leads || (own !== null && podAgeMs !== null && podAgeMs > own)
  }

  private describe({ identity, lease, leads }: Member): string {
    return (
      `${identity} ${leads ? 'leads by' : 'was here first and competes for'} the Lease "${lease}", and this replica is to compete ` +
      `for "${this.options.lease}", which would make two leaders: set --lease-name and --lease-namespace as there, or end ` +
      `all replicas that compete for "${lease}" first`
    )
  }
}
