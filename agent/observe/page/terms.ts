import type { PastTerm, Phases } from '../../lease/lease-history.ts'
import { type Html, html } from './html.ts'
import { lasting, roughly, utc } from './words.ts'

const MOST_SHOWN = 10
const PHASES = ['detect', 'acquire', 'start', 'healthy'] as const

/** The last terms, newest first, all bars to one scale. */
export function terms(history: readonly PastTerm[], now: number): Html {
  const shown = history.slice(0, MOST_SHOWN)
  const longest = Math.max(1, ...shown.map(({ phases }) => sum(Object.values(phases))))
  return html`<p class="legend">${PHASES.map((phase) => html`<span class="${phase}">${phase}</span> `)}</p>
<ol class="terms">${shown.map((one) => term(one, longest, now))}</ol>
<p class="faint">Shown: ${shown.length} of ${history.length}; langflow-leader history tells them all.</p>`
}

function term(past: PastTerm, longest: number, now: number): Html {
  const { epoch, holder, began, phases, gapMs, ended, endedBecause, stopMs } = past
  const lasted = (ended === null ? now : Date.parse(ended)) - Date.parse(began)
  const stop = stopMs === null ? '' : `, stopped within ${lasting(stopMs)}`
  const end = endedBecause === null ? '' : `Ended: ${endedBecause}${stop}.`
  // Codes, which docs/signals.md explains.
  const why = `Began: ${past.because}. ${end}`.replaceAll('_', ' ')
  return html`<li${ended === null && html` class="now"`}>
<h3>${holder} <span class="faint">epoch ${epoch}</span></h3>
<p><time datetime="${began}">${utc(began)}</time>, for ${roughly(lasted)}${ended === null && ', until now'}</p>
<p>${why}</p>
${phaseBar(phases, longest)}
<p>${gapMs !== null && html`<b>${lasting(gapMs)}</b> without a server. `}<span class="faint">${told(phases)}</span></p>
</li>`
}

function phaseBar(phases: Phases, longest: number): Html {
  const widths = PHASES.map((phase) => (100 * (phases[`${phase}Ms`] ?? 0)) / longest)
  const rects = PHASES.map(
    (phase, n) =>
      html`<rect class="${phase}" x="${sum(widths.slice(0, n)).toFixed(2)}" width="${widths[n]!.toFixed(2)}" height="1"/>`,
  )
  return html`<svg class="phases" viewBox="0 0 100 1" preserveAspectRatio="none" aria-hidden="true">${rects}</svg>`
}

function told(phases: Phases): string {
  const known = PHASES.flatMap((phase) => {
    const ms = phases[`${phase}Ms`]
    return ms === null ? [] : `${phase} ${lasting(ms)}`
  })
  return `${known.join(', ')}${phases.healthyMs === null ? '; it never served' : ''}`
}

function sum(numbers: readonly (number | null)[]): number {
  return numbers.reduce<number>((total, one) => total + (one ?? 0), 0)
}
