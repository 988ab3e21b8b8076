import { shortDuration } from '../../config/values.ts'
import type { Scenario } from './drill-command.ts'
import type { Measured } from './prober.ts'

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
  /** The leader's pod before and after. */
  readonly from: string
  readonly to: string
  readonly rtoLimitMs: number
  readonly measured: Measured
  /** Time from the fault until the previous number of standbys was ready again. */
  readonly wellAgainMs: number
}

/** The exceeded limits, in one sentence; `null` if there are no such limits. */
export function judge({ rtoMs, lost }: Pick<Measured, 'rtoMs' | 'lost'>, rtoLimitMs: number): string | null {
  const missed: string[] = []
  if (rtoMs === null) missed.push('users got no good answer after the last failure')
  else if (rtoMs > rtoLimitMs)
    missed.push(
      `no user was served for ${shortDuration(rtoMs)}, longer than the allowed ${shortDuration(rtoLimitMs)}`,
    )
  if (lost !== null && lost > 0) missed.push(`acknowledged messages are missing: ${lost}`)
  return missed.length === 0 ? null : missed.join('; ')
}

/** The report for people. */
export function textOf(report: Report): string {
  const { measured, problem, rtoLimitMs } = report
  const { rtoMs, lost, failed, requests, firstProblem } = measured
  const facts = {
    result: problem === null ? 'passed' : `missed its limits: ${problem}`,
    leader: `${report.from}, then ${report.to}`,
    RTO: `${rtoMs === null ? 'not over' : shortDuration(rtoMs)} (allowed: ${shortDuration(rtoLimitMs)})`,
    RPO: lost === null ? 'not measured' : `${lost} messages`,
    'failed requests': `${failed} of ${requests}${firstProblem === null ? '' : ` (the first: ${firstProblem})`}`,
    'recovered after': shortDuration(report.wellAgainMs),
  }
  const lines = Object.entries(facts).map(([name, fact]) => `${`${name}:`.padEnd(18)}${fact}`)
  const head = `Drill of ${report.namespace}/${report.lease}: ${report.scenario}, ${report.ended}`
  return `${head}\n\n${lines.join('\n')}\n\nThe phases of the takeover: langflow-leader history\n`
}
