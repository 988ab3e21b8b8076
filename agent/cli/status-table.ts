import type { Values } from '../config/setting.ts'
import { shortDuration } from '../config/values.ts'
import type { PastTerm } from '../lease/lease-history.ts'
import { describeRequest, podOf, UNTIL_RESUMED } from '../lease/operator-annotations.ts'
import type { AgentStatus, FrontView, ReplicaRow } from '../status/agent-status.ts'
import { rowOf } from './cluster.ts'
import { EXIT_CODES } from './exit-codes.ts'
import type { COMMON_SETTINGS, STATUS_SETTINGS } from './operate-command.ts'
import { formatted, table, write } from './output.ts'
import { type Overview, sourceOf, stateOf, waitOf } from './overview.ts'

type Column = readonly [head: string, cell: (status: AgentStatus) => string]

const COLUMNS: readonly Column[] = [
  ['ROLE', ({ role }) => role],
  ['STATE', stateOf],
  ['STANDBY', standbyCell],
  ['TAKEOVER', takeoverCell],
  ['KILL IN', ({ leadership: { killInMs } }) => shortDuration(killInMs)],
  ['REVISION', ({ revision }) => revision ?? '-'],
  ['AGE', ({ podAgeMs }) => shortDuration(podAgeMs)],
]

const WIDE: readonly Column[] = [
  ['EPOCH', ({ lease }) => String(lease.epoch)],
  ['LANGFLOW', ({ langflow }) => langflow.version ?? '-'],
  ['FLOWS', ({ flowsDigest }) => flowsDigest ?? '-'],
  ['CONTENT', contentCell],
  ofFronts('HELD', ({ held, oldestHeldMs }) =>
    held === 0 ? '0' : `${held}, ${shortDuration(oldestHeldMs)}`,
  ),
  ofFronts('IN FLIGHT', ({ inFlight }) => String(inFlight)),
  ofFronts('STREAMS', ({ streams }) => String(streams)),
]

function ofFronts(head: string, describe: (front: FrontView) => string): Column {
  return [head, ({ traffic: { front } }) => (front === null ? '-' : describe(front))]
}

export function statusTable(overview: Overview, wallMs: number, wide: boolean): string[] {
  const columns = wide ? [...COLUMNS, ...WIDE] : COLUMNS
  const rows = overview.replicas.map(({ pod, node, status }) => [
    pod,
    ...columns.map(([head, cell]): string => {
      if (status !== null) return cell(status)
      return head === 'ROLE' ? 'unknown' : head === 'STATE' ? 'no answer' : '-'
    }),
    ...(wide ? [node ?? '-'] : []),
  ])
  const heads = ['POD', ...columns.map(([head]) => head), ...(wide ? ['NODE'] : [])]
  const { ok, problems } = overview
  const verdict = ok
    ? 'One replica serves, and another can take over.'
    : `Not healthy: ${problems.join('; ')}.`
  return [titleOf(overview, wallMs), '', ...table(heads, rows), '', ...warningsOf(overview, wallMs), verdict]
}

function titleOf({ lease, replicas }: Overview, wallMs: number): string {
  const { namespace, name, holder, epoch, since } = lease
  const verb = rowOf(holder ?? '', replicas)?.status?.role === 'leader' ? 'leads' : 'holds it'
  const leads = holder === null ? 'no replica leads' : `${podOf(holder)} ${verb}`
  const ago =
    since === null
      ? ''
      : ` since ${since.replace(/\.\d+Z$/, 'Z')} (${shortDuration(wallMs - Date.parse(since))})`
  return `Lease ${namespace}/${name}: ${leads}${ago}, epoch ${epoch}`
}

function warningsOf({ pause, switchover, replicas }: Overview, wallMs: number): string[] {
  const lines: string[] = []
  if (pause !== null) {
    const { until, reason } = pause
    const left =
      until === null ? UNTIL_RESUMED : `until ${until} (${shortDuration(Date.parse(until) - wallMs)} left)`
    lines.push(`Paused ${left}${reason === null ? '' : `: ${reason}`}`)
  }
  if (switchover !== null) {
    const { state, reason } = switchover
    lines.push(
      `Request for a ${describeRequest(switchover)}: ${state}${reason === null ? '' : `: ${reason}`}`,
    )
  }
  for (const row of replicas) lines.push(...notesOf(row).map((note) => `${row.pod}: ${note}`))
  return lines
}

function notesOf({ status, problem }: ReplicaRow): string[] {
  if (status === null) return problem === null ? [] : [problem]
  const { role, couldTakeOver, unable, standby, traffic, onTrial, leadership } = status
  const cannot = role === 'follower' && !couldTakeOver ? (unable ?? status.problem ?? status.decision) : null
  const { mode, wanted, reason } = standby
  const colder =
    reason === null ? null : `standby ${mode}${mode === wanted ? '' : `, not ${wanted}`}: ${reason}`
  const notes = [
    cannot === null ? null : `cannot take over: ${cannot}`,
    status.problem === cannot ? null : status.problem,
    onTrial?.failed === null ? onTrial.reason : null,
    leadership.planned && `${waitOf(status)}: ${leadership.planned.reason}`,
    // If the agent reports a reason, the reason is already the problem above.
    traffic.front?.listening === false && status.problem === null ? 'its front does not listen yet' : null,
    colder,
  ]
  return notes.filter((note) => note !== null && note !== '') as string[]
}

function standbyCell({ role, standby }: AgentStatus): string {
  if (role === 'leader') return '-'
  const { mode, wanted, state } = standby
  if (mode !== wanted) return `${mode}, not ${wanted}`
  return state === 'preparing' ? `${mode}, preparing` : mode
}

function contentCell({ role, content }: AgentStatus): string {
  if (content?.digest == null) return '-'
  const text = `${content.digest} (${shortDuration(content.ageMs)})`
  const isPending = role === 'leader' && content.running !== content.digest
  return isPending ? `${text}, runs ${content.running ?? 'another'}` : text
}

function takeoverCell({ role, couldTakeOver, pause }: AgentStatus): string {
  if (role === 'leader') return '-'
  if (!couldTakeOver) return 'no'
  return pause ? 'after resume' : 'yes'
}

export async function runStatus({ output, ...from }: Values<typeof STATUS_SETTINGS>): Promise<number> {
  using source = await sourceOf(from)
  const overview = await source.overview()
  await write(formatted(output, overview, () => statusTable(overview, Date.now(), output === 'wide')))
  return overview.ok ? EXIT_CODES.fine : EXIT_CODES.failed
}

export async function runHistory({ output, ...from }: Values<typeof COMMON_SETTINGS>): Promise<number> {
  using source = await sourceOf(from)
  const terms = await source.history()
  await write(formatted(output, { terms }, () => historyTable(terms, Date.now())))
  return EXIT_CODES.fine
}

export function historyTable(terms: readonly PastTerm[], wallMs: number): string[] {
  if (terms.length === 0) return ['The Lease has no recorded term.']
  const rows = terms.map(({ epoch, holder, began, because, phases, gapMs, stopMs, consentMs, ...end }) => [
    String(epoch),
    holder,
    began.replace(/\.\d+/, ''),
    shortDuration((end.ended === null ? wallMs : Date.parse(end.ended)) - Date.parse(began)),
    because,
    ...[phases.detectMs, phases.acquireMs, phases.startMs, phases.healthyMs, gapMs].map((ms) =>
      shortDuration(ms),
    ),
    end.endedBecause ?? (end.ended === null ? 'current' : 'unknown'),
    shortDuration(stopMs),
    shortDuration(consentMs ?? null),
  ])
  return table(HEAD, rows)
}

const HEAD =
  'EPOCH,HOLDER,BEGAN,LASTED,BECAUSE,DETECT,ACQUIRE,START,HEALTHY,NO SERVER,ENDED,STOP,BY CONSENT'.split(',')
