import type { EventName } from '../../../agent/observe/log.ts'

/** Where the time of a takeover went, in ms, each from the end of the one before; by the replicas' own logs. */
export interface Phases {
  /** Until the old leader gave way; where it could not any more, until the next holder took the Lease. */
  readonly detect?: number
  /** Until the old leader had stopped its LangFlow and released the Lease. */
  readonly stop?: number
  readonly acquire?: number
  /** Until LangFlow's process ran. */
  readonly start?: number
  readonly healthy?: number
  /** Until the client had its first good answer. */
  readonly answer?: number
}

export const PHASES = ['detect', 'stop', 'acquire', 'start', 'healthy', 'answer'] as const

/** What is read of a line of a log. */
interface Said {
  readonly event?: EventName
  readonly time: string
  readonly acquireMs?: unknown
}

/** `faultAt` and `answeredAt`: ms of the wall clock, as the logs' times. */
export function phasesOf(
  { faultAt, answeredAt }: { faultAt: number; answeredAt: number },
  old: readonly Said[],
  next: readonly Said[],
): Phases {
  const gaveWay = firstOf(old, faultAt, ['draining', 'lost'])
  const released = firstOf(old, gaveWay?.at ?? faultAt, ['released'])
  const acquired = firstOf(next, faultAt, ['acquired'])
  if (acquired === undefined) return {}
  const acquireMs = Number(acquired.line.acquireMs ?? 0)
  const started = firstOf(next, acquired.at, ['workload_started'])
  const serving = firstOf(next, acquired.at, ['serving'])
  const given =
    gaveWay && released
      ? {
          detect: gaveWay.at - faultAt,
          stop: released.at - gaveWay.at,
          acquire: acquired.at - released.at,
        }
      : { detect: acquired.at - acquireMs - faultAt, acquire: acquireMs }
  return {
    ...given,
    ...(started && { start: started.at - acquired.at }),
    ...(started && serving && { healthy: serving.at - started.at }),
    ...(serving && { answer: answeredAt - serving.at }),
  }
}

function firstOf(
  lines: readonly Said[],
  from: number,
  events: readonly EventName[],
): { at: number; line: Said } | undefined {
  const line = lines.find(
    ({ event, time }) => event !== undefined && events.includes(event) && Date.parse(time) >= from,
  )
  return line && { at: Date.parse(line.time), line }
}
