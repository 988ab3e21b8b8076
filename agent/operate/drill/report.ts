import { listed, readable } from '../../config/values.ts'
import type { PastTerm } from '../../lease/history.ts'
import type { LastDrill } from '../../lease/operation.ts'
import type { Held } from '../fronts.ts'
import type { Plan } from '../switchover.ts'
import type { Measured, Span } from './measure.ts'
import type { ScenarioName } from './settings.ts'

/** `missed`: all went well but took longer, or lost more, than is allowed. `interrupted`: somebody ended it, which the Lease notes as failed. */
export type Result = LastDrill['result'] | 'interrupted'

/** What a drill found; `-o json` prints it as it is. Times in milliseconds since the drill began. */
export interface Report {
  readonly namespace: string
  readonly lease: string
  /** RFC 3339 */
  readonly began: string
  readonly ended: string
  readonly result: Result
  /** What was asked all along. */
  readonly probe: string
  readonly perSecond: number
  readonly limits: Limits
  /** None: the drill was refused. */
  readonly scenarios: readonly Played[]
  /** Scenarios that were not played, since one failed, all were refused, or somebody interrupted. */
  readonly skipped: readonly ScenarioName[]
  /** What else there is to know, each one sentence. */
  readonly notes: readonly string[]
}

export interface Limits {
  readonly rtoMs: number
  /** `null`: nothing that is stored was looked at. */
  readonly rpoRows: number | null
}

/** One scenario, from shortly before its fault until the replicas were as well as before. */
export interface Played {
  readonly scenario: ScenarioName
  readonly result: Result
  /** Why it failed, or what was missed, in one sentence; `null`: neither. */
  readonly problem: string | null
  /** What was done, in one sentence. */
  readonly did: string
  /** Who led before, and who led after; `null`: nobody, or unknown. */
  readonly from: string
  readonly to: string | null
  readonly epochBefore: number
  readonly epochAfter: number
  readonly faultMs: number
  readonly span: Span
  /** From the fault until as many replicas as before could take over again; `null`: not in time. */
  readonly wellAgainMs: number | null
  /** What was seen at the fronts meanwhile; `null`: no replica has one. */
  readonly fronts: Fronts | null
  readonly measured: Measured
  /** Rows that were acknowledged and are missing: RPO. `null`: not measured. */
  readonly rpoRows: number | null
  /** The term that was there and those that began meanwhile, oldest first, as the Lease remembers them. */
  readonly terms: readonly PastTerm[]
  /** What was seen meanwhile, in its order. */
  readonly moments: readonly Moment[]
}

export interface Fronts {
  readonly held: Held
  /** For a planned takeover. */
  readonly streamsEnded: number
}

export interface Moment {
  readonly atMs: number
  readonly what: string
}

/** The worst of them. */
export function worst(results: readonly Result[]): Result {
  return (['interrupted', 'failed', 'missed'] as const).find((one) => results.includes(one)) ?? 'ok'
}

/** How one scenario did by the limits: its result, and what was missed. `mustHold`: no request may fail. */
export function judge(
  { rtoMs: most, rpoRows: mostRows }: Limits,
  { rtoMs, failed }: Pick<Measured, 'rtoMs' | 'failed'>,
  rpoRows: number | null,
  mustHold: boolean,
): Pick<Played, 'result' | 'problem'> {
  if (rtoMs === null) return { result: 'failed', problem: 'no good answer came any more' }
  const missed = [
    ...(rtoMs > most
      ? [`nobody was served for ${readable(rtoMs)}, which is longer than ${readable(most)}`]
      : []),
    ...(rpoRows !== null && mostRows !== null && rpoRows > mostRows
      ? [`${rows(rpoRows)} that had been acknowledged ${rpoRows === 1 ? 'is' : 'are'} missing`]
      : []),
    ...(mustHold && failed > 0
      ? [
          `${failed === 1 ? '1 request' : `${failed} requests`} failed, and in a planned takeover the fronts hold each`,
        ]
      : []),
  ]
  return missed.length === 0
    ? { result: 'ok', problem: null }
    : { result: 'missed', problem: missed.join('; ') }
}

export function rows(count: number): string {
  return count === 1 ? '1 row' : `${count} rows`
}

/** `Play switchover and delete-pod on langflow-0, which leads?` */
export function drillQuestion(scenarios: readonly ScenarioName[], { from }: Plan): string {
  return `Play ${listed(scenarios)} on ${from}, which leads?`
}
