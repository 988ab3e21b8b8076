import type { Fact } from '../../harness/report.ts'
import { percentile, table } from '../../harness/report.ts'
import {
  atMost,
  describe,
  factTable,
  missed,
  percentileAtMost,
  type Row,
  type Section,
  type Target,
  verdict,
} from '../report.ts'
import { PHASES } from './phases.ts'
import type { Round } from './round.ts'
import { FAULT, type FaultName, MODES, type Mode, type Preset, survives } from './settings.ts'

/** One fault with one preset, in all modes that were measured. */
export interface Measured {
  readonly fault: FaultName
  readonly preset: Preset
  readonly rounds: ReadonlyMap<Mode, readonly Round[]>
  /** Why it broke off. */
  readonly failure?: string
}

const PHASE_TEXT: Readonly<Record<(typeof PHASES)[number], string>> = {
  detect: 'detect: fault → the old leader gives way, or its Lease runs out',
  stop: 'stop: → LangFlow stopped, Lease released',
  acquire: 'acquire: → the next holder has the Lease',
  start: 'start: → LangFlow’s process runs',
  healthy: 'healthy: → LangFlow serves',
  answer: 'answer: → its first good answer',
}

/** How long the flow may be away; `undefined`: measured for comparison. */
function outageTarget(fault: FaultName, mode: Mode): Target | undefined {
  const isAimedAt = mode === 'spare' || (mode === 'warm' && (fault === 'worker' || fault === 'switchover'))
  return isAimedAt ? percentileAtMost(50, 1_700, 'ms') : undefined
}

function goTarget(mode: Mode): Target | undefined {
  return mode === 'warm' ? percentileAtMost(50, 1_300, 'ms') : undefined
}

/** The tables of one fault. */
export function sectionOf({ fault, preset, rounds, failure }: Measured): Section {
  const { title, about, moves } = FAULT[fault]
  return {
    title: titleOf(title, preset),
    shape: 'spread',
    about: [about, ...(moves ? [] : [aboutHolding(fault, preset)])],
    rows: [...rounds].flatMap(([mode, all]) => rowsOf(fault, mode, preset, all)),
    notes: [...rounds].flatMap(([mode, all]) => failuresOf(mode, all)),
    ...(failure === undefined ? {} : { failure }),
  }
}

function titleOf(title: string, preset: Preset): string {
  return `${title}${preset.name === 'default' ? '' : ` (${preset.name}: ${preset.text})`}`
}

function aboutHolding(fault: FaultName, preset: Preset): string {
  return survives(fault, preset)
    ? 'The same LangFlow process went on in each round: a run in which it did not breaks off.'
    : 'The Lease runs out meanwhile: LangFlow is killed in time, and started again once the API server answers.'
}

function rowsOf(fault: FaultName, mode: Mode, preset: Preset, rounds: readonly Round[]): Row[] {
  const row = (what: string, unit: string, values: readonly number[], target?: Target): Row => ({
    what: `${mode}: ${what}`,
    unit,
    values,
    ...(target && { target }),
  })
  const failed = (target?: Target) =>
    row(
      'failed requests',
      '',
      rounds.map(({ calls }) => calls.failed),
      target,
    )
  const outage = rounds.map(({ outageMs }) => outageMs)
  if (FAULT[fault].moves) {
    const until =
      mode === 'spare'
        ? 'fault → first good answer, in place'
        : 'fault → first good answer of the next holder'
    const sinceGo = rounds.flatMap(({ phases: { start, healthy, answer } }) =>
      start === undefined || healthy === undefined || answer === undefined ? [] : [start + healthy + answer],
    )
    return [
      row(until, 'ms', outage, outageTarget(fault, mode)),
      failed(),
      ...PHASES.flatMap((phase) => {
        const values = rounds.flatMap(({ phases }) => phases[phase] ?? [])
        return values.length === 0 ? [] : [row(PHASE_TEXT[phase], 'ms', values)]
      }),
      ...(sinceGo.length === 0
        ? []
        : [row('the last three together: go → first good answer', 'ms', sinceGo, goTarget(mode))]),
    ]
  }
  const closed = rounds.map(({ closedMs }) => closedMs)
  return [
    failed(fault === 'api' && survives(fault, preset) ? atMost(0, 'requests') : undefined),
    ...(fault === 'agent'
      ? [
          row(
            'of them in flight at the fault',
            '',
            rounds.map(({ calls }) => calls.inFlight),
            atMost(0, 'requests'),
          ),
        ]
      : []),
    row('no agent says to be ready', 'ms', closed, fault === 'agent' ? atMost(2_000, 'ms') : undefined),
    row('longest time without a good answer', 'ms', outage),
    row(
      'slowest good answer',
      'ms',
      rounds.map((one) => one.slowestMs),
    ),
  ]
}

/** Why requests failed, all rounds of a mode together. */
function failuresOf(mode: Mode, rounds: readonly Round[]): string[] {
  const counted = new Map<string, number>()
  for (const { reasons } of rounds)
    for (const [why, times] of reasons) counted.set(why, (counted.get(why) ?? 0) + times)
  if (counted.size === 0) return []
  const sent = rounds.reduce((sum, { calls }) => sum + calls.sent, 0)
  const listed = [...counted].sort((a, b) => b[1] - a[1]).map(([why, times]) => `${why}: ${times}`)
  return [`${mode}: of ${sent} requests from the fault on, ${listed.join('; ')}.`]
}

/** The name of the part of docs/benchmarks.md that this bench writes. */
export const TAKEOVER_PART = 'takeover'

export interface Result {
  readonly facts: readonly Fact[]
  readonly rounds: number
  readonly measured: readonly Measured[]
}

const ABOUT = [
  'Two replicas of a real LangFlow, each an agent and a container of its own as in a pod, on one PostgreSQL. A client runs the echo flow ten times a second, each on a connection of its own, and never tries twice.',
  'The client sends to whom `/readyz` says 200, and asks every 50 ms. **A request counts as failed** where nobody is ready when it is to be sent, where its connection is refused or cut, where the answer is not what the flow says, and where none comes within 30 s. In a cluster the probe period and the endpoint controller come on top.',
  'While the API server is frozen the client hears of no change, as a Service does not.',
  '**Time away**: from the fault to the first good answer of the next holder. Where nobody has to take over: the longest time without a good answer.',
  '**Answer**: the first flow that a LangFlow runs takes longer than the next ones, and the gate is already open.',
  'The phases are by the replicas’ own logs, at a resolution of 1 ms.',
]

const REPRODUCE = `### How to reproduce

\`\`\`sh
npm run bench:takeover -- --rounds 1 --modes warm --faults worker,switchover
npm run bench:takeover                  # all of it: about 40 minutes
\`\`\`

It needs what \`npm run bench\` needs, PostgreSQL (Debian’s package \`postgresql\`), \`tini\`, PID namespaces, and a LangFlow
in \`$LANGFLOW_BIN\`. Let the machine do nothing else meanwhile.`

/** The part of the page. */
export function partText({ facts, rounds, measured }: Result): string {
  const sections = measured.map(sectionOf)
  return [
    '## Takeover of a real LangFlow',
    `Written by \`npm run bench:takeover\` in one run: each fault ${rounds === 1 ? 'once' : `${rounds} times`} in each standby mode. Percentiles are nearest-rank: of so few rounds p95 and p99 are the longest one.`,
    verdict(sections),
    factTable(facts),
    ABOUT.map((line) => `- ${line}`).join('\n'),
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
    measured.map((one) => [
      nameOf(one),
      ...modes.map((mode) => inWords(one.rounds.get(mode) ?? [])),
      met(one) ? 'met' : '**MISSED**',
    ]),
  )
}

function met(one: Measured): boolean {
  return one.failure === undefined && !sectionOf(one).rows.some(missed)
}

function nameOf({ fault, preset }: Measured): string {
  return `${FAULT[fault].short}${preset.name === 'default' ? '' : `, ${preset.name}`}`
}

function inWords(rounds: readonly Round[]): string {
  if (rounds.length === 0) return ''
  const outages = rounds.map(({ outageMs }) => outageMs)
  const failed = median(rounds.map(({ calls }) => calls.failed))
  return `${seconds(median(outages))} (${seconds(Math.max(...outages))}), ${failed} failed`
}

function median(values: readonly number[]): number {
  return percentile(values, 0.5)
}

function seconds(ms: number): string {
  return `${(ms / 1000).toFixed(ms < 10_000 ? 2 : 1)} s`
}
