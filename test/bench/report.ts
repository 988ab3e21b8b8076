import { type Fact, table } from '../harness/report.ts'
import { percentile, summarise } from './percentiles.ts'

/** The name of the part of docs/evidence/benchmarks.md that release.ts writes. */
export const RELEASE_PART = 'release'
/** The part that overload.ts writes. */
export const OVERLOAD_PART = 'overload'

/** The condition that a row must meet. A row without values never meets it. */
export interface Target {
  readonly text: string
  met(values: readonly number[]): boolean
}

export interface Row {
  readonly what: string
  /** Empty for a bare number. */
  readonly unit: string
  /** At most one value if the row is a figure. */
  readonly values: number[]
  readonly isFigure: boolean
  /** A row without a target is shown for comparison. */
  readonly target?: Target | undefined
}

/** One table. All of its rows are samples, or all are figures. */
export interface Section {
  readonly title: string
  /** Explanations of the numbers, one line each. */
  readonly about: readonly string[]
  readonly rows: readonly Row[]
  readonly notes: string[]
  /** Why the measurement failed. It counts as a missed target. */
  failure?: string
}

/** A row that a measurement fills with a sample. */
export function spread(what: string, unit: string, target?: Target): Row {
  return { what, unit, target, values: [], isFigure: false }
}

/** A row of one value, or of no value if it was not measured. */
export function figure(what: string, unit: string, value: number | undefined, target?: Target): Row {
  return { what, unit, target, values: value === undefined ? [] : [value], isFigure: true }
}

/** Runs a section's measurement. If it fails, the section records the error and keeps the values so far. */
export async function measured(section: Section, measure: () => Promise<unknown>): Promise<void> {
  try {
    await measure()
  } catch (error) {
    section.failure = (error as Error).message
  }
}

/** Requires that every value is at most `limit`. */
export function atMost(limit: number, unit: string): Target {
  return {
    text: `≤ ${limit} ${unit}`,
    met: (values) => values.length > 0 && Math.max(...values) <= limit,
  }
}

/** Requires that at least `percent` (1 to 100) percent of the values are at most `limit`. */
export function percentileAtMost(percent: number, limit: number, unit: string): Target {
  return {
    text: `p${percent} ≤ ${limit} ${unit}`,
    met: (values) => values.length > 0 && percentile(values, percent / 100) <= limit,
  }
}

/** The ratio of two medians. */
export function ratioText(one: Row, other: Row): string {
  return `**${(percentile(one.values, 0.5) / percentile(other.values, 0.5)).toPrecision(2)}**`
}

/** A line that compares our median with the peer's. No line if either was not measured. */
export function ratio(what: string, ours: Row, peer: Row | undefined): string[] {
  if (ours.values.length === 0 || peer === undefined || peer.values.length === 0) return []
  return [`${what}, ratio of the medians (langflow-leader / client-go): ${ratioText(ours, peer)}`]
}

export function missed({ target, values }: Row): boolean {
  return target !== undefined && !target.met(values)
}

/** One line for each missed target and each failed measurement. Empty if all is well. */
export function shortcomings(sections: readonly Section[]): string[] {
  return sections.flatMap(({ title, rows, failure }) => [
    ...(failure === undefined ? [] : [`${title}: the measurement failed`]),
    ...rows.filter(missed).map(({ what, target }) => `${title}: ${what}, target ${target?.text}`),
  ])
}

/** The verdict on all sections, and the machine that they were measured on. */
export function verdict(sections: readonly Section[], facts: readonly Fact[]): string[] {
  const wrong = shortcomings(sections)
  return [
    wrong.length === 0
      ? 'This run met every target.'
      : ['**This run missed:**', '', ...wrong.map((line) => `- ${line}`)].join('\n'),
    table(['measured on', ''], ['-', '-'], facts),
  ]
}

/** The whole page as Markdown. `quick`: a short check that the benchmark works. */
export function markdown(facts: readonly Fact[], sections: readonly Section[], quick: boolean): string {
  return `${[
    '# Benchmarks',
    '`npm run bench` writes this page. It measures the built program on a real etcd and kube-apiserver, and client-go’s elector for comparison. Percentiles are nearest-rank.',
    ...(quick ? ['**This was a quick run, with too few values for any conclusion.**'] : []),
    ...verdict(sections, facts),
    ...sections.flatMap((section) => describe(section, '##')),
  ].join('\n\n')}\n`
}

export function bullets(lines: readonly string[]): string {
  return lines.map((line) => `- ${line}`).join('\n')
}

/** A section as Markdown paragraphs. */
export function describe(section: Section, heading: '##' | '###'): string[] {
  const { title, about, rows, notes, failure } = section
  return [
    `${heading} ${title}`,
    bullets(about),
    ...(failure === undefined
      ? []
      : [`**MISSED: this measurement failed:**\n\n\`\`\`text\n${failure.slice(0, 2_000)}\n\`\`\``]),
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
      const value = values[0] === undefined ? 'not measured' : show(values[0])
      return [what, value, unit, target?.text ?? '', verdictOf(row)]
    }),
  )
}

function verdictOf(row: Row): string {
  if (row.target === undefined) return ''
  return missed(row) ? '**MISSED**' : 'met'
}

/** Rounds a value to about three digits. */
function show(value: number): string {
  if (Number.isInteger(value)) return `${value}`
  return value.toFixed(Math.abs(value) >= 100 ? 0 : Math.abs(value) >= 1 ? 1 : 2)
}
