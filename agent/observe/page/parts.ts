import { seconds } from '../../config/values.ts'
import type { PastTerm, Phases } from '../../lease/history.ts'
import { describeTarget, UNTIL_RESUMED } from '../../lease/operation.ts'
import type { AgentStatus, ReplicaRow } from '../status.ts'
import { type Html, html, type Value } from './html.ts'
import { lasting, roughly, utc, whyBegan, whyEnded, whyFailed } from './words.ts'

const TERMS_AT_ONCE = 6
const PHASES = ['detect', 'acquire', 'start', 'healthy'] as const

/** How long LangFlow may go on if no renewal is acknowledged any more: drains away until the next one is. */
export function margin({ leadership, timings }: AgentStatus): Html | null {
  const left = leadership.killInMs
  const all = timings.leaseDurationMs - timings.killMarginMs
  if (left === null || all <= 0) return null
  const doubtLeft = all - timings.renewDeadlineMs
  const level = left <= doubtLeft ? 'bad' : left <= doubtLeft + timings.retryPeriodMs ? 'warning' : 'good'
  const percent = (ms: number) => Math.round((1_000 * Math.min(all, ms)) / all) / 10
  return html`<div class="margin ${level}">
<svg viewBox="0 0 100 1" preserveAspectRatio="none" aria-hidden="true"><rect class="all" width="100" height="1"/><rect id="left" data-left="${left}" width="${percent(left)}" height="1"/><rect class="mark" x="${percent(doubtLeft)}" width=".25" height="1"/></svg>
<p><span><b>${seconds(left)}</b> until LangFlow is killed, unless the Lease is renewed</span> <span class="faint">frozen at the mark</span></p>
</div>`
}

/** What operators asked for, and what is under way. */
export function notices(rows: readonly ReplicaRow[], now: number): Html[] {
  const known = rows.flatMap(({ status }) => status ?? [])
  const leaderFirst = [...known].sort((a, b) => Number(b.lease.self) - Number(a.lease.self))
  const pause = leaderFirst.find((status) => status.pause)?.pause
  const switchover = leaderFirst.find((status) => status.switchover)?.switchover
  const stepping = leaderFirst.find(({ leadership }) => leadership.steppingDown !== null)
  const shown: Html[] = []
  if (pause) {
    const until =
      pause.until === null
        ? UNTIL_RESUMED
        : `for ${roughly(Date.parse(pause.until) - now)} more, until ${utc(pause.until)}`
    shown.push(
      notice('warning', `Paused ${until}: no takeover starts`, pause.reason && `Reason: ${pause.reason}`),
    )
  }
  if (switchover) {
    const to = describeTarget(switchover.to)
    shown.push(
      switchover.state === 'refused'
        ? notice('bad', `The switchover to ${to} was refused`, switchover.reason)
        : notice('news', `A switchover to ${to} is ${switchover.state}`, switchover.reason),
    )
  }
  if (stepping) shown.push(notice('news', 'The leader steps down', stepping.leadership.steppingDown))
  for (const { pod, status } of rows) {
    // Why one cannot take over stands with it.
    if (status !== null && status.problem !== null && status.problem !== status.unable)
      shown.push(notice('bad', pod, status.problem))
  }
  return shown
}

function notice(level: string, title: string, text: string | null): Html {
  return html`<p class="notice ${level}"><b>${title}</b>${text !== null && text !== '' && html` <span>${text}</span>`}</p>`
}

/** One replica. `leader`: with which it is compared. */
export function card(
  { pod, node, status, problem }: ReplicaRow,
  isOwn: boolean,
  leader: AgentStatus | null,
): Html {
  const here = isOwn && html` <span class="faint">this page</span>`
  if (status === null)
    return html`<li class="card bad" id="replica-${pod}"><h3>${pod}${here}</h3>
<p class="badge bad">no answer</p><p>${problem}</p></li>`
  const { langflow, standby, leadership, revision, flowsDigest } = status
  const [level, role] = roleOf(status)
  const facts: [string, Value][] = [
    ['LangFlow', `${workloadOf(status)}${langflow.version === null ? '' : `, ${langflow.version}`}`],
    ['Front', frontOf(status)],
    ['Standby', standbyOf(status)],
    ['Revision', differing(revision, leader?.revision, 'not the leader’s')],
    ['Flows', differing(flowsDigest, leader?.flowsDigest, 'not the leader’s')],
    ['Node', node],
    ['Campaigns again', leadership.coolDownMs === null ? null : `in ${roughly(leadership.coolDownMs)}`],
  ]
  const otherKey =
    leader !== null && status.secretKeyDigest !== null && leader.secretKeyDigest !== null
      ? status.secretKeyDigest !== leader.secretKeyDigest
      : false
  return html`<li class="card ${level}" id="replica-${pod}"><h3>${pod}${here}</h3>
<p class="badge ${level}">${role}</p>
${role !== 'leads' && html`<p>${status.decision}</p>`}
${status.unable !== null && html`<p class="why">Cannot take over: ${status.unable}</p>`}
${standby.reason !== null && html`<p class="why">${standby.reason}</p>`}
${otherKey && html`<p class="why">Its LANGFLOW_SECRET_KEY is not the leader’s: it cannot read what LangFlow has encrypted</p>`}
${table(facts)}
<details><summary>More of ${pod}</summary>
${table([
  // It counts seconds of its own, beside those of the bar.
  ['Decision', role === 'leads' ? status.decision : null],
  ['Identity', status.identity],
  [
    'Agent',
    `${status.version}, pod made ${status.podAgeMs === null ? 'at an unknown time' : `${roughly(status.podAgeMs)} ago`}`,
  ],
  [
    'Lease',
    `epoch ${status.lease.epoch}, held by ${status.lease.holder || 'nobody'}, watch ${status.lease.watch}`,
  ],
  ['Killed in', leadership.killInMs === null ? null : seconds(leadership.killInMs)],
  ['Launcher', status.workload.launcher],
  ['Process', status.workload.pid],
  ['Health', status.workload.lastProbe],
  ['Waits for', status.workload.draining],
  ['Freezes', status.workload.freezes],
  ['Deadman fired', status.workload.deadmanFirings],
  ['Gate', `${status.traffic.gate} (${status.traffic.mode})`],
  ['Routed to', status.traffic.routedTo],
  ...frontFacts(status),
])}
<ul class="checks">${status.checks.map(
    ({ name, ok, detail }) =>
      html`<li class="${ok ? 'good' : 'faint'}">${ok ? '✓' : '✗'} ${name}: ${detail}</li>`,
  )}</ul></details></li>`
}

function roleOf(status: AgentStatus): [level: string, role: string] {
  if (status.role === 'leader') {
    if (status.leadership.doubt) return ['bad', 'in doubt']
    return status.traffic.gate === 'open' ? ['leads good', 'leads'] : ['leads warning', 'leads, not serving']
  }
  if (!status.couldTakeOver) return ['warning', 'could not take over']
  return status.pause ? ['warning', 'could take over, once resumed'] : ['good', 'could take over']
}

function workloadOf({ workload, traffic }: AgentStatus): string {
  if (workload.state === 'idle') return 'not running'
  if (workload.state !== 'running') return workload.state
  if (traffic.gate === 'open') return 'serves'
  if (workload.healthy) return 'healthy, its gate is closed'
  return workload.servedSince === null ? 'starts' : 'unhealthy'
}

/** What the front does now. */
function frontOf({ traffic: { front } }: AgentStatus): Value {
  if (front === null) return null
  if (!front.listening) return html`<span class="differs">does not listen</span>`
  const { held, oldestHeldMs, inFlight, streams } = front
  const waits = held === 0 ? '0 held' : `${held} held, the longest for ${lasting(oldestHeldMs)}`
  return `${waits}, ${inFlight} in flight, ${streams} ${streams === 1 ? 'stream' : 'streams'}`
}

/** What it has done since it began. */
function frontFacts({ traffic: { front } }: AgentStatus): [string, Value][] {
  if (front === null) return []
  const { forwarded, failed, streamsEnded, rssBytes } = front
  const reasons = Object.entries(failed).filter(([, count]) => count > 0)
  return [
    ['Forwarded', `${forwarded.langflow} to LangFlow, ${forwarded.leader} to the leader`],
    ['Failed', reasons.map(([reason, count]) => `${count} ${whyFailed(reason)}`).join(', ')],
    ['Streams ended', streamsEnded],
    ['Memory of the front', `${Math.round(rssBytes / 2 ** 20)} MiB`],
  ]
}

function standbyOf({ standby, workload }: AgentStatus): string | null {
  if (standby.state === 'none' && workload.state !== 'idle') return null
  const memory = standby.memoryBytes === null ? '' : `, ${Math.round(standby.memoryBytes / 2 ** 20)} MiB`
  const colder = standby.mode === standby.wanted ? '' : `, colder than ${standby.wanted}`
  return `${standby.mode}, ${standby.state === 'none' ? 'not ready' : standby.state}${colder}${memory}`
}

function differing(own: string | null, leaders: string | null | undefined, how: string): Value {
  if (own === null) return null
  return leaders == null || own === leaders ? own : html`${own} <span class="differs">${how}</span>`
}

function table(facts: readonly (readonly [string, Value])[]): Html {
  const known = facts.filter(([, value]) => value !== null && value !== '')
  return html`<dl>${known.map(([name, value]) => html`<div><dt>${name}</dt><dd>${value}</dd></div>`)}</dl>`
}

/** The last terms, newest first. */
export function terms(history: readonly PastTerm[], now: number): Html {
  if (history.length === 0) return html`<p class="faint">The Lease remembers none yet.</p>`
  const [recent, earlier] = [history.slice(0, TERMS_AT_ONCE), history.slice(TERMS_AT_ONCE)]
  const list = (some: readonly PastTerm[]) => {
    const longest = Math.max(1, ...some.map(({ phases }) => total(phases)))
    return html`<ol class="terms">${some.map((one) => term(one, longest, now))}</ol>`
  }
  return html`<p class="legend">${PHASES.map((phase) => html`<span class="${phase}">${phase}</span> `)}</p>
${list(recent)}
${earlier.length > 0 && html`<details><summary>${earlier.length} earlier ${earlier.length === 1 ? 'term' : 'terms'}</summary>${list(earlier)}</details>`}`
}

function term(
  { epoch, holder, began, because, phases, gapMs, ended, endedBecause, stopMs }: PastTerm,
  longest: number,
  now: number,
): Html {
  const from = Date.parse(began)
  const lasted = ended === null ? now - from : Date.parse(ended) - from
  const span = ended === null ? `for ${roughly(lasted)}, until now` : `for ${roughly(lasted)}`
  return html`<li id="term-${epoch}-${began}"${ended === null && html` class="now"`}>
<h3>${holder} <span class="faint">epoch ${epoch}</span></h3>
<p><time datetime="${began}">${utc(began)}</time>, ${span}</p>
<p>Began: ${whyBegan(because)}.${endedBecause !== null && html` Ended: ${whyEnded(endedBecause)}${stopMs !== null && endedBecause !== 'expired' && html`, and it was stopped within ${lasting(stopMs)}`}.`}</p>
${phaseBar(phases, longest)}
<p>${gapMs !== null && html`<b>${lasting(gapMs)}</b> without a server. `}<span class="faint">${told(phases)}</span></p>
</li>`
}

function phaseBar(phases: Phases, longest: number): Html {
  let x = 0
  const parts = PHASES.map((phase) => {
    const width = (100 * (phases[`${phase}Ms`] ?? 0)) / longest
    const rect = html`<rect class="${phase}" x="${x.toFixed(2)}" width="${width.toFixed(2)}" height="1"/>`
    x += width
    return rect
  })
  return html`<svg class="phases" viewBox="0 0 100 1" preserveAspectRatio="none" aria-hidden="true">${parts}</svg>`
}

function told(phases: Phases): string {
  const known = PHASES.flatMap((phase) => {
    const ms = phases[`${phase}Ms`]
    return ms === null ? [] : `${phase} ${lasting(ms)}`
  })
  const never = phases.healthyMs === null ? '; it never served' : ''
  return known.join(', ') + never
}

function total({ detectMs, acquireMs, startMs, healthyMs }: Phases): number {
  return detectMs + acquireMs + (startMs ?? 0) + (healthyMs ?? 0)
}
