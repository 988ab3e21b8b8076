import { createHash } from 'node:crypto'
import type { AgentStatus, Check } from './status.ts'

const STYLE = `
:root { color-scheme: light dark; --ok: #1a7f37; --bad: #c62828; --line: #8885; }
@media (prefers-color-scheme: dark) { :root { --ok: #4cc36a; --bad: #ff7b72; } }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 46rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.4rem; margin: 0; } h2 { font-size: 1rem; margin: 1.8rem 0 .3rem; }
p { margin: .3rem 0; } code, td { overflow-wrap: anywhere; }
table { border-collapse: collapse; width: 100%; }
th { text-align: left; font-weight: 400; opacity: .75; width: 12rem; vertical-align: top; }
th, td { padding: .25rem .5rem .25rem 0; border-top: 1px solid var(--line); }
.ok { color: var(--ok); } .bad { color: var(--bad); }
.problem { border-left: .3rem solid var(--bad); padding: .3rem .8rem; margin: 1rem 0; }
footer { margin-top: 2rem; font-size: .85rem; opacity: .75; }
`

/**
 * What the page may do: show itself with its one style sheet, which is named by its hash. Nothing can be loaded, run,
 * sent or framed.
 */
export const PAGE_POLICY =
  `default-src 'none'; style-src 'sha256-${createHash('sha256').update(STYLE).digest('base64')}'; ` +
  "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

/** The status as a page that renews itself every two seconds and needs no script. */
export function renderPage(status: AgentStatus): string {
  const { identity, role, lease, leadership, workload, langflow, standby, peers, traffic } = status
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="refresh" content="2">
<title>${escaped(role)} - ${escaped(identity)}</title>
<style>${STYLE}</style>
</head>
<body>
<h1>${escaped(identity)}: ${escaped(role)}</h1>
<p>${escaped(status.decision)}</p>
${status.problem === null ? '' : `<p class="problem" role="alert">${escaped(status.problem)}</p>\n`}${section(
  'Lease',
  [
    ['Lease', `${lease.namespace}/${lease.name}`],
    ['Holder', `${lease.holder || 'nobody'}${lease.self ? ' (this replica)' : ''}`],
    ['Epoch', lease.epoch],
    ['Since', lease.since],
    ['Watch', lease.watch],
  ],
)}
${section('Leadership', [
  ['In doubt', leadership.doubt],
  ['Killed in', seconds(leadership.killInMs)],
  ['Stepping down', leadership.steppingDown],
  ['Campaigns again in', seconds(leadership.coolDownMs)],
])}
${section('LangFlow', [
  ['State', workload.state],
  ['Version', langflow.version],
  ['Healthy', workload.healthy],
  ['Last health request', workload.lastProbe],
  ['Waits for', workload.draining],
  ['Launcher', workload.launcher],
  ['Process', workload.pid],
  ['Freezes', workload.freezes],
  ['Deadman fired', workload.deadmanFirings],
  [
    'Standby',
    `${standby.mode}, ${standby.state}${standby.wanted === standby.mode ? '' : ` (wanted: ${standby.wanted})`}`,
  ],
  ['Peers ready', peers === null ? null : `${peers.ready} of ${peers.seen}`],
  ['Gate', `${traffic.gate} (${traffic.mode})`],
  ['Routed to', traffic.routedTo === '' ? 'nobody, or another pod' : traffic.routedTo],
])}
${section(
  'Checks',
  status.checks.map((check) => [check.name, check]),
)}
<footer>langflow-leader ${escaped(status.version)}, ${escaped(status.now)}. The same as JSON: <a href="/status">/status</a>. Metrics: <a href="/metrics">/metrics</a>.</footer>
</body>
</html>
`
}

type Cell = string | number | boolean | null | Check

function section(title: string, rows: readonly (readonly [string, Cell])[]): string {
  const cells = rows.map(
    ([name, value]) => `<tr><th scope="row">${escaped(name)}</th><td>${shown(value)}</td></tr>`,
  )
  return `<h2>${escaped(title)}</h2>\n<table>\n${cells.join('\n')}\n</table>`
}

function shown(value: Cell): string {
  if (value === null) return '-'
  if (typeof value === 'boolean') return value ? 'yes' : 'no'
  if (typeof value !== 'object') return escaped(String(value))
  const [style, word] = value.ok ? ['ok', 'ok'] : ['bad', 'failed']
  return `<span class="${style}">${word}</span> ${escaped(value.detail)}`
}

function seconds(ms: number | null): string | null {
  return ms === null ? null : `${(ms / 1000).toFixed(1)} s`
}

const ENTITIES: Readonly<Record<string, string>> = {
  '&': '&amp;',
  '<': '&lt;',
  '>': '&gt;',
  '"': '&quot;',
  "'": '&#39;',
}

function escaped(text: string): string {
  return text.replace(/[&<>"']/g, (c) => ENTITIES[c]!)
}
