import Table from 'cli-table3'
import { formatDuration } from '../config/values.ts'
import { ANSWERING } from './answers.ts'
import { BEATING } from './beats.ts'
import type { Paint } from './paint.ts'
import type { Result } from './result.ts'
import type { Takeover } from './takeover.ts'

/** `86 ms`, `15.4 s`. */
export function readable(ms: number): string {
  return ms < 1_000 ? `${Math.round(ms)} ms` : `${(ms / 1_000).toFixed(1)} s`
}

/** What is done to the leader, for people. */
export const TITLES = {
  crash: 'SIGKILL to agent, launcher and workload',
  stop: 'SIGTERM to the agent, a planned handover',
  hang: 'SIGSTOP to the agent, the launcher is alone',
} as const

/** The final table, its legend, and the verdict. */
export function reportOf(result: Result, paint: Paint): string {
  const { takeovers } = result
  const table = new Table({
    head: ['fault', 'leader', 'epoch', 'detect', 'start', 'healthy', 'gap', 'failed'].map(paint.strong),
    colAligns: ['left', 'left', 'right', 'right', 'right', 'right', 'right', 'right'],
    style: { head: [], border: [], 'padding-left': 1, 'padding-right': 1 },
  })
  for (const one of takeovers) {
    const { kind, from, to, epoch, detectMs, startMs, healthyMs, gapMs, failedRequests } = one
    const phases = [detectMs, startMs, healthyMs].map(readable)
    table.push([
      kind,
      `${short(from)} -> ${short(to)}`,
      epoch,
      ...phases,
      paint.strong(readable(gapMs)),
      failedRequests,
    ])
  }
  return [
    table.toString(),
    ...LEGEND.map(paint.faint),
    '',
    ...takeovers.map(storyOf),
    '',
    verdict(result, paint),
  ].join('\n')
}

const LEGEND = [
  'detect: fault to acquired Lease; start: to started workload; healthy: to open gate;',
  'gap: last good answer of the old leader to the first of the new one, seen by a client',
]

function storyOf({ kind, from, to, oldDeadMs, frozenMs, handoverMs }: Takeover): string {
  const label = kind.padEnd(6)
  if (kind === 'crash') return `${label} nobody was left to release the Lease: it had to run out`
  if (oldDeadMs === null) return `${label} nobody confirmed the end of the workload of ${from}`
  const dead = `dead after ${readable(oldDeadMs)}`
  if (kind === 'hang') {
    const frozen = frozenMs === null ? '' : `frozen after ${readable(frozenMs)}, `
    return `${label} workload of ${from} ${frozen}${dead}, by its launcher alone`
  }
  const handover = handoverMs === null ? '' : `, then the release; ${to} led ${readable(handoverMs)} later`
  return `${label} workload of ${from} ${dead}${handover}`
}

function verdict(result: Result, paint: Paint): string {
  const { ok, overlapMs, overlapFrom, samples, requests, takeovers } = result
  const source =
    overlapFrom === 'beats'
      ? `from ${counted(samples)} beats of the workloads, one each ${BEATING.periodMs} ms.`
      : `from ${counted(samples)} answers of the workloads' own\nports, asked each ${ANSWERING.periodMs} ms, since this workload writes no beats.`
  const inGaps = takeovers.reduce((sum, { failedRequests }) => sum + failedRequests, 0)
  const where =
    inGaps === requests.failed ? 'all of them in these gaps' : `${counted(inGaps)} of them in these gaps`
  const colour = ok ? paint.good : paint.bad
  return [
    `${colour(`Two replicas acting at once: ${readable(overlapMs)}`)}, ${source}`,
    `The client sent ${counted(requests.sent)} requests; ${counted(requests.failed)} had no good answer, ${where}.`,
  ].join('\n')
}

function counted(count: number): string {
  return count.toLocaleString('en')
}

/** `replica-a` -> `a` */
export function short(name: string): string {
  return name.replace(/^replica-/, '')
}

/** `15s / 10s / 2s` */
export function timingsOf({ leaseDurationMs, renewDeadlineMs, retryPeriodMs }: Result['timings']): string {
  return [leaseDurationMs, renewDeadlineMs, retryPeriodMs].map(formatDuration).join(' / ')
}
