import { seconds } from '../../config/values.ts'
import type { PastTerm, Phases } from '../../lease/lease-history.ts'
import { describeRequest, podOf, UNTIL_RESUMED } from '../../lease/operator-annotations.ts'
import type { AgentStatus, FrontView, ReplicaRow } from '../../status/agent-status.ts'
import { type Html, html, type Value } from './html.ts'

/** How long LangFlow may run without a further renewal. The bar drains until the next one is acknowledged. */
export function margin({ leadership, timings }: AgentStatus): Html | null {
  const left = leadership.killInMs
  const all = timings.leaseDurationMs - timings.killMarginMs
  if (left === null || all <= 0) return null
  const doubtLeft = all - timings.renewDeadlineMs
  const level = left <= doubtLeft ? 'bad' : left <= doubtLeft + timings.retryPeriodMs ? 'warning' : 'good'
  const percent = (ms: number) => Math.round((1_000 * Math.min(all, ms)) / all) / 10
  return html`<div class="margin ${level}">
<svg viewBox="0 0 100 1" preserveAspectRatio="none" aria-hidden="true"><rect class="all" width="100" height="1"/><rect class="still" width="${percent(left)}" height="1"/><rect class="moving" width="${percent(left)}" height="1"><animate attributeName="width" to="0" dur="${left}ms" fill="freeze"/></rect><rect class="mark" x="${percent(doubtLeft)}" width=".25" height="1"/></svg>
<p><span><b>${seconds(left)}</b> until LangFlow is killed, unless the Lease is renewed</span> <span class="faint">LangFlow is frozen at the mark</span></p>
</div>`
}

/** Operators' requests, and the actions in progress. */
export function notices(rows: readonly ReplicaRow[], now: number): Html[] {
  const known = rows.flatMap(({ status }) => status ?? [])
  const [first] = known.toSorted((a, b) => Number(b.lease.self) - Number(a.lease.self))
  const { pause, switchover, leadership } = first ?? {}
  const shown: Html[] = []
  if (pause) {
    const { until } = pause
    const left = until && `for ${roughly(Date.parse(until) - now)} more, until ${utc(until)}`
    shown.push(notice('warning', `Paused ${left ?? UNTIL_RESUMED}: no takeover starts`, pause.reason))
  }
  if (switchover) {
    const level = switchover.state === 'refused' ? 'bad' : 'news'
    const title = `Request for a ${describeRequest(switchover)}: ${switchover.state}`
    shown.push(notice(level, title, switchover.reason))
  }
  if (leadership?.steppingDown) shown.push(notice('news', 'The leader steps down', leadership.steppingDown))
  // The reason why a replica cannot take over is on its card.
  const troubled = known.filter(({ problem, unable }) => problem !== null && problem !== unable)
  return [...shown, ...troubled.map(({ identity, problem }) => notice('bad', podOf(identity), problem))]
}

function notice(level: string, title: string, text: string | null): Html {
  return html`<p class="notice ${level}"><b>${title}</b> <span>${text}</span></p>`
}

/** One replica. `leader`: the replica to compare it with. */
export function card(
  { pod, node, status, problem }: ReplicaRow,
  isOwn: boolean,
  leader: AgentStatus | null,
): Html {
  const here = isOwn && html` <span class="faint">this page</span>`
  if (status === null)
    return html`<li class="card bad" id="replica-${pod}"><h3>${pod}${here}</h3>
<p class="badge bad">no answer</p><p>${problem}</p></li>`
  const { langflow, standby, leadership, traffic, unable } = status
  const [level, role] = roleOf(status)
  return html`<li class="card ${level}" id="replica-${pod}"><h3>${pod}${here}</h3>
<p class="badge ${level}">${role}</p>
${role !== 'leads' && html`<p>${status.decision}</p>`}
${unable !== null && html`<p class="why">Cannot take over: ${unable}</p>`}
${standby.reason !== null && html`<p class="why">${standby.reason}</p>`}
${table([
  ['LangFlow', `${workloadOf(status)}${langflow.version === null ? '' : `, ${langflow.version}`}`],
  ['Front', traffic.front && frontOf(traffic.front)],
  ['Standby', role.startsWith('leads') ? null : standbyOf(standby)],
  ['Revision', differing(status.revision, leader?.revision)],
  ['Flows', differing(status.flowsDigest, leader?.flowsDigest)],
  ['Content', differing(status.content?.digest ?? null, leader?.content?.digest)],
  ['Secret key', differing(status.secretKeyDigest, leader?.secretKeyDigest)],
  ['Node', node],
  ['Campaigns again', leadership.coolDownMs === null ? null : `in ${roughly(leadership.coolDownMs)}`],
])}</li>`
}

function roleOf(status: AgentStatus): [level: string, role: string] {
  if (status.role === 'leader') {
    if (status.leadership.doubt) return ['bad', 'in doubt']
    return status.traffic.gate === 'open' ? ['leads good', 'leads'] : ['leads warning', 'leads, not serving']
  }
  if (!status.couldTakeOver) return ['warning', 'cannot take over']
  return status.pause ? ['warning', 'can take over after the pause'] : ['good', 'can take over']
}

function workloadOf({ workload, traffic }: AgentStatus): string {
  if (workload.state !== 'running') return workload.state === 'idle' ? 'not running' : workload.state
  return traffic.gate === 'open' ? 'serves' : `runs, ${workload.healthy ? '' : 'not '}healthy`
}

function frontOf({ held, oldestHeldMs, inFlight, streams, listening }: FrontView): string {
  if (!listening) return 'does not listen'
  const longest = held === 0 ? '' : `, the longest for ${lasting(oldestHeldMs)}`
  return `${held} held${longest}, ${inFlight} in flight, streams: ${streams}`
}

function standbyOf({ mode, wanted, state, memoryBytes }: AgentStatus['standby']): string {
  const colder = mode === wanted ? '' : `, colder than ${wanted}`
  const memory = memoryBytes === null ? '' : `, ${Math.round(memoryBytes / 2 ** 20)} MiB`
  return `${mode}, ${state}${colder}${memory}`
}

function differing(own: string | null, leaders: string | null | undefined): Value {
  if (own === null || leaders == null || own === leaders) return own
  return html`${own} <span class="differs">differs from the leader’s</span>`
}

function table(facts: readonly (readonly [string, Value])[]): Html {
  const known = facts.filter(([, value]) => value !== null)
  return html`<dl>${known.map(([name, value]) => html`<div><dt>${name}</dt><dd>${value}</dd></div>`)}</dl>`
}

const MOST_SHOWN = 10
const PHASES = ['detect', 'acquire', 'start', 'healthy'] as const

/** The last terms, newest first, all bars to one scale. */
export function terms(history: readonly PastTerm[], now: number): Html {
  const shown = history.slice(0, MOST_SHOWN)
  const longest = Math.max(1, ...shown.map(({ phases }) => sum(Object.values(phases))))
  return html`<p class="legend">${PHASES.map((phase) => html`<span class="${phase}">${phase}</span> `)}</p>
<ol class="terms">${shown.map((one) => term(one, longest, now))}</ol>
<p class="faint">Shown: ${shown.length} of ${history.length}; langflow-leader history shows all.</p>`
}

function term(past: PastTerm, longest: number, now: number): Html {
  const { epoch, holder, began, phases, gapMs, ended, endedBecause, stopMs } = past
  const lasted = (ended === null ? now : Date.parse(ended)) - Date.parse(began)
  const stop = stopMs === null ? '' : `, stopped within ${lasting(stopMs)}`
  const end = endedBecause === null ? '' : `Ended: ${endedBecause}${stop}.`
  // Codes that docs/guide/monitor.md explains.
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

const UNITS = [
  ['d', 86_400],
  ['h', 3_600],
  ['min', 60],
  ['s', 1],
] as const

/** A duration for people: `84 ms`, `1.84 s`, `12.3 s`, `3 min 20 s`, `2 d 4 h`. `ms`: from 0. */
export function lasting(ms: number): string {
  if (ms < 1_000) return `${Math.round(ms)} ms`
  if (ms < 60_000) return `${(ms / 1_000).toFixed(ms < 10_000 ? 2 : 1)} s`
  let rest = Math.floor(ms / 1_000)
  const first = UNITS.findIndex(([, size]) => rest >= size)
  const parts = UNITS.slice(first, first + 2).map(([unit, size]) => {
    const count = Math.floor(rest / size)
    rest -= count * size
    return count === 0 ? '' : `${count} ${unit}`
  })
  return parts.filter((part) => part !== '').join(' ')
}

/** The same in whole seconds, then minutes. */
export function roughly(ms: number): string {
  return ms < 60_000 ? `${Math.floor(Math.max(0, ms) / 1_000)} s` : lasting(ms)
}

/** An RFC 3339 time as `2026-01-02 03:04:05 UTC`. Any other text is unchanged. */
export function utc(time: string): string {
  const at = Date.parse(time)
  return Number.isNaN(at) ? time : `${new Date(at).toISOString().slice(0, 19).replace('T', ' ')} UTC`
}
