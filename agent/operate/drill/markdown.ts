import { readable } from '../../config/values.ts'
import type { PastTerm } from '../../lease/history.ts'
import { describeWaits } from '../fronts.ts'
import { type Played, type Report, type Result, rows } from './report.ts'
import { SCENARIO } from './scenarios.ts'

export const VERDICTS: Readonly<Record<Result, string>> = {
  ok: 'passed',
  missed: 'missed its limits',
  failed: 'failed',
  interrupted: 'interrupted',
}

/** The report for people: a verdict, a table of the scenarios, and what each of them was like. */
export function markdownOf(report: Report): string {
  const { namespace, lease, began, ended, result, probe, perSecond, limits, scenarios, skipped, notes } =
    report
  const head = ['scenario', 'result', 'RTO', 'RPO', 'failed requests', 'longest wait', 'well again after']
  const paragraphs = [
    `# Drill of ${began.slice(0, 10)}: ${VERDICTS[result]}`,
    ...(scenarios.length > 0
      ? [
          `Lease \`${namespace}/${lease}\`, from ${began} to ${ended}. ${sentenceOnProbe(probe, perSecond)}\n${sentenceOnLimits(report)}`,
          tableOf(
            head,
            scenarios.map((one) => rowOf(one, limits.rpoRows !== null)),
          ),
          ...scenarios.map(sectionOf),
        ]
      : [`Lease \`${namespace}/${lease}\`, at ${began}.`]),
    ...(skipped.length > 0 ? [`Not played: ${skipped.join(', ')}.`] : []),
    notes.map((note) => `- ${escaped(note)}`).join('\n'),
  ]
  return `${paragraphs.filter((one) => one !== '').join('\n\n')}\n`
}

/** What was asked, and how sure the times are. */
export function sentenceOnProbe(probe: string, perSecond: number): string {
  const every = readable(1_000 / perSecond)
  return `\`${probe}\` was asked each ${every}, so that times are known to within ${every}.`
}

export function sentenceOnLimits({ limits: { rtoMs, rpoRows } }: Pick<Report, 'limits'>): string {
  const rto = `Allowed: ${readable(rtoMs)} without an answer (RTO)`
  return rpoRows === null ? `${rto}.` : `${rto}, ${rows(rpoRows)} lost (RPO).`
}

/** What the table says of a scenario. */
export function rowOf(
  { scenario, result, measured, rpoRows, wellAgainMs }: Played,
  rpoWanted: boolean,
): string[] {
  const { rtoMs, failed, requests, longestWaitMs } = measured
  return [
    scenario,
    VERDICTS[result],
    timeOf(rtoMs, 'not over'),
    rpoRows !== null ? rows(rpoRows) : rpoWanted ? 'unknown' : 'not measured',
    `${failed} of ${requests}`,
    timeOf(longestWaitMs, 'no answer'),
    timeOf(wellAgainMs, 'not in time'),
  ]
}

/** How the term that was there ended, and how each later one came about, a line each. */
export function describeTerms({ terms, epochBefore }: Pick<Played, 'terms' | 'epochBefore'>): string[] {
  return terms.flatMap((term) => (term.epoch > epochBefore ? [beginOf(term)] : endOf(term)))
}

/** What was seen at the fronts. */
export function describeFronts({ fronts }: Pick<Played, 'fronts'>): string[] {
  if (fronts === null) return []
  const { held, streamsEnded } = fronts
  const ended = streamsEnded === 1 ? '1 stream was ended' : `${streamsEnded} streams were ended`
  return [`${describeWaits(held)}; ${ended}`]
}

function endOf({ epoch, holder, endedBecause, stopMs }: PastTerm): string[] {
  if (endedBecause === null) return []
  const stop = stopMs === null ? '' : `: stop ${readable(stopMs)}`
  return [`Term ${epoch} of ${holder} ended (${endedBecause})${stop}`]
}

function beginOf({ epoch, holder, because, phases, gapMs }: PastTerm): string {
  const { detectMs, acquireMs, startMs, healthyMs } = phases
  const parts = Object.entries({ detect: detectMs, acquire: acquireMs, start: startMs, healthy: healthyMs })
    .filter(([, ms]) => ms !== null)
    .map(([phase, ms]) => `${phase} ${readable(ms as number)}`)
  const gap = gapMs === null ? '' : `; nobody served for ${readable(gapMs)}`
  return `Term ${epoch} of ${holder} began (${because}): ${parts.join(', ')}${gap}`
}

function sectionOf(one: Played): string {
  const { scenario, problem, moments, faultMs, measured } = one
  const parts = [
    `## ${scenario}\n\nIt proves that ${SCENARIO[scenario].proves}.`,
    problem === null ? '' : `**${VERDICTS[one.result]}: ${escaped(problem)}.**`,
    moments.map(({ atMs, what }) => `- +${readable(atMs - faultMs)}: ${escaped(what)}`).join('\n'),
    [...describeTerms(one), ...describeFronts(one)].map((line) => `- ${escaped(line)}`).join('\n'),
    measured.problems.length === 0
      ? ''
      : `Failed requests: ${measured.problems.map(({ problem, times }) => `${times} × ${escaped(problem)}`).join(', ')}.`,
  ]
  return parts.filter((part) => part !== '').join('\n\n')
}

function timeOf(ms: number | null, otherwise: string): string {
  return ms === null ? otherwise : readable(ms)
}

function tableOf(head: readonly string[], lines: readonly (readonly string[])[]): string {
  const line = (cells: readonly string[]) => `| ${cells.join(' | ')} |`
  return [line(head), line(head.map(() => '---')), ...lines.map(line)].join('\n')
}

/** What would be read as Markdown, or as HTML in it. */
function escaped(text: string): string {
  return text.replace(/[\\`*_[\]<>|#]/g, '\\$&').replace(/\s+/g, ' ')
}
