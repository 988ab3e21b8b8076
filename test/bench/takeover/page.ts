import { type Fact, table } from '../../harness/report.ts'
import { percentile } from '../percentiles.ts'
import {
  atMost,
  bullets,
  describe,
  missed,
  percentileAtMost,
  type Section,
  spread,
  type Target,
  verdict,
} from '../report.ts'
import { type Fault, type FaultName, MODES, type Mode } from './faults.ts'
import { PHASES, type Phases, type Round } from './round.ts'

/** One fault, in all measured modes. */
export interface Measured {
  readonly name: FaultName
  readonly fault: Fault
  readonly rounds: Map<Mode, readonly Round[]>
  /** Why the measurement failed. */
  failure?: string
}

/** The section of one fault. */
export function sectionOf({ name, fault, rounds, failure }: Measured): Section {
  const { title, about, moves, survives } = fault
  const goesOn = survives
    ? 'In each round, the same LangFlow process continued; otherwise the measurement fails.'
    : 'The Lease expires during the freeze: the launcher kills LangFlow in time, and starts it again once the API server answers.'
  const rowsOf = moves ? rowsOfMove : rowsOfStay
  return {
    title,
    about: [about, ...(moves ? [] : [goesOn])],
    rows: [...rounds].flatMap(([mode, all]) =>
      rowsOf(mode, name, all).map(([what, unit, values, target]) => {
        const row = spread(`${mode}: ${what}`, unit, target)
        row.values.push(...values)
        return row
      }),
    ),
    notes: [...rounds].flatMap(([mode, all]) => failuresOf(mode, all)),
    ...(failure === undefined ? {} : { failure }),
  }
}

type RowData = [what: string, unit: string, values: readonly number[], target?: Target | undefined]

/** The rows of a fault after which another replica takes over. */
function rowsOfMove(mode: Mode, name: FaultName, rounds: readonly Round[]): RowData[] {
  const isAimedAt = mode === 'warm' && (name === 'worker' || name === 'switchover')
  const sinceGo = rounds.flatMap(({ phases: { start, healthy, answer } }) =>
    start === undefined || healthy === undefined || answer === undefined ? [] : [start + healthy + answer],
  )
  const phases = (Object.keys(PHASES) as (keyof Phases)[]).map(
    (phase): RowData => [PHASES[phase], 'ms', rounds.flatMap(({ phases }) => phases[phase] ?? [])],
  )
  const goTarget = mode === 'warm' ? percentileAtMost(50, 1_300, 'ms') : undefined
  const parts: RowData[] = [...phases, ['start, healthy and answer together', 'ms', sinceGo, goTarget]]
  return [
    [
      'fault → first good answer of the next holder',
      'ms',
      rounds.map(({ outageMs }) => outageMs),
      isAimedAt ? percentileAtMost(50, 1_700, 'ms') : undefined,
    ],
    ['failed requests', '', rounds.map(({ failed }) => failed)],
    ...parts.filter(([, , values]) => values.length > 0),
  ]
}

/** The rows of a fault after which the same replica continues to lead. */
function rowsOfStay(_: Mode, name: FaultName, rounds: readonly Round[]): RowData[] {
  const isAgent = name === 'agent'
  const none = atMost(0, 'requests')
  const inFlight = rounds.map((one) => one.inFlight)
  const closed = rounds.map(({ closedMs }) => closedMs)
  return [
    ['failed requests', '', rounds.map(({ failed }) => failed), name === 'api' ? none : undefined],
    ...(isAgent ? [['of these, in flight at the fault', '', inFlight, none] satisfies RowData] : []),
    ['no agent reports to be ready', 'ms', closed, isAgent ? atMost(2_000, 'ms') : undefined],
    ['longest time without a good answer', 'ms', rounds.map(({ outageMs }) => outageMs)],
    ['slowest good answer', 'ms', rounds.map(({ slowestMs }) => slowestMs)],
  ]
}

/** The reasons of failed requests, for all rounds of a mode together. */
function failuresOf(mode: Mode, rounds: readonly Round[]): string[] {
  const counted = new Map<string, number>()
  for (const [why, times] of rounds.flatMap(({ reasons }) => Object.entries(reasons)))
    counted.set(why, (counted.get(why) ?? 0) + times)
  if (counted.size === 0) return []
  const sent = rounds.reduce((sum, one) => sum + one.sent, 0)
  const listed = [...counted].sort((a, b) => b[1] - a[1]).map(([why, times]) => `${why}: ${times}`)
  return [`${mode}, failed requests of ${sent} since the fault: ${listed.join('; ')}.`]
}

/** The name of the part of docs/evidence/benchmarks.md that this benchmark writes. */
export const TAKEOVER_PART = 'takeover'

const ABOUT = [
  'Two replicas of a real LangFlow on one PostgreSQL, each with an agent and a container as in a pod, and with the settings of the chart. A client runs the echo flow five times a second, on a new connection each time, without retries.',
  'The client sends to the replica whose `/readyz` answers with 200, and probes every 50 ms. **A request counts as failed** if no replica is ready at its time, if its connection is refused or cut, if the answer is not the output of the flow, or if no answer comes within 30 s. In a cluster, the probe period and the endpoint controller add to these times.',
  'While the API server is frozen, the client keeps its target, as a Service does.',
  '**Time away**: from the fault to the first good answer of the next holder. If no replica has to take over, the longest time without a good answer.',
  '**Answer**: the first run of a flow in a LangFlow takes longer than the next ones. The gate is already open at that time.',
  'The phases are from the replicas’ own logs, with a resolution of 1 ms. The times at which an agent reports to be ready have a resolution of 50 ms.',
]

/** The part of the page. */
export function partText(facts: readonly Fact[], rounds: number, measured: readonly Measured[]): string {
  const sections = measured.map(sectionOf)
  return [
    '## Takeover of a real LangFlow',
    `\`npm run bench:takeover\` writes this part, all of it in one run, with each fault ${rounds === 1 ? 'once' : `${rounds} times`} in each standby mode. Percentiles are nearest-rank: with so few rounds, p95 and p99 are the longest time.`,
    ...verdict(sections, facts),
    bullets(ABOUT),
    overview(measured),
    ...sections.flatMap((section) => describe(section, '###')),
  ].join('\n\n')
}

/** A table with a row for each fault and a column for each mode. */
function overview(measured: readonly Measured[]): string {
  const modes = MODES.filter((mode) => measured.some(({ rounds }) => rounds.has(mode)))
  return table(
    ['time away: median (longest), failed requests: median', ...modes, ''],
    ['-', ...modes.map(() => '-'), '-'],
    measured.map((one) => {
      const rows = sectionOf(one).rows
      const isMet = one.failure === undefined && rows.length > 0 && !rows.some(missed)
      const cells = modes.map((mode) => inWords(one.rounds.get(mode) ?? []))
      return [one.fault.short, ...cells, isMet ? 'met' : '**MISSED**']
    }),
  )
}

function inWords(rounds: readonly Round[]): string {
  if (rounds.length === 0) return ''
  const outages = rounds.map(({ outageMs }) => outageMs)
  const failed = percentile(
    rounds.map((one) => one.failed),
    0.5,
  )
  return `${seconds(percentile(outages, 0.5))} (${seconds(Math.max(...outages))}), ${failed} failed`
}

function seconds(ms: number): string {
  return `${(ms / 1000).toFixed(ms < 10_000 ? 2 : 1)} s`
}
