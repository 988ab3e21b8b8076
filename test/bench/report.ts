import type { Fact } from '../harness/report.ts'
import { percentile, summarise, table } from '../harness/report.ts'

/** What a row must show. Without a single value nothing is met. */
export interface Target {
  readonly text: string
  met(values: readonly number[]): boolean
}

export interface Row {
  readonly what: string
  /** Empty: a bare number. */
  readonly unit: string
  readonly values: readonly number[]
  /** None: shown for comparison. */
  readonly target?: Target
}

/** One table. */
export interface Section {
  readonly title: string
  /** What the numbers mean, one line each. */
  readonly about: readonly string[]
  /** `spread`: a sample a row; `figure`: one value a row. */
  readonly shape: 'spread' | 'figure'
  readonly rows: readonly Row[]
  readonly notes: readonly string[]
  /** Why the measurement broke off: as bad as a missed target. */
  readonly failure?: string
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

export function missed({ target, values }: Row): boolean {
  return target !== undefined && !target.met(values)
}

/** How ours compares with the peer's, as a line; nothing where either was not measured. */
export function ratio(what: string, ours: readonly number[], peer: readonly number[]): string[] {
  if (ours.length === 0 || peer.length === 0) return []
  const quotient = percentile(ours, 0.5) / percentile(peer, 0.5)
  return [`${what}, ratio of the medians (langflow-leader / client-go): **${quotient.toPrecision(2)}**`]
}

export interface Report {
  readonly facts: readonly Fact[]
  readonly sections: readonly Section[]
  /** Only to see that the bench works. */
  readonly quick: boolean
}

/** One line for each target that was missed and each measurement that broke off; empty: all is well. */
export function shortcomings(sections: readonly Section[]): string[] {
  return sections.flatMap(({ title, rows, failure }) => [
    ...(failure === undefined ? [] : [`${title}: broke off`]),
    ...rows.filter(missed).map(({ what, target }) => `${title}: ${what}, target ${target?.text}`),
  ])
}

/** The whole as Markdown. */
export function markdown({ facts, sections, quick }: Report): string {
  return `${[
    '# Benchmarks',
    'Written by `npm run bench`: the built program on a real etcd and kube-apiserver, side by side with client-go’s elector. Percentiles are nearest-rank.',
    ...(quick ? ['**A quick run: too few values, and no quiet machine, to conclude anything from.**'] : []),
    verdict(sections),
    factTable(facts),
    ...sections.flatMap((section) => describe(section)),
    REPRODUCE,
  ].join('\n\n')}\n`
}

export function verdict(sections: readonly Section[]): string {
  const wrong = shortcomings(sections)
  return wrong.length === 0
    ? 'Every target was met in this run.'
    : ['**Missed in this run:**', '', ...wrong.map((line) => `- ${line}`)].join('\n')
}

export function factTable(facts: readonly Fact[]): string {
  return table(
    ['measured on', ''],
    ['-', '-'],
    facts.map(([name, value]) => [name, value]),
  )
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

/** A section as paragraphs. `heading`: how deep it stands. */
export function describe(section: Section, heading = '##'): string[] {
  const { title, about, shape, rows, notes, failure } = section
  return [
    `${heading} ${title}`,
    about.map((line) => `- ${line}`).join('\n'),
    ...(failure === undefined
      ? []
      : [`**MISSED: this measurement broke off:**\n\n\`\`\`text\n${failure.slice(0, 2_000)}\n\`\`\``]),
    ...(rows.length === 0 ? [] : [shape === 'spread' ? spread(rows) : figures(rows)]),
    ...(notes.length === 0 ? [] : [notes.map((line) => `- ${line}`).join('\n')]),
  ]
}

function spread(rows: readonly Row[]): string {
  const head = ['', 'unit', 'n', 'min', 'median', 'p95', 'p99', 'max', 'target', '']
  return table(head, ['-', '-', ...Array(6).fill('-:'), '-', '-'], rows.map(spreadRow))
}

function spreadRow(row: Row): string[] {
  const { what, unit, values, target } = row
  const numbers =
    values.length === 0
      ? ['0', '', '', '', '', '']
      : Object.values(summarise(values)).map((value, column) => (column === 0 ? `${value}` : show(value)))
  return [what, unit, ...numbers, target?.text ?? '', verdictOf(row)]
}

function figures(rows: readonly Row[]): string {
  return table(
    ['', '', 'unit', 'target', ''],
    ['-', '-:', '-', '-', '-'],
    rows.map((row) => [
      row.what,
      row.values[0] === undefined ? 'nothing' : show(row.values[0]),
      row.unit,
      row.target?.text ?? '',
      verdictOf(row),
    ]),
  )
}

function verdictOf(row: Row): string {
  if (row.target === undefined) return ''
  return missed(row) ? '**MISSED**' : 'met'
}

/** As many digits as the measurement is worth. */
export function show(value: number): string {
  if (Number.isInteger(value)) return `${value}`
  return value.toFixed(Math.abs(value) >= 100 ? 0 : Math.abs(value) >= 1 ? 1 : 2)
}
