import Table from 'cli-table3'
import { formatDuration } from '../config/duration.ts'
import { ANSWERING } from './answers.ts'
import { BEATING } from './beats.ts'
import type { Paint } from './paint.ts'
import type { Result } from './result.ts'
import type { Takeover } from './takeover.ts'

/** `86 ms`, `15.4 s`. */
export function readable(ms: number): string {
  return ms < 1_000 ? `${Math.round(ms)} ms` : `${(ms / 1_000).toFixed(1)} s`
}

/** What a fault is, for people. */
export const TITLES = {
  crash: 'SIGKILL to the whole replica',
  stop: 'SIGTERM to the agent, a planned handover',
  hang: 'SIGSTOP to the agent, its launcher is on its own',
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
  'detect: fault to the next acquired Lease; start: to the started workload; healthy: to the',
  'open gate; gap: what a client saw, last good answer before to first good answer after',
]

function storyOf({ kind, from, to, oldDeadMs, frozenMs, handoverMs }: Takeover): string {
  const label = kind.padEnd(6)
  if (kind === 'crash')
    return `${label} nobody was left to release the Lease: it had to run out before ${to} took it`
  const dead = oldDeadMs === null ? 'its end was not confirmed' : `was dead after ${readable(oldDeadMs)}`
  if (kind === 'stop') {
    const handover =
      handoverMs === null ? '' : `; ${to} had the Lease ${readable(handoverMs)} after its release`
    return `${label} the workload of ${from} ${dead}${handover}`
  }
  const frozen = frozenMs === null ? '' : `was frozen after ${readable(frozenMs)} and `
  return `${label} the workload of ${from} ${frozen}${dead}, without its agent; ${from} is a follower now`
}

function verdict({ ok, overlapMs, overlapFrom, samples, requests }: Result, paint: Paint): string {
  const count = samples.toLocaleString('en')
  const source =
    overlapFrom === 'beats'
      ? `from ${count} beats that the workloads wrote, one each ${BEATING.periodMs} ms`
      : `from ${count} answers of the workloads' own ports, asked each ${ANSWERING.periodMs} ms (this workload writes no beats)`
  const colour = overlapMs === 0 && ok ? paint.good : paint.bad
  return [
    `${colour(`Two replicas acting at once: ${readable(overlapMs)}`)}, computed ${source}.`,
    `The client sent ${requests.sent.toLocaleString('en')} requests; ${requests.failed.toLocaleString('en')} had no good answer.`,
  ].join('\n')
}

/** `replica-a` -> `a` */
function short(name: string): string {
  return name.replace(/^replica-/, '')
}

/** `15s / 10s / 2s` */
export function timingsOf({ leaseDurationMs, renewDeadlineMs, retryPeriodMs }: Result['timings']): string {
  return [leaseDurationMs, renewDeadlineMs, retryPeriodMs].map(formatDuration).join(' / ')
}
