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

/** One fault, in all modes that were measured. */
export interface Measured {
  readonly name: FaultName
  readonly fault: Fault
  readonly rounds: Map<Mode, readonly Round[]>
  /** Why it broke off. */
  failure?: string
}

/** The tables of one fault. */
export function sectionOf({ name, fault, rounds, failure }: Measured): Section {
  const { title, about, moves, survives } = fault
  const goesOn = survives
    ? 'The same LangFlow process went on in each round: a run in which it did not breaks off.'
    : 'The Lease runs out meanwhile: LangFlow is killed in time, and started again once the API server answers.'
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

type Told = [what: string, unit: string, values: readonly number[], target?: Target | undefined]

/** Of a fault after which another replica takes over. */
function rowsOfMove(mode: Mode, name: FaultName, rounds: readonly Round[]): Told[] {
  const isAimedAt = mode === 'warm' && (name === 'worker' || name === 'switchover')
  const sinceGo = rounds.flatMap(({ phases: { start, healthy, answer } }) =>
    start === undefined || healthy === undefined || answer === undefined ? [] : [start + healthy + answer],
  )
  const phases = (Object.keys(PHASES) as (keyof Phases)[]).map(
    (phase): Told => [PHASES[phase], 'ms', rounds.flatMap(({ phases }) => phases[phase] ?? [])],
  )
  const goTarget = mode === 'warm' ? percentileAtMost(50, 1_300, 'ms') : undefined
  const parts: Told[] = [
    ...phases,
    ['the last three together: go → first good answer', 'ms', sinceGo, goTarget],
  ]
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

/** Of a fault after which the same replica goes on. */
function rowsOfStay(_: Mode, name: FaultName, rounds: readonly Round[]): Told[] {
  const isAgent = name === 'agent'
  const none = atMost(0, 'requests')
  const inFlight = rounds.map((one) => one.inFlight)
  const closed = rounds.map(({ closedMs }) => closedMs)
  return [
    ['failed requests', '', rounds.map(({ failed }) => failed), name === 'api' ? none : undefined],
    ...(isAgent ? [['of them in flight at the fault', '', inFlight, none] satisfies Told] : []),
    ['no agent says to be ready', 'ms', closed, isAgent ? atMost(2_000, 'ms') : undefined],
    ['longest time without a good answer', 'ms', rounds.map(({ outageMs }) => outageMs)],
    ['slowest good answer', 'ms', rounds.map(({ slowestMs }) => slowestMs)],
  ]
}

/** Why requests failed, all rounds of a mode together. */
function failuresOf(mode: Mode, rounds: readonly Round[]): string[] {
  const counted = new Map<string, number>()
  for (const [why, times] of rounds.flatMap(({ reasons }) => Object.entries(reasons)))
    counted.set(why, (counted.get(why) ?? 0) + times)
  if (counted.size === 0) return []
  const sent = rounds.reduce((sum, one) => sum + one.sent, 0)
  const listed = [...counted].sort((a, b) => b[1] - a[1]).map(([why, times]) => `${why}: ${times}`)
  return [`${mode}: of ${sent} requests from the fault on, ${listed.join('; ')}.`]
}

/** The name of the part of docs/evidence/benchmarks.md that this bench writes. */
export const TAKEOVER_PART = 'takeover'

const ABOUT = [
  'Two replicas of a real LangFlow, each an agent and a container of its own as in a pod, on one PostgreSQL. A client runs the echo flow ten times a second, each on a connection of its own, and never tries twice.',
  'The client sends to whom `/readyz` says 200, and asks every 50 ms. **A request counts as failed** where nobody is ready when it is to be sent, where its connection is refused or cut, where the answer is not what the flow says, and where none comes within 30 s. In a cluster the probe period and the endpoint controller come on top.',
  'While the API server is frozen the client hears of no change, as a Service does not.',
  '**Time away**: from the fault to the first good answer of the next holder. Where nobody has to take over: the longest time without a good answer.',
  '**Answer**: the first flow that a LangFlow runs takes longer than the next ones, and the gate is already open.',
  'The phases are by the replicas’ own logs, at a resolution of 1 ms; when an agent says to be ready, at one of 50 ms.',
]

const REPRODUCE = `### How to reproduce

\`\`\`sh
npm run bench:takeover -- --rounds 1 --modes warm --faults worker,switchover
npm run bench:takeover                  # all of it: about 40 minutes
\`\`\`

It needs what \`npm run bench\` needs, PostgreSQL (Debian’s package \`postgresql\`), \`tini\`, PID namespaces, and a LangFlow
in \`$LANGFLOW_BIN\`. Let the machine do nothing else meanwhile.`

/** The part of the page. */
export function partText(facts: readonly Fact[], rounds: number, measured: readonly Measured[]): string {
  const sections = measured.map(sectionOf)
  return [
    '## Takeover of a real LangFlow',
    `Written by \`npm run bench:takeover\` in one run: each fault ${rounds === 1 ? 'once' : `${rounds} times`} in each standby mode. Percentiles are nearest-rank: of so few rounds p95 and p99 are the longest one.`,
    ...verdict(sections, facts),
    bullets(ABOUT),
    overview(measured),
    ...sections.flatMap((section) => describe(section, '###')),
    REPRODUCE,
  ].join('\n\n')
}

/** Fault by mode, one cell each. */
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
