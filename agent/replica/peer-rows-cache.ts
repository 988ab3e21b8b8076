import type { Clock } from '../clock.ts'
import type { ReplicaRow } from '../observe/agent-status.ts'

const COUNTS_MS = 1_000

/** All replicas for whoever asks, however many ask: looked at on demand, at most once a second. */
export class Look {
  private readonly clock: Pick<Clock, 'mono'>
  private readonly look: () => Promise<readonly ReplicaRow[]>
  private last: Promise<readonly ReplicaRow[]> | null = null
  private looking = false
  private until = Number.NEGATIVE_INFINITY

  constructor(clock: Pick<Clock, 'mono'>, look: () => Promise<readonly ReplicaRow[]>) {
    this.clock = clock
    this.look = look
  }

  rows(): Promise<readonly ReplicaRow[]> {
    const now = this.clock.mono()
    if (this.last !== null && (this.looking || now < this.until)) return this.last
    this.looking = true
    this.until = now + COUNTS_MS
    this.last = this.look().finally(() => {
      this.looking = false
    })
    return this.last
  }
}
