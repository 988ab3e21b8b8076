import { readable } from '../../config/values.ts'
import type { PastTerm } from '../../lease/lease-history.ts'
import { historyTable } from '../history-table.ts'
import type { Scenario } from './drill-command.ts'
import type { Measured } from './prober.ts'
import type { State } from './state-samples.ts'

/** The result of a drill, in the form that `-o json` prints. */
export interface Report {
  readonly namespace: string
  readonly lease: string
  readonly ended: string
  readonly scenario: Scenario
  /** `missed`: the replicas recovered, but a limit on time or loss was exceeded. */
  readonly result: 'ok' | 'missed'
  /** The exceeded limits, in one sentence; `null` if the drill passed. */
  readonly problem: string | null
  /** The action on the leader, in one sentence. */
  readonly did: string
  /** The leader's pod before and after. */
  readonly from: string
  readonly to: string
  readonly rtoLimitMs: number
  readonly measured: Measured
  /** `null` if there was no user to store it. */
  readonly state: State | null
  /** Time from the fault until the previous number of standbys was ready again. */
  readonly wellAgainMs: number
  /** The first leader's term and the later terms, newest first, as recorded in the Lease. */
  readonly terms: readonly PastTerm[]
}

/** The exceeded limits, in one sentence; `null` if there are no such limits. `mustHold`: no request may fail. */
export function judge(
  { rtoMs, lost, failed, state }: Pick<Measured, 'rtoMs' | 'lost' | 'failed'> & Pick<Report, 'state'>,
  rtoLimitMs: number,
  mustHold: boolean,
): string | null {
  const missed: string[] = []
  if (rtoMs === null) missed.push('users got no good answer after the last failure')
  else if (rtoMs > rtoLimitMs)
    missed.push(`no user was served for ${readable(rtoMs)}, longer than the allowed ${readable(rtoLimitMs)}`)
  if (lost !== null && lost > 0) missed.push(`acknowledged messages are missing: ${lost}`)
  if (state?.variable === 'lost') missed.push('an acknowledged variable is missing')
  if (state?.upload === 'lost')
    missed.push('an acknowledged upload is missing: see the storage of files in docs/guide/state.md')
  if (mustHold && failed > 0)
    missed.push(`requests failed: ${failed}, although fronts hold all requests in a handover`)
  return missed.length === 0 ? null : missed.join('; ')
}

/** The report for people. */
export function textOf(report: Report): string {
  const { measured, problem, state } = report
  const { rtoMs, lost, failed, requests, problems, longestWaitMs } = measured
  const why = problems.map((one) => `${one.times} × ${one.problem}`).join(', ')
  const facts = {
    result: problem === null ? 'passed' : `missed its limits: ${problem}`,
    done: report.did,
    RTO: `${rtoMs === null ? 'not over' : readable(rtoMs)} (allowed: ${readable(report.rtoLimitMs)})`,
    RPO: lost === null ? 'not measured' : `${lost} messages`,
    variable: state?.variable ?? 'not measured',
    upload: state?.upload ?? 'not measured',
    'failed requests': `${failed} of ${requests}${why && ` (${why})`}`,
    'longest wait': longestWaitMs === null ? 'no answer' : readable(longestWaitMs),
    'recovered after': readable(report.wellAgainMs),
  }
  const lines = Object.entries(facts).map(([name, fact]) => `${`${name}:`.padEnd(18)}${fact}`)
  const head = `Drill of ${report.namespace}/${report.lease}: ${report.scenario}, ${report.ended}`
  return `${head}\n\n${lines.join('\n')}\n\n${historyTable(report.terms, Date.parse(report.ended))}`
}
