import { createHash } from 'node:crypto'
import { podOf } from '../../lease/operator-annotations.ts'
import type { ReplicaRow } from '../agent-status.ts'
import { Html, html } from './html.ts'
import { card, margin, notices } from './parts.ts'
import { live } from './script.ts'
import { STYLE } from './style.ts'
import { terms } from './terms.ts'
import { verdictOf } from './verdict.ts'
import { roughly, utc } from './words.ts'

const SCRIPT = `(${live})()`

/**
 * What the page may do: show itself with its one style sheet and its one script, which are named by their hashes, and ask
 * this replica again. Nothing else can be loaded, run, sent or framed.
 */
export const PAGE_POLICY =
  `default-src 'none'; script-src '${hashOf(SCRIPT)}'; style-src '${hashOf(STYLE)}'; connect-src 'self'; ` +
  "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

function hashOf(text: string): string {
  return `sha256-${createHash('sha256').update(text).digest('base64')}`
}

/** All replicas as a page, this one first; see `live` for how it stays up to date. */
export function renderPage(rows: readonly ReplicaRow[]): string {
  const own = rows[0]?.status
  if (!own) throw new Error('a page is made by a replica, which knows its own status')
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
<p class="foot">As ${podOf(own.identity)} sees it at ${utc(own.now)}, langflow-leader ${own.version}. <noscript>Without scripts this page loads itself anew every 5 s.</noscript></p>
</main>
<nav aria-label="The same for programs"><a href="replicas">/replicas</a> <a href="status">/status</a> <a href="metrics">/metrics</a></nav>
<script>${new Html(SCRIPT)}</script>
</body>
</html>
`.text
}
