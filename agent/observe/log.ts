import { type DestinationStream, destination, pino } from 'pino'
import { type Clock, systemClock } from '../clock.ts'
import type { LogLevel } from '../config/options.ts'
import { formatDuration } from '../config/values.ts'
import type { ReasonCode } from '../lease/reasons.ts'
import { redactText } from '../redaction.ts'

type Level = 'info' | 'warn' | 'error' | 'fatal'

/** The log's `event` field, each with its level and its sentence. docs/guide/monitor.md explains each one. */
const SENTENCES = {
  campaigning: ['info', 'waiting for the Lease'],
  leader_observed: ['info', 'another replica leads'],
  acquired: ['info', 'acquired the Lease'],
  workload_started: ['info', 'started LangFlow'],
  serving: ['info', 'LangFlow is healthy, opened the gate'],
  doubt: ['warn', 'leadership is in doubt, closed the gate'],
  workload_frozen: ['warn', 'froze LangFlow'],
  workload_thawed: ['info', 'thawed LangFlow'],
  lost: ['warn', 'lost the Lease'],
  draining: ['info', 'closed the gate, waiting for open requests'],
  workload_stopped: ['info', 'confirmed that LangFlow is stopped'],
  released: ['info', 'released the Lease'],
  stepped_down: ['info', 'stepped down'],
  standby_ready: ['info', 'the standby is ready'],
  deadman_fired: ['warn', 'no grant arrived in time: the launcher stopped LangFlow by its own clock'],
  fatal: ['fatal', 'cannot continue, the agent ends'],
} as const satisfies Record<string, readonly [Level, string]>

export type EventName = keyof typeof SENTENCES
export const EVENTS = Object.keys(SENTENCES) as readonly EventName[]

export type LogFields = Readonly<Record<string, unknown>>

export interface EventFields extends LogFields {
  readonly epoch: number
  readonly code?: ReasonCode | undefined
  readonly reason?: string | undefined
  /** The replica concerned, if it differs from the log's own identity: a launcher has it from its grants. */
  readonly identity?: string
}

export type Log = ReturnType<typeof createLog>

export interface LogOptions {
  readonly identity: string
  readonly level: LogLevel
  readonly component: 'agent' | 'launcher' | 'front'
  readonly clock?: Clock
  readonly stream?: DestinationStream
}

/** Bytes that wait for a stalled reader. Further lines are dropped. */
const BACKLOG_BYTES = 4 * 1024 * 1024

/**
 * Never blocks and never throws: a stalled reader or a full disk must not stop the deadman. Lines are written in the
 * background, and completely before the process ends by itself, unless writes fail.
 */
function standardOutput(): DestinationStream {
  const stream = destination({ fd: 1, sync: false, maxLength: BACKLOG_BYTES })
  let failing = false
  stream.on('write', () => {
    failing = false
  })
  stream.on('error', () => {
    failing = true
  })
  // At the exit of the process, the library would retry forever on a full disk.
  const flush = stream.flushSync.bind(stream)
  stream.flushSync = () => {
    if (!failing) flush()
  }
  return stream
}

/** JSON lines: `level`, `time`, `component`, `identity`, then the event's own fields, `msg` last. */
export function createLog(options: LogOptions) {
  const { identity, level, component, clock = systemClock, stream = standardOutput() } = options
  const out = pino(
    {
      level,
      base: { component },
      timestamp: () => `,"time":"${new Date(clock.now().wall).toISOString()}"`,
      formatters: { level: (label) => ({ level: label }) },
      hooks: { streamWrite: redactText },
    },
    stream,
  )
  const plain =
    (at: Level) =>
    (msg: string, fields: LogFields = {}): void =>
      out[at]({ ...(identity && { identity }), ...fields }, msg)
  return {
    event(name: EventName, { epoch, code, reason, identity: whom = identity, ...fields }: EventFields): void {
      const [at, sentence] = SENTENCES[name]
      const why = { ...(code !== undefined && { code }), ...(reason !== undefined && { reason }) }
      out[at]({ identity: whom, epoch, event: name, ...why, ...fields }, sentence)
    },
    info: plain('info'),
    warn: plain('warn'),
    error: plain('error'),
  }
}

const AGAIN_AFTER_MS = 60_000
/** Different messages of one trouble in a minute. */
const AT_ONCE = 5

type Trouble = { since: number; loggedAt: number; count: number; logged: Set<string> }

/**
 * Prevents a trouble that returns every few seconds from flooding the log: it is logged when it begins, then once a
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

  happened(key: string, msg: string, fields: LogFields = {}): void {
    const now = this.clock.mono()
    const trouble = this.troubles.get(key) ?? { since: now, loggedAt: now, count: 0, logged: new Set() }
    this.troubles.set(key, trouble)
    trouble.count++
    if (now - trouble.loggedAt >= AGAIN_AFTER_MS) trouble.logged.clear()
    if (trouble.logged.has(msg) || trouble.logged.size >= AT_ONCE) return
    if (trouble.logged.size === 0) trouble.loggedAt = now
    trouble.logged.add(msg)
    this.log.warn(msg, trouble.count > 1 ? { ...fields, times: trouble.count } : fields)
  }

  over(key: string, msg: string, fields: LogFields = {}): void {
    const trouble = this.troubles.get(key)
    if (trouble === undefined) return
    this.troubles.delete(key)
    const lasted = formatDuration(Math.round(this.clock.mono() - trouble.since))
    this.log.info(msg, { ...fields, times: trouble.count, lasted })
  }
}
