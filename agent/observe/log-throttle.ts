import type { Clock } from '../clock.ts'
import { formatDuration } from '../config/values.ts'
import type { Fields, Log } from './log.ts'

const AGAIN_AFTER_MS = 60_000
/** Different messages of one trouble that are logged at once, in each minute. */
const AT_ONCE = 5

interface Trouble {
  readonly since: number
  /** Monotonic ms: when the minute began in which what was said is not said again. */
  minuteFrom: number
  readonly said: Set<string>
  /** Occurrences in all, and those since the last line. */
  count: number
  unlogged: number
}

/**
 * Keeps a trouble that returns every few seconds from flooding the log: it is logged when it begins, then once a
 * minute with a count, and when it ends.
 */
export class LogThrottle {
  private readonly log: Pick<Log, 'warn' | 'info'>
  private readonly clock: Pick<Clock, 'mono'>
  private readonly troubles = new Map<string, Trouble>()

  constructor(log: Pick<Log, 'warn' | 'info'>, clock: Pick<Clock, 'mono'>) {
    this.log = log
    this.clock = clock
  }

  /**
   * The trouble named `key` has happened (again). `key` is one of a few fixed names such as `renew`; what differs
   * from time to time belongs in `msg`.
   */
  happened(key: string, msg: string, fields: Fields = {}): void {
    const now = this.clock.mono()
    const trouble = this.troubles.get(key) ?? {
      since: now,
      minuteFrom: now,
      said: new Set(),
      count: 0,
      unlogged: 0,
    }
    this.troubles.set(key, trouble)
    trouble.count++
    trouble.unlogged++
    const due = now - trouble.minuteFrom >= AGAIN_AFTER_MS
    if (due) trouble.said.clear()
    if (trouble.said.has(msg) || trouble.said.size >= AT_ONCE) return
    trouble.said.add(msg)
    this.log.warn(msg, trouble.unlogged > 1 ? { ...fields, times: trouble.unlogged } : fields)
    trouble.unlogged = 0
    if (due) trouble.minuteFrom = now
  }

  /** The trouble named `key` is over; says so in one line where it had begun. */
  over(key: string, msg: string, fields: Fields = {}): void {
    const trouble = this.troubles.get(key)
    if (trouble === undefined) return
    this.troubles.delete(key)
    const lasted = formatDuration(Math.round(this.clock.mono() - trouble.since))
    this.log.info(msg, { ...fields, times: trouble.count, lasted })
  }
}
