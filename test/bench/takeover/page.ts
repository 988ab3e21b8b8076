import type { Fact } from '../../support/machine.ts'
import { table } from '../../support/markdown.ts'
import { describe, factTable, verdict } from '../report.ts'
import { missed } from '../row.ts'
import { percentile } from '../statistics.ts'
import { FAULT } from './faults.ts'
import { type Group, plot } from './plot.ts'
import type { Round } from './round.ts'
import { type Measured, outageLimit, sectionOf } from './sections.ts'
import { MODES, type Mode } from './settings.ts'

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

/** The part of the page. `picture`: the file name of the plot beside it. */
export function partText({ facts, rounds, measured }: Result, picture: string): string {
  const sections = measured.map(sectionOf)
  return [
    '## Takeover of a real LangFlow',
    `Written by \`npm run bench:takeover\` in one run: each fault ${rounds === 1 ? 'once' : `${rounds} times`} in each standby mode. Percentiles are nearest-rank: of so few rounds p95 and p99 are the longest one.`,
    verdict(sections),
    factTable(facts),
    ABOUT.map((line) => `- ${line}`).join('\n'),
    `![Time away by fault and standby mode](${picture})`,
    overview(measured),
    ...sections.flatMap((section) => describe(section, '###')),
    REPRODUCE,
  ].join('\n\n')
}

export function plotOf({ measured }: Result): string {
  const groups = measured.map(
    (one): Group => ({
      label: nameOf(one),
      bars: modesOf(one).map(([mode, rounds]) => ({
        mode,
        medianMs: median(rounds.map(({ outageMs }) => outageMs)),
        maxMs: Math.max(...rounds.map(({ outageMs }) => outageMs)),
        limitMs: outageLimit(one.fault, mode),
        text: inWords(rounds),
      })),
    }),
  )
  return plot('Time away: the median, a line to the longest, and a red mark for the target', groups)
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

function modesOf({ rounds }: Measured): [Mode, readonly Round[]][] {
  return [...rounds].filter(([, all]) => all.length > 0)
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
