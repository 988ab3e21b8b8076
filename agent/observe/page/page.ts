import { hash } from 'node:crypto'
import { listed } from '../../config/values.ts'
import { podOf } from '../../lease/operator-annotations.ts'
import type { AgentStatus, ReplicaRow } from '../../status/agent-status.ts'
import { Html, html } from './html.ts'
import { live, STYLE } from './page-assets.ts'
import { card, margin, notices, roughly, terms, utc } from './page-sections.ts'

const SCRIPT = `(${live})()`

/**
 * The permissions of the page: it shows itself with its one style sheet and its one script, which are named by their
 * hashes, and requests this replica again. Nothing else can be loaded, run, sent or framed.
 */
export const PAGE_POLICY =
  `default-src 'none'; script-src '${hashOf(SCRIPT)}'; style-src '${hashOf(STYLE)}'; connect-src 'self'; ` +
  "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

function hashOf(text: string): string {
  return `sha256-${hash('sha256', text, 'base64')}`
}

/** All replicas as a page, this one first. See `live` for the updates. */
export function renderPage(rows: readonly ReplicaRow[]): string {
  const own = rows[0]?.status
  if (!own) throw new Error('the first row must be this replica, with its status')
  const { level, sentence, leader } = verdictOf(rows)
  const now = Date.parse(own.now)
  const { lease, history, lastDrill } = leader ?? own
  const led = leader?.lease.since ? `, for ${roughly(now - Date.parse(leader.lease.since))}` : ''
  return html`<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<noscript><meta http-equiv="refresh" content="5"></noscript>
<title>${sentence}</title>
<style>${new Html(STYLE)}</style>
</head>
<body>
<p id="stale" class="notice bad" role="status" hidden></p>
<p id="said" role="status"></p>
<main>
<header class="${level}">
<p class="faint">${lease.namespace}/${lease.name}, epoch ${lease.epoch}${led}</p>
<h1>${sentence.split(' ').map((word) => html`<span>${word}</span> `)}</h1>
${leader !== null && margin(leader)}
</header>
${notices(rows, now)}
<section aria-labelledby="replicas">
<h2 id="replicas">Replicas</h2>
<ul class="cards">${rows.map((row, n) => card(row, n === 0, leader))}</ul>
</section>
<section aria-labelledby="terms">
<h2 id="terms">Last terms</h2>
${lastDrill !== null && html`<p class="faint">Last drill: ${lastDrill.result}, ${roughly(now - Date.parse(lastDrill.at))} ago (${utc(lastDrill.at)})</p>`}
${terms(history, now)}
</section>
<p class="foot">Reported by ${podOf(own.identity)} at ${utc(own.now)}, langflow-leader ${own.version}. <noscript>Without JavaScript, this page reloads every 5 s.</noscript></p>
</main>
<nav aria-label="Machine-readable"><a href="replicas">/replicas</a> <a href="status">/status</a> <a href="metrics">/metrics</a></nav>
<script>${new Html(SCRIPT)}</script>
</body>
</html>
`.text
}

export interface Verdict {
  /** `good`: exactly one replica serves, and another one could and may take over. */
  readonly level: 'good' | 'warning' | 'bad'
  /**
   * The leader and the replicas that could take over, in one sentence without a full stop. It changes only if one of
   * them does.
   */
  readonly sentence: string
  /** The leader. `null`: no replica leads, or several report that they do. */
  readonly leader: AgentStatus | null
}

/** One verdict for all replicas. `rows`: this replica first. */
export function verdictOf(rows: readonly ReplicaRow[]): Verdict {
  const leading = rows.filter(({ status }) => status?.role === 'leader')
  const pods = leading.map(({ pod }) => pod)
  if (pods.length > 1)
    return {
      level: 'bad',
      sentence: `${pods.length} replicas report that they lead: ${listed(pods)}`,
      leader: null,
    }
  const standbys = rows.filter(({ status }) => status?.couldTakeOver).map(({ pod }) => pod)
  const paused = rows.some(({ status }) => status?.pause)
  const next = paused ? '; takeovers are paused' : nextOf(standbys, rows.length)
  const leader = leading[0]?.status ?? null
  if (leader === null) {
    const holder = rows[0]?.status?.lease.holder
    return holder
      ? { level: 'warning', sentence: `${podOf(holder)} holds the Lease${next}`, leader }
      : { level: 'bad', sentence: `No replica leads${next}`, leader }
  }
  const doing = doingOf(leader)
  const isWell = doing === 'leads' && standbys.length > 0 && !paused
  const level = leader.leadership.doubt ? 'bad' : isWell ? 'good' : 'warning'
  return { level, sentence: `${pods[0]} ${doing}${next}`, leader }
}

function nextOf(standbys: readonly string[], replicas: number): string {
  if (standbys.length > 0) return `; ${listed(standbys)} can take over`
  return replicas > 1 ? '; no other replica can take over' : '; there is no second replica to take over'
}

function doingOf({ leadership, traffic, workload }: AgentStatus): string {
  if (leadership.doubt) return 'may have lost the Lease'
  if (leadership.steppingDown !== null) return 'is stepping down'
  if (traffic.gate === 'open') return 'leads'
  return workload.servedSince === null ? 'leads and is starting LangFlow' : 'leads and does not serve'
}
