import { createHash } from 'node:crypto'
import { closeSync, openSync, rmSync, writeFileSync } from 'node:fs'
import { readable } from '../../config/values.ts'
import { FatalError } from '../../exit.ts'
import { escaped } from '../../observe/page/html.ts'
import {
  describeFronts,
  describeTerms,
  rowOf,
  sentenceOnLimits,
  sentenceOnProbe,
  VERDICTS,
} from './markdown.ts'
import type { Probe } from './measure.ts'
import type { Played, Report, Result } from './report.ts'
import { SCENARIO } from './scenarios.ts'

/** Of the time line, in its own units; it scales with the page. */
const WIDTH = 1_000
const HEIGHT = 190
/** Where lanes begin, below each other: phases, good answers, failed requests, and the axis. */
const LANES = { phases: 12, answers: 44, failures: 124, axis: 158 }
const ANSWERS_HEIGHT = 66
/** About so many marks has the axis. */
const MARKS = 10
/** A bar that is narrower has no number. */
const ROOM_FOR_NUMBER = 14
const STEPS_MS = [500, 1_000, 2_000, 5_000, 10_000, 20_000, 30_000, 60_000, 120_000, 300_000, 600_000]
/** Told apart by shape and words as well: a failed request is a cross, an outage is hatched, a verdict has a sign. */
const SIGNS: Readonly<Record<Result, string>> = { ok: '✓', missed: '▲', failed: '✕', interrupted: '■' }

const STYLE = `
:root { color-scheme: light dark; --ink: #1b1f24; --soft: #57606a; --line: #d0d7de; --page: #fff; --good: #0072b2; --bad: #d55e00; --phase: #6e7781; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6edf3; --soft: #9198a1; --line: #3d444d; --page: #0d1117; --good: #56b4e9; --bad: #ff9e4a; --phase: #9198a1; } }
@media print { :root { color-scheme: light; --ink: #000; --soft: #333; --line: #bbb; --page: #fff; --good: #0072b2; --bad: #d55e00; --phase: #6e7781; } section { break-inside: avoid; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 70rem; padding: 1.5rem; font: 16px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--page); }
h1 { line-height: 1.2; } h2 { margin-top: 2.5rem; }
p, li { max-width: 50rem; }
.soft { color: var(--soft); }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: .35rem .8rem .35rem 0; border-bottom: 1px solid var(--line); text-align: left; white-space: nowrap; }
code { overflow-wrap: anywhere; }
.ok { color: var(--good); } .missed, .failed, .interrupted { color: var(--bad); }
.verdict { font-weight: 600; }
svg { display: block; width: 100%; min-width: 40rem; height: auto; font: 12px system-ui, sans-serif; }
svg text { fill: var(--soft); }
svg .axis { stroke: var(--line); }
svg .answer { fill: var(--good); }
svg .failure { stroke: var(--bad); stroke-width: 1.6; }
svg .outage { fill: url(#hatch); } svg .hatch { stroke: var(--bad); stroke-width: 1; opacity: .55; }
svg .fault { stroke: var(--ink); stroke-dasharray: 4 3; }
svg .phase { fill: var(--phase); stroke: var(--page); }
svg .number { fill: var(--page); font-weight: 600; }
`

/** The report as one file that needs nothing else, and runs nothing. */
export function htmlOf(report: Report, probes: readonly Probe[]): string {
  const { began, ended, namespace, lease, result, probe, perSecond, scenarios, skipped, notes, limits } =
    report
  const title = `Drill of ${began.slice(0, 10)}: ${VERDICTS[result]}`
  const policy = `default-src 'none'; style-src 'sha256-${createHash('sha256').update(STYLE).digest('base64')}'`
  const head = ['Scenario', 'Result', 'RTO', 'RPO', 'Failed requests', 'Longest wait', 'Well again after']
  const rows = scenarios.map((one) => {
    const [name, verdict, ...cells] = rowOf(one, limits.rpoRows !== null)
    const sign = `<td class="verdict ${one.result}">${SIGNS[one.result]} ${verdict}</td>`
    return `<tr><th scope="row">${name}</th>${sign}${cells.map((cell) => `<td>${escaped(cell)}</td>`).join('')}</tr>`
  })
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="${policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>${escaped(title)}</title>
<style>${STYLE}</style>
</head>
<body>
<main>
<h1><span class="${result}">${SIGNS[result]}</span> ${escaped(title)}</h1>
<p>Lease <code>${escaped(`${namespace}/${lease}`)}</code>, from ${escaped(began)} to ${escaped(ended)}.
${escaped(sentenceOnProbe(probe, perSecond)).replace(/`([^`]*)`/, '<code>$1</code>')} ${escaped(sentenceOnLimits(report))}</p>
<div class="scroll"><table>
<thead><tr>${head.map((one) => `<th scope="col">${one}</th>`).join('')}</tr></thead>
<tbody>${rows.join('\n')}</tbody>
</table></div>
${scenarios.map((one, n) => sectionOf(one, probes, n)).join('\n')}
${skipped.length > 0 ? `<p>Not played: ${skipped.join(', ')}.</p>` : ''}
<ul class="soft">${notes.map((note) => `<li>${escaped(note)}</li>`).join('')}</ul>
</main>
</body>
</html>
`
}

/** A file that a report can be written to. Where none was, it is removed again, and one from before stays as it is. */
export interface Claim extends Disposable {
  /** Throws a `FatalError` where the file cannot be written. */
  write(report: Report, probes: readonly Probe[]): void
}

/** Sees that the report can be written, before there is one. Throws a `FatalError`. */
export function claim(file: string): Claim {
  let isEmpty = writing(file, () => isMade(file))
  return {
    write(report, probes) {
      writing(file, () => writeFileSync(file, htmlOf(report, probes)))
      isEmpty = false
    },
    [Symbol.dispose]() {
      if (isEmpty) rmSync(file, { force: true })
    },
  }
}

/** Whether the file was not there. */
function isMade(file: string): boolean {
  try {
    closeSync(openSync(file, 'ax'))
    return true
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error
    closeSync(openSync(file, 'a'))
    return false
  }
}

function writing<T>(file: string, act: () => T): T {
  try {
    return act()
  } catch (error) {
    throw new FatalError(`cannot write the report to ${file}: ${(error as Error).message}`, { cause: error })
  }
}

function sectionOf(one: Played, probes: readonly Probe[], n: number): string {
  const { scenario, result, problem, moments, faultMs, measured } = one
  const failed = measured.problems.map(({ problem, times }) => `${times} × ${problem}`).join(', ')
  return `<section>
<h2>${scenario}</h2>
<p>It proves that ${escaped(SCENARIO[scenario].proves)}.</p>
${problem === null ? '' : `<p class="verdict ${result}">${SIGNS[result]} ${escaped(problem)}</p>`}
<div class="scroll">${timeLineOf(one, probes, n)}</div>
<ol>
${moments.map(({ atMs, what }) => `<li>+${readable(atMs - faultMs)}: ${escaped(what)}</li>`).join('\n')}
</ol>
<ul>
${[...describeTerms(one), ...describeFronts(one)].map((line) => `<li>${escaped(line)}</li>`).join('\n')}
</ul>
${failed === '' ? '' : `<p>Failed requests: ${escaped(failed)}.</p>`}
</section>`
}

/** Answers as dots, the higher the longer they took; failed requests as crosses below; what was seen above. */
function timeLineOf(one: Played, probes: readonly Probe[], n: number): string {
  const { span, faultMs, measured, moments, scenario } = one
  const length = Math.max(1, span.toMs - span.fromMs)
  const x = (ms: number) =>
    place(((Math.min(Math.max(ms, span.fromMs), span.toMs) - span.fromMs) / length) * WIDTH)
  const within = probes.filter(({ sentMs, endedMs }) => sentMs <= span.toMs && endedMs >= span.fromMs)
  const slowest = Math.max(1, measured.longestWaitMs ?? 1)
  const foot = LANES.answers + ANSWERS_HEIGHT
  const dots = within
    .filter(({ problem }) => problem === null)
    .map(({ sentMs, endedMs }) => {
      const y = place(foot - ((endedMs - sentMs) / slowest) * ANSWERS_HEIGHT)
      return `<circle class="answer" cx="${x(endedMs)}" cy="${y}" r="2.2"/>`
    })
  const crosses = within
    .filter(({ problem }) => problem !== null)
    .map(({ sentMs }) => {
      const [at, y] = [Number(x(sentMs)), LANES.failures + 8]
      return `<path class="failure" d="M${place(at - 3)} ${y - 3}l6 6m0-6l-6 6"/>`
    })
  const { fromMs, toMs } = measured.outage
  const width = place(Math.max(1, Number(x(toMs)) - Number(x(fromMs))))
  const rto = measured.rtoMs === null ? 'not over' : readable(measured.rtoMs)
  const outage =
    `<rect class="outage" x="${x(fromMs)}" y="${LANES.answers - 4}" width="${width}" height="${foot + 8 - LANES.answers}">` +
    `<title>RTO: ${rto}</title></rect>`
  const bars = moments.map(({ atMs, what }, i) => {
    const end = moments[i + 1]?.atMs ?? span.toMs
    const wide = place(Math.max(2, Number(x(end)) - Number(x(atMs))))
    return (
      `<rect class="phase" x="${x(atMs)}" y="${LANES.phases}" width="${wide}" height="14"><title>${escaped(what)}</title></rect>` +
      (Number(wide) < ROOM_FOR_NUMBER
        ? ''
        : `<text class="number" x="${x(atMs + (end - atMs) / 2)}" y="${LANES.phases + 11}" text-anchor="middle">${i + 1}</text>`)
    )
  })
  const step = STEPS_MS.find((ms) => length / ms <= MARKS) ?? length
  const marks: string[] = []
  for (let at = Math.ceil((span.fromMs - faultMs) / step) * step; faultMs + at <= span.toMs; at += step)
    marks.push(
      `<line class="axis" x1="${x(faultMs + at)}" x2="${x(faultMs + at)}" y1="${LANES.axis}" y2="${LANES.axis + 5}"/>` +
        `<text x="${x(faultMs + at)}" y="${LANES.axis + 20}" text-anchor="middle">${at / 1_000} s</text>`,
    )
  const about = `${measured.requests} requests, ${measured.failed} of which failed; the longest time without an answer was ${rto}`
  return `<svg viewBox="-30 0 ${WIDTH + 60} ${HEIGHT}" role="img" aria-label="Time line of ${scenario}: ${about}">
${n === 0 ? '<defs><pattern id="hatch" width="6" height="6" patternUnits="userSpaceOnUse" patternTransform="rotate(45)"><line class="hatch" x1="0" y1="0" x2="0" y2="6"/></pattern></defs>' : ''}
<text x="0" y="${LANES.phases - 3}">What was seen</text>
${bars.join('')}
<text x="0" y="${LANES.answers - 6}">Answers, up to ${readable(slowest)}</text>
${outage}${dots.join('')}
<text x="0" y="${LANES.failures}">Failed requests</text>
${crosses.join('')}
<line class="fault" x1="${x(faultMs)}" x2="${x(faultMs)}" y1="4" y2="${LANES.axis}"/>
<line class="axis" x1="0" x2="${WIDTH}" y1="${LANES.axis}" y2="${LANES.axis}"/>
${marks.join('')}
</svg>`
}

function place(units: number): string {
  return String(Math.round(units * 10) / 10)
}
