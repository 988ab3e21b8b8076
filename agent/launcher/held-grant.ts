import { type Clock, type Instant, reached } from '../clock.ts'
import type { Grant } from '../link/messages.ts'

/** The grant that a launcher holds: which one it accepts, and whether that allows anything by its own clocks. */
export class HeldGrant {
  private readonly clock: Pick<Clock, 'now'>
  /** Grants of these epochs are over for good: the agent ordered a kill. */
  private closedEpoch = -1
  private held: Grant | null = null

  constructor(clock: Pick<Clock, 'now'>) {
    this.clock = clock
  }

  /** The one in force; `null`: none. It is until `expire` or `close` are called, whatever the clocks say. */
  get grant(): Grant | null {
    return this.held
  }

  /**
   * Takes it in place of the one in force, or refuses it.
   *
   * @param livingEpoch of the processes that live; `null`: none do
   * @returns why it is refused, for people; `null`: it is in force now
   */
  accept(grant: Grant, livingEpoch: number | null): string | null {
    // Told again after the link was down: nothing changes.
    if (grant.epoch === this.held?.epoch && grant.killAt.mono === this.held.killAt.mono) return null
    const refused = this.refusal(grant, this.clock.now(), livingEpoch)
    if (refused === null) this.held = grant
    return refused
  }

  /** Whether processes may execute: not without one, in doubt, or where it is over by the wall clock alone. */
  mayExecute(): boolean {
    const { held } = this
    if (held === null) return false
    const now = this.clock.now()
    return !reached(now, held.doubtAt) && now.wall < held.killAt.wall
  }

  /** Its time is up; a newer one of the same epoch may follow. */
  expire(): void {
    this.held = null
  }

  /** The agent ended it, and its epoch with it. */
  close(): void {
    if (this.held !== null) this.closedEpoch = Math.max(this.closedEpoch, this.held.epoch)
    this.held = null
  }

  private refusal(grant: Grant, now: Instant, livingEpoch: number | null): string | null {
    const { held } = this
    if (grant.epoch <= this.closedEpoch || (held !== null && grant.epoch < held.epoch)) {
      return `epoch ${grant.epoch} is over`
    }
    if (held !== null && grant.epoch === held.epoch && grant.killAt.mono < held.killAt.mono) {
      return 'it is older than the one in force'
    }
    if (reached(now, grant.killAt)) return 'it has expired'
    if (livingEpoch === null || livingEpoch === grant.epoch) return null
    return `processes of epoch ${livingEpoch} still live`
  }
}
