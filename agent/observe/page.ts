import { hash } from 'node:crypto'
import { listed } from '../config/values.ts'
import { redactText } from '../redaction.ts'
import type { AgentStatus, ReplicaRow } from '../status/agent-status.ts'

const STYLE = `
:root { color-scheme: light dark; --line: light-dark(#dcdfe1, #33383d); }
.good { --tone: light-dark(#19713d, #5cc98a); }
.warning { --tone: light-dark(#8a5a00, #e2b04a); }
.bad { --tone: light-dark(#b3261e, #ff8a80); }
body { font: 16px/1.5 system-ui, sans-serif; overflow-wrap: anywhere; max-width: 80rem; margin: 0 auto; padding: 1rem; }
header, .notice { border-left: .4rem solid var(--tone); padding-left: 1rem; }
h1 { font-size: 1.4rem; }
a { margin-right: .8rem; }
table { display: block; overflow-x: auto; border-collapse: collapse; overflow-wrap: normal; }
th, td { text-align: left; vertical-align: top; padding: .3rem 1rem .3rem .5rem; border-bottom: 1px solid var(--line); }
td:last-child { min-width: 12rem; }
td:nth-child(2) { color: var(--tone); font-weight: 600; }
`

/** The permissions of the page: its one style sheet, named by its hash. Nothing else can be loaded, run, sent or framed. */
export const PAGE_POLICY =
  `default-src 'none'; style-src 'sha256-${hash('sha256', STYLE, 'base64')}'; ` +
  "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

const HEADS = ['Pod', 'Role', 'LangFlow', 'Standby', 'Revision', 'Why'].map((name) => `<th>${name}</th>`)

/** @param rows this replica first, whose status is known */
export function pageOf(rows: readonly ReplicaRow[]): string {
  const own = rows[0]?.status as AgentStatus
  const { level, sentence, leader } = verdictOf(rows)
  const { lease, leadership, pause, switchover } = leader ?? own
  const left = leadership.killInMs
  const kill =
    left === null ? '' : `, LangFlow is killed in ${Math.round(left / 1000)}s unless the Lease is renewed`
  const notices = [
    pause && `Takeovers are paused until ${pause.until ?? 'they are resumed'}. ${pause.reason ?? ''}`,
    switchover && `${switchover.what} ${switchover.to}: ${switchover.state}. ${switchover.reason ?? ''}`,
    leadership.planned && `The leader waits until no request is in flight: ${leadership.planned.reason}`,
    leadership.steppingDown && `The leader steps down: ${leadership.steppingDown}`,
  ].map((one) => (one ? `<p class="notice warning">${escaped(one)}</p>` : ''))
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="refresh" content="2">
<title>${escaped(sentence)}</title>
<style>${STYLE}</style>
</head>
<body>
<header class="${level}"><p>${escaped(`Lease ${lease.namespace}/${lease.name}, epoch ${lease.epoch}${kill}`)}</p>
<h1>${escaped(sentence)}</h1></header>
${notices.join('')}
<table><thead><tr>${HEADS.join('')}</tr></thead><tbody>${rows.map(rowOf).join('')}</tbody></table>
<nav><p>${escaped(`Reported by ${rows[0]?.pod} at ${own.now}, langflow-leader ${own.version}`)}</p>
<a href="replicas">/replicas</a><a href="status">/status</a><a href="metrics">/metrics</a></nav>
</body>
</html>
`
}

/** The leader, the replicas that could take over, and whether one replica serves and another one may take over. */
export function verdictOf(rows: readonly ReplicaRow[]) {
  const leading = rows.filter(({ status }) => status?.role === 'leader')
  const standbys = rows.filter(({ status }) => status?.couldTakeOver)
  const [leader = null] = leading.length === 1 ? leading.map(({ status }) => status) : []
  const leads = listed(leading.map(({ pod }) => pod)) || 'no replica'
  const follow = listed(standbys.map(({ pod }) => pod)) || 'no replica'
  const isWell = leader?.traffic.gate === 'open' && standbys.length > 0 && !leader.pause
  const level = leader === null || leader.leadership.doubt ? 'bad' : isWell ? 'good' : 'warning'
  return { level, sentence: `Leader: ${leads}. Can take over: ${follow}.`, leader }
}

function rowOf({ pod, status, problem }: ReplicaRow): string {
  const [level, ...cells] = status === null ? ['bad', 'no answer', '-', '-', '-', problem] : cellsOf(status)
  return `<tr class="${level}">${[pod, ...cells].map((cell) => `<td>${escaped(cell ?? '-')}</td>`).join('')}</tr>`
}

function cellsOf({ role, langflow, standby, traffic, workload, ...status }: AgentStatus) {
  const isOpen = traffic.gate === 'open'
  const runs = [isOpen ? 'serves' : workload.state, langflow.version].filter(Boolean).join(', ')
  const why = status.problem ?? status.unable ?? standby.reason ?? status.decision
  const isGood = role === 'leader' ? isOpen : status.couldTakeOver
  const shown = role === 'leader' ? 'leads' : status.couldTakeOver ? 'can take over' : 'cannot take over'
  const first = status.leadership.doubt ? ['bad', 'in doubt'] : [isGood ? 'good' : 'warning', shown]
  const ready = role === 'leader' ? '-' : `${standby.mode}, ${standby.state}`
  return [...first, runs, ready, status.revision, why]
}

/** Without secrets, and as visible text: names and reasons may come from a hostile replica. */
function escaped(text: string): string {
  return redactText(text)
    .replace(/\p{C}/gu, '\ufffd')
    .replace(/[&<>"']/g, (c) => `&#${c.charCodeAt(0)};`)
}
