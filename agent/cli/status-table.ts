import { oneLine } from '../exit.ts'
import type { PastTerm } from '../lease/lease-history.ts'
import { describeTarget, podOf, UNTIL_RESUMED } from '../lease/operator-annotations.ts'
import type { AgentStatus, FrontView, ReplicaRow } from '../observe/agent-status.ts'
import { type Cell, type Paint, plain, span, table } from './output.ts'
import { type Overview, stateOf } from './overview.ts'

interface Column {
  readonly head: string
  /** `wide`: in full. */
  readonly cell: (status: AgentStatus, wide: boolean) => Cell
  /** If all replicas have the same value, the column becomes a part of the line below, named so, unless the table is wide. */
  readonly common?: string
  /** The column is there only if a replica has a front. */
  readonly ofFronts?: true
}

function ofFronts(head: string, tell: (front: FrontView) => string): Column {
  const cell = ({ traffic: { front } }: AgentStatus) => (front === null ? '-' : tell(front))
  return { head, cell, common: head.toLowerCase(), ofFronts: true }
}

const COLUMNS: readonly Column[] = [
  { head: 'ROLE', cell: ({ role }) => (role === 'leader' ? ['bold', role] : role) },
  { head: 'STATE', cell: stateCell },
  { head: 'EPOCH', cell: ({ lease }) => String(lease.epoch), common: 'epoch' },
  { head: 'SINCE', cell: (status) => span(inRoleMs(status)) },
  { head: 'STANDBY', cell: standbyCell },
  { head: 'TAKEOVER', cell: takeoverCell },
  { head: 'KILL IN', cell: ({ leadership }) => seconds(leadership.killInMs) },
  { head: 'REVISION', cell: ({ revision }) => revision ?? '-', common: 'revision' },
  { head: 'LANGFLOW', cell: ({ langflow }) => langflow.version ?? '-', common: 'LangFlow' },
  {
    head: 'FLOWS',
    cell: ({ flowsDigest }, wide) => flowsDigest?.slice(0, wide ? undefined : 8) ?? '-',
    common: 'flows',
  },
  ofFronts('HELD', ({ held, oldestHeldMs }) => (held === 0 ? '0' : `${held}, ${seconds(oldestHeldMs)}`)),
  ofFronts('IN FLIGHT', ({ inFlight }) => String(inFlight)),
  ofFronts('STREAMS', ({ streams }) => String(streams)),
]

export interface Look {
  readonly paint: Paint
  /** Every column, and nothing cut. */
  readonly wide: boolean
}

/** All replicas in one table, what they have in common, warnings and verdict. @param wallMs now */
export function statusTable(overview: Overview, wallMs: number, look: Partial<Look> = {}): string {
  const { paint = plain, wide = false } = look
  const { replicas } = overview
  const statuses = replicas.flatMap(({ status }) => status ?? [])
  const isCommon = ({ cell, common }: Column) =>
    !wide && common !== undefined && new Set(statuses.map((status) => String(cell(status, wide)))).size < 2
  const haveFronts = statuses.some(({ traffic }) => traffic.front !== null)
  const known = COLUMNS.filter((column) => haveFronts || !column.ofFronts)
  const columns = known.filter((column) => !isCommon(column))
  const rows = replicas.map(({ pod, node, status }) => [
    pod,
    node === null ? '-' : wide ? node : shortened(node),
    ...columns.map(({ cell, head }): Cell => {
      if (status !== null) return cell(status, wide)
      return head === 'ROLE' ? 'unknown' : head === 'STATE' ? ['red', 'no answer'] : '-'
    }),
  ])
  const lines = [
    oneLine(titleOf(overview, wallMs)),
    '',
    table(['POD', 'NODE', ...columns.map(({ head }) => head)], rows, paint),
    '',
    ...commonLine(statuses[0], known.filter(isCommon)).map(oneLine),
    ...warningsOf(overview, wallMs).map((line) => paint('yellow', oneLine(line))),
    verdictOf(overview, paint),
  ]
  return `${lines.join('\n')}\n`
}

function titleOf({ lease }: Overview, wallMs: number): string {
  const { namespace, name, holder, epoch, since } = lease
  const leads = holder === null ? 'nobody leads' : `${podOf(holder)} leads`
  const ago =
    since === null ? '' : ` since ${since.replace(/\.\d+Z$/, 'Z')} (${span(wallMs - Date.parse(since))})`
  return `Lease ${namespace}/${name}: ${leads}${ago}, epoch ${epoch}`
}

function commonLine(status: AgentStatus | undefined, columns: readonly Column[]): string[] {
  if (status === undefined) return []
  const parts = columns.flatMap(({ cell, common }) => {
    const value = cell(status, false)
    return value === '-' ? [] : [`${common} ${value}`]
  })
  return parts.length === 0 ? [] : [`All replicas: ${parts.join(', ')}`]
}

/** What operators asked for, and the problems of the replicas. @param wallMs now */
function warningsOf({ pause, switchover, replicas }: Overview, wallMs: number): string[] {
  const lines: string[] = []
  if (pause !== null) {
    const { until, reason } = pause
    const left = until === null ? UNTIL_RESUMED : `until ${until} (${span(Date.parse(until) - wallMs)} left)`
    lines.push(`Paused ${left}${reason === null ? '' : `: ${reason}`}`)
  }
  if (switchover !== null) {
    const { to, state, reason } = switchover
    lines.push(`Switchover to ${describeTarget(to)}: ${state}${reason === null ? '' : `: ${reason}`}`)
  }
  for (const row of replicas) lines.push(...notesOf(row).map((note) => `${row.pod}: ${note}`))
  return lines
}

function verdictOf({ ok, problems }: Overview, paint: Paint): string {
  if (ok) return paint('green', 'One serves, and another could take over.')
  return paint('red', oneLine(`Not as it should be: ${problems.join('; ')}.`))
}

/** The problems of a replica, each once. */
function notesOf({ status, problem }: ReplicaRow): string[] {
  if (status === null) return problem === null ? [] : [problem]
  const { role, couldTakeOver, unable, standby, traffic, onTrial } = status
  const cannot = role === 'follower' && !couldTakeOver ? (unable ?? status.problem ?? status.decision) : null
  const { mode, wanted, reason } = standby
  const colder =
    reason === null ? null : `standby ${mode}${mode === wanted ? '' : `, not ${wanted}`}: ${reason}`
  const notes = [
    cannot === null ? null : `could not take over: ${cannot}`,
    status.problem === cannot ? null : status.problem,
    onTrial?.failed === null ? onTrial.reason : null,
    // Once the reason is known, it is the problem of its status.
    traffic.front?.listening === false && status.problem === null ? 'its front does not listen yet' : null,
    colder,
  ]
  return notes.filter((note) => note !== null && note !== '') as string[]
}

function stateCell(status: AgentStatus): Cell {
  const state = stateOf(status)
  return [state === 'serving' || state === 'ready' ? 'green' : 'yellow', state]
}

function standbyCell({ role, standby }: AgentStatus): Cell {
  if (role === 'leader') return '-'
  const { mode, wanted, state } = standby
  if (mode !== wanted) return ['yellow', `${mode}, not ${wanted}`]
  return state === 'preparing' ? ['yellow', `${mode}, preparing`] : mode
}

function takeoverCell({ role, couldTakeOver, pause }: AgentStatus): Cell {
  if (role === 'leader') return '-'
  if (!couldTakeOver) return ['yellow', 'no']
  return pause ? ['yellow', 'once resumed'] : 'yes'
}

/** How long it has led, or followed since the end of its last term or the start of its pod. `null`: unknown. */
function inRoleMs({ role, now, lease, history, identity, podAgeMs }: AgentStatus): number | null {
  const ended = history.find(
    ({ holder, ended }: PastTerm) => ended !== null && holder === podOf(identity),
  )?.ended
  const since = role === 'leader' ? lease.since : ended
  const ms = since ? Date.parse(now) - Date.parse(since) : Number.NaN
  if (role === 'leader' || podAgeMs === null || ms < podAgeMs) return Number.isNaN(ms) ? null : ms
  return podAgeMs
}

function seconds(ms: number | null): string {
  return ms === null ? '-' : `${(ms / 1000).toFixed(1)}s`
}

const LONGEST_NODE = 16

/** Without its domain; for a long name its end, in which the nodes of a pool differ. */
function shortened(node: string): string {
  const [label = ''] = node.split('.', 1)
  return label.length > LONGEST_NODE ? `…${label.slice(1 - LONGEST_NODE)}` : label
}
