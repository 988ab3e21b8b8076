import { readable } from '../../config/values.ts'
import type { PastTerm } from '../../lease/lease-history.ts'
import { historyTable } from '../history-table.ts'
import type { Scenario } from './drill-command.ts'
import type { Measured } from './prober.ts'

/** The result of a drill; `-o json` prints it as it is. */
export interface Report {
  readonly namespace: string
  readonly lease: string
  readonly ended: string
  readonly scenario: Scenario
  /** `missed`: the replicas recovered, but it took longer, or more was lost, than is allowed. */
  readonly result: 'ok' | 'missed'
  /** What was missed, in one sentence; `null`: nothing. */
  readonly problem: string | null
  /** What was done, in one sentence. */
  readonly did: string
  /** Who led before, and who leads after. */
  readonly from: string
  readonly to: string
  readonly rtoLimitMs: number
  readonly measured: Measured
  /** From the fault until as many replicas as before could take over again. */
  readonly wellAgainMs: number
  /** The term of the first leader and those that followed, newest first, as the Lease remembers them. */
  readonly terms: readonly PastTerm[]
}

/** What was missed, in one sentence; `null`: nothing. `mustHold`: no request may fail. */
export function judge(
  { rtoMs, lost, failed }: Pick<Measured, 'rtoMs' | 'lost' | 'failed'>,
  rtoLimitMs: number,
  mustHold: boolean,
): string | null {
  const missed: string[] = []
  if (rtoMs === null) missed.push('no good answer came any more')
  else if (rtoMs > rtoLimitMs)
    missed.push(`nobody was served for ${readable(rtoMs)}, which is longer than ${readable(rtoLimitMs)}`)
  if (lost !== null && lost > 0) missed.push(`messages that were acknowledged are missing: ${lost}`)
  if (mustHold && failed > 0)
    missed.push(`requests failed: ${failed}, and in a planned takeover the fronts hold each`)
  return missed.length === 0 ? null : missed.join('; ')
}

/** The report for people. */
export function textOf(report: Report): string {
  const { measured, problem } = report
  const { rtoMs, lost, failed, requests, problems, longestWaitMs } = measured
  const why = problems.map((one) => `${one.times} × ${one.problem}`).join(', ')
  const facts = {
    result: problem === null ? 'passed' : `missed its limits: ${problem}`,
    done: report.did,
    RTO: `${rtoMs === null ? 'not over' : readable(rtoMs)} (allowed: ${readable(report.rtoLimitMs)})`,
    RPO: lost === null ? 'not measured' : `${lost} messages`,
    'failed requests': `${failed} of ${requests}${why && ` (${why})`}`,
    'longest wait': longestWaitMs === null ? 'no answer' : readable(longestWaitMs),
    'well again after': readable(report.wellAgainMs),
  }
  const lines = Object.entries(facts).map(([name, fact]) => `${`${name}:`.padEnd(18)}${fact}`)
  const head = `Drill of ${report.namespace}/${report.lease}: ${report.scenario}, ${report.ended}`
  return `${head}\n\n${lines.join('\n')}\n\n${historyTable(report.terms, Date.parse(report.ended))}`
}
