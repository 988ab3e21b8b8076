import type { Clock } from '../clock.ts'
import { EVENTS, type EventName } from '../observe/events.ts'

/** One event of a replica's log. */
export interface Happening {
  readonly replica: string
  readonly event: EventName
  readonly epoch: number
  readonly reason: string | null
  /** CLOCK_MONOTONIC in milliseconds. */
  readonly at: number
}

/** What the replicas' logs tell, in the order in which it was heard. */
export class Journal {
  readonly entries: Happening[] = []
  readonly #clock: Clock
  readonly #told: (happening: Happening) => void

  constructor(clock: Clock, told: (happening: Happening) => void) {
    this.#clock = clock
    this.#told = told
  }

  /** Takes one line of a replica's output; what is no event of its log is passed over. */
  hear(replica: string, line: string): void {
    const happening = this.#read(replica, line)
    if (happening === null) return
    this.entries.push(happening)
    this.#told(happening)
  }

  /** The first match that was heard when the journal had already `from` entries. */
  find(from: number, matches: (happening: Happening) => boolean): Happening | undefined {
    return this.entries.slice(from).find(matches)
  }

  #read(replica: string, line: string): Happening | null {
    if (!line.startsWith('{')) return null
    try {
      const { event, epoch, reason, time, component } = JSON.parse(line) as Record<string, unknown>
      // A workload may log JSON lines of its own.
      if (component !== 'agent' && component !== 'launcher') return null
      if (!EVENTS.includes(event as EventName) || typeof time !== 'string') return null
      const { mono, wall } = this.#clock.now()
      // When it was written, not when it was heard: a busy machine hears late.
      const at = mono - (wall - Date.parse(time))
      const told = typeof reason === 'string' ? reason : null
      return { replica, event: event as EventName, epoch: Number(epoch), reason: told, at }
    } catch {
      return null
    }
  }
}
