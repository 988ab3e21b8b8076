import { type Fact, table } from '../harness/report.ts'
import { percentile, summarise } from './percentiles.ts'

/** The name of the part of docs/evidence/benchmarks.md that release.ts writes. */
export const RELEASE_PART = 'release'

/** What a row must show. Without a single value nothing is met. */
export interface Target {
  readonly text: string
  met(values: readonly number[]): boolean
}

export interface Row {
  readonly what: string
  /** Empty: a bare number. */
  readonly unit: string
  /** Of a figure: one at most. */
  readonly values: number[]
  readonly isFigure: boolean
  /** None: shown for comparison. */
  readonly target?: Target | undefined
}

/** One table, of rows of one kind. */
export interface Section {
  readonly title: string
  /** What the numbers mean, one line each. */
  readonly about: readonly string[]
  readonly rows: readonly Row[]
  readonly notes: string[]
  /** Why the measurement broke off: as bad as a missed target. */
  failure?: string
}

/** A row that a measurement fills with a sample. */
export function spread(what: string, unit: string, target?: Target): Row {
  return { what, unit, target, values: [], isFigure: false }
}

/** A row of one value, or of none where that was not measured. */
export function figure(what: string, unit: string, value: number | undefined, target?: Target): Row {
  return { what, unit, target, values: value === undefined ? [] : [value], isFigure: true }
}

/** Measures what a section shows. Where that breaks off the section says so, and shows what there is. */
export async function measured(section: Section, measure: () => Promise<unknown>): Promise<void> {
  try {
    await measure()
  } catch (error) {
    section.failure = (error as Error).message
  }
}

/** Every single value is at most `limit`. */
export function atMost(limit: number, unit: string): Target {
  return {
    text: `≤ ${limit} ${unit}`,
    met: (values) => values.length > 0 && Math.max(...values) <= limit,
  }
}

/** `percent`: 1 to 100, of the values that are at most `limit`. */
export function percentileAtMost(percent: number, limit: number, unit: string): Target {
  return {
    text: `p${percent} ≤ ${limit} ${unit}`,
    met: (values) => values.length > 0 && percentile(values, percent / 100) <= limit,
  }
}

/** Of two medians. */
export function ratioText(one: Row, other: Row): string {
  return `**${(percentile(one.values, 0.5) / percentile(other.values, 0.5)).toPrecision(2)}**`
}

/** How ours compares with the peer's, as a line; nothing where either was not measured. */
export function ratio(what: string, ours: Row, peer: Row | undefined): string[] {
  if (ours.values.length === 0 || peer === undefined || peer.values.length === 0) return []
  return [`${what}, ratio of the medians (langflow-leader / client-go): ${ratioText(ours, peer)}`]
}

export function missed({ target, values }: Row): boolean {
  return target !== undefined && !target.met(values)
}

/** One line for each target that was missed and each measurement that broke off; empty: all is well. */
export function shortcomings(sections: readonly Section[]): string[] {
  return sections.flatMap(({ title, rows, failure }) => [
    ...(failure === undefined ? [] : [`${title}: broke off`]),
    ...rows.filter(missed).map(({ what, target }) => `${title}: ${what}, target ${target?.text}`),
  ])
}

/** What all sections together come to, and on what they were measured. */
export function verdict(sections: readonly Section[], facts: readonly Fact[]): string[] {
  const wrong = shortcomings(sections)
  return [
    wrong.length === 0
      ? 'Every target was met in this run.'
      : ['**Missed in this run:**', '', ...wrong.map((line) => `- ${line}`)].join('\n'),
    table(['measured on', ''], ['-', '-'], facts),
  ]
}

/** The whole as Markdown. `quick`: only to see that the bench works. */
export function markdown(facts: readonly Fact[], sections: readonly Section[], quick: boolean): string {
  return `${[
    '# Benchmarks',
    'Written by `npm run bench`: the built program on a real etcd and kube-apiserver, side by side with client-go’s elector. Percentiles are nearest-rank.',
    ...(quick ? ['**A quick run: too few values, and no quiet machine, to conclude anything from.**'] : []),
    ...verdict(sections, facts),
    ...sections.flatMap((section) => describe(section, '##')),
    REPRODUCE,
  ].join('\n\n')}\n`
}

const REPRODUCE = `## How to reproduce

\`\`\`sh
npm ci
npm run build
npm run bench                           # about 10 minutes
node test/bench/bench.ts --quick        # about 1 minute: only shows that it works
\`\`\`

It needs etcd, kube-apiserver and kubectl in \`$KUBEBUILDER_ASSETS\`, and for the comparison Go and
\`../shared/peer-clientgo\`. Let the machine do nothing else meanwhile. It ends with exit code 1 where a target is missed.`

export function bullets(lines: readonly string[]): string {
  return lines.map((line) => `- ${line}`).join('\n')
}

/** A section as paragraphs. */
export function describe(section: Section, heading: '##' | '###'): string[] {
  const { title, about, rows, notes, failure } = section
  return [
    `${heading} ${title}`,
    bullets(about),
    ...(failure === undefined
      ? []
      : [`**MISSED: this measurement broke off:**\n\n\`\`\`text\n${failure.slice(0, 2_000)}\n\`\`\``]),
    ...(rows.length === 0 ? [] : [rows[0]?.isFigure ? figures(rows) : spreads(rows)]),
    ...(notes.length === 0 ? [] : [bullets(notes)]),
  ]
}

function spreads(rows: readonly Row[]): string {
  const head = ['', 'unit', 'n', 'min', 'median', 'p95', 'p99', 'max', 'target', '']
  return table(
    head,
    ['-', '-', ...Array(6).fill('-:'), '-', '-'],
    rows.map((row) => {
      const { what, unit, values, target } = row
      const numbers =
        values.length === 0 ? ['0', '', '', '', '', ''] : Object.values(summarise(values)).map(show)
      return [what, unit, ...numbers, target?.text ?? '', verdictOf(row)]
    }),
  )
}

function figures(rows: readonly Row[]): string {
  return table(
    ['', '', 'unit', 'target', ''],
    ['-', '-:', '-', '-', '-'],
    rows.map((row) => {
      const { what, unit, values, target } = row
      const value = values[0] === undefined ? 'nothing' : show(values[0])
      return [what, value, unit, target?.text ?? '', verdictOf(row)]
    }),
  )
}

function verdictOf(row: Row): string {
  if (row.target === undefined) return ''
  return missed(row) ? '**MISSED**' : 'met'
}

/** As many digits as the measurement is worth. */
function show(value: number): string {
  if (Number.isInteger(value)) return `${value}`
  return value.toFixed(Math.abs(value) >= 100 ? 0 : Math.abs(value) >= 1 ? 1 : 2)
}
