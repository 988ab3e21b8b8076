import { styleText } from 'node:util'
import Table from 'cli-table3'
import { createLogUpdate } from 'log-update'
import type { Timings } from '../config/timings.ts'
import { formatDuration } from '../config/values.ts'
import type { EventName } from '../observe/events.ts'
import { EVERY_MS, repeat } from './client.ts'
import type { Demo } from './demo.ts'
import { RHYTHMS } from './overlap.ts'
import type { Replica, ReplicaEvent } from './replica.ts'
import type { Takeover } from './takeover.ts'

/** What a demo found; `--json` prints it as it is. */
export interface Result {
  /** All takeovers happened, and no two replicas acted at once. */
  readonly ok: boolean
  readonly takeovers: readonly Takeover[]
  /** Milliseconds in which two workloads acted at once. */
  readonly overlapMs: number
  /** What the overlap was computed from: lines that the workloads wrote, or answers of their ports. */
  readonly overlapFrom: 'beats' | 'answers'
  readonly samples: number
  readonly requests: { readonly sent: number; readonly failed: number }
  readonly timings: Timings
  readonly elapsedMs: number
  /** Where the replicas' logs stay; `null` where they are not needed any more. */
  readonly logs: string | null
}

/** What is told as it happens. */
export interface Told {
  /** Milliseconds since the demo began. */
  readonly atMs: number
  readonly replica: string | null
  readonly text: string
  /** Begins something new. */
  readonly heading: boolean
}

/** Colours as the stream takes them: none where it is no terminal, or NO_COLOR is set. */
type Style = (format: 'bold' | 'dim' | 'green' | 'yellow' | 'red', text: string) => string

const FRAME_MS = 100
/** How many of the last lines the live view shows: it fits on 24 lines. */
const LINES = 6
/** A table without lines between its rows. */
const COMPACT = { mid: '', 'left-mid': '', 'mid-mid': '', 'right-mid': '' }

/**
 * Shows a demo from now on: live on a terminal, else line by line. Returns what ends that: with a result in place of the live
 * view, without one its last frame stays.
 */
export function show(demo: Demo, stream: NodeJS.WriteStream): (result: Result | null) => void {
  const style: Style = (format, text) => styleText(format, text, { stream })
  if (!stream.isTTY || process.env.TERM === 'dumb') {
    const client = `which follows the gates; a client asks it each ${EVERY_MS} ms`
    stream.write(`${titleOf(demo)}\nfront door ${demo.door.url}, ${client}\n\n`)
    demo.onTold = (told) => void stream.write(`${told.heading ? '\n' : ''}${lineOf(told, style)}\n`)
    return (result) => {
      if (result) stream.write(`\n${reportOf(result, style)}\n`)
    }
  }
  stream.write(`${style('bold', titleOf(demo))}\n\n`)
  const draw = createLogUpdate(stream)
  const stop = repeat(demo.clock, FRAME_MS, () => draw(frameOf(demo, style)))
  return (result) => {
    stop()
    if (result) draw.clear()
    draw.done()
    if (result) stream.write(`${reportOf(result, style)}\n`)
  }
}

/** `86 ms`, `15.4 s`. */
export function readable(ms: number): string {
  return ms < 1_000 ? `${Math.round(ms)} ms` : `${(ms / 1_000).toFixed(1)} s`
}

const SENTENCES: Readonly<Partial<Record<EventName, string>>> = {
  acquired: 'acquired the Lease',
  workload_started: 'started its workload',
  serving: 'serves: the workload is healthy, the gate is open',
  doubt: 'is in doubt: the gate is closed',
  workload_frozen: 'launcher froze the workload',
  deadman_fired: 'launcher acted on its own',
  workload_stopped: 'workload is dead, confirmed',
  draining: 'closed its gate and drains',
  released: 'released the Lease',
  lost: 'lost the Lease',
  standby_ready: 'stands by',
}

/** An event as the end of a sentence that begins with the replica's name; `null` for those that say nothing new. */
export function sentenceOf({ event, epoch, reason }: ReplicaEvent): string | null {
  const sentence = SENTENCES[event]
  if (sentence === undefined) return null
  const why = reason === null ? '' : `: ${reason}`
  return event === 'acquired' ? `${sentence} in epoch ${epoch}${why}` : `${sentence}${why}`
}

function titleOf({ options }: Demo): string {
  const { command, leaseDurationMs, renewDeadlineMs, retryPeriodMs } = options
  const workload = command?.join(' ') ?? 'a small stand-in for LangFlow'
  const timings = [leaseDurationMs, renewDeadlineMs, retryPeriodMs].map(formatDuration).join(' / ')
  return `langflow-leader demo: three replicas of ${workload}, one Lease (${timings})`
}

/** One line: when, who, what. */
function lineOf({ atMs, replica, text }: Told, style: Style): string {
  const at = style('dim', `${(atMs / 1_000).toFixed(1).padStart(6)} s`)
  return replica === null ? `${at}  ${style('bold', text)}` : `${at}    ${replica}  ${text}`
}

/** The live view: who leads, whose gate is open, the takeovers so far, what happened last. */
function frameOf({ replicas, takeovers, door, told, elapsedMs, doing }: Demo, style: Style): string {
  const table = new Table({
    head: ['replica', 'agent', 'role', 'epoch', 'workload', 'gate'].map((head) => style('bold', head)),
    colWidths: [12, 11, 11, 8, 11, 9],
    style: { head: [], border: [] },
    chars: COMPACT,
  })
  for (const replica of replicas.values()) table.push(rowOf(replica, door.isOpenTo(replica.name), style))
  return [
    table.toString(),
    `front door ${door.url}`,
    '',
    ...(takeovers.length > 0 ? [tableOf(takeovers, style, COMPACT), ''] : []),
    ...told.slice(-LINES).map((one) => lineOf(one, style)),
    '',
    style('dim', `${(elapsedMs / 1_000).toFixed(1)} s, ${doing}; Ctrl-C ends everything`),
  ].join('\n')
}

function rowOf({ name, state }: Replica, open: boolean, style: Style): string[] {
  const { agent, role, epoch, workload } = state
  const leads = role === 'leader'
  return [
    leads ? style('bold', name) : name,
    agent === 'running' ? agent : style('red', agent),
    leads ? style('green', role) : role,
    leads && epoch !== null ? String(epoch) : '-',
    workload === 'none' ? '-' : style(workload === 'healthy' ? 'green' : 'yellow', workload),
    open ? style('green', 'open') : 'closed',
  ]
}

function tableOf(takeovers: readonly Takeover[], style: Style, chars = {}): string {
  const head = ['fault', 'leader', 'epoch', 'detect', 'start', 'healthy', 'gap', 'failed']
  const table = new Table({
    head: head.map((text) => style('bold', text)),
    colAligns: ['left', 'left', 'right', 'right', 'right', 'right', 'right', 'right'],
    style: { head: [], border: [] },
    chars,
  })
  for (const { kind, from, to, epoch, detectMs, startMs, healthyMs, gapMs, failedRequests } of takeovers) {
    const phases = [detectMs, startMs, healthyMs].map(readable)
    const gap = style('bold', readable(gapMs))
    table.push([kind, `${short(from)} -> ${short(to)}`, epoch, ...phases, gap, failedRequests])
  }
  return table.toString()
}

/** The final table, its legend, and the verdict. */
function reportOf(result: Result, style: Style): string {
  const { ok, takeovers, overlapMs, overlapFrom, samples, requests } = result
  const { periodMs } = RHYTHMS[overlapFrom]
  const source =
    overlapFrom === 'beats'
      ? `from ${counted(samples)} beats of the workloads, one each ${periodMs} ms.`
      : `from ${counted(samples)} answers of the workloads' own\nports, asked each ${periodMs} ms, since this workload writes no beats.`
  const inGaps = takeovers.reduce((sum, { failedRequests }) => sum + failedRequests, 0)
  const where = `${inGaps === requests.failed ? 'all' : counted(inGaps)} of them in these gaps`
  return [
    tableOf(takeovers, style),
    style('dim', 'detect: fault to acquired Lease; start: to started workload; healthy: to open gate;'),
    style('dim', 'gap: last good answer of the old leader to the first of the new one, seen by a client'),
    '',
    ...takeovers.map((takeover) => `${takeover.kind.padEnd(6)} ${storyOf(takeover)}`),
    '',
    `${style(ok ? 'green' : 'red', `Two replicas acting at once: ${readable(overlapMs)}`)}, ${source}`,
    `The client sent ${counted(requests.sent)} requests; ${counted(requests.failed)} had no good answer, ${where}.`,
  ].join('\n')
}

function storyOf({ kind, from, to, oldDeadMs, frozenMs, handoverMs }: Takeover): string {
  if (kind === 'crash') return 'nobody was left to release the Lease: it had to run out'
  if (oldDeadMs === null) return `nobody confirmed the end of the workload of ${from}`
  const dead = `dead after ${readable(oldDeadMs)}`
  if (kind === 'hang') {
    const frozen = frozenMs === null ? '' : `frozen after ${readable(frozenMs)}, `
    return `workload of ${from} ${frozen}${dead}, by its launcher alone`
  }
  const handover = handoverMs === null ? '' : `, then the release; ${to} led ${readable(handoverMs)} later`
  return `workload of ${from} ${dead}${handover}`
}

function counted(count: number): string {
  return count.toLocaleString('en')
}

/** `replica-a` -> `a` */
function short(name: string): string {
  return name.replace(/^replica-/, '')
}
