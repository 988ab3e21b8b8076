import { styleText } from 'node:util'
import Table from 'cli-table3'
import type { Timings } from '../../agent/config/timings.ts'
import { readable } from '../../agent/config/values.ts'
import type { EventName } from '../../agent/observe/log.ts'
import { RHYTHMS } from './beats.ts'
import type { ReplicaEvent } from './replica.ts'
import type { Takeover } from './takeover.ts'

/** What a demo found; `--json` prints it as it is. */
export interface Result {
  /** All takeovers happened, and no two replicas acted at once. */
  readonly ok: boolean
  readonly takeovers: readonly Takeover[]
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

/** What can be operated, where the demo stays; `--json` prints it as it is. */
export interface Stage {
  /** A path. */
  readonly kubeconfig: string
  readonly entrance: string
  /** The address of each replica's agent. */
  readonly agents: Readonly<Record<string, string>>
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

/** How to operate what stays. `program`: what starts this one. */
export function guideOf({ kubeconfig, agents }: Stage, program: string): string {
  const commands = [
    [`${program} status`, 'who leads, and could another take over'],
    [`${program} switchover`, 'hand over, now'],
    ['kubectl delete pod replica-a', 'it hands over and comes back; a crash with --force --grace-period=0'],
  ] as const
  const widest = Math.max(...commands.map(([command]) => command.length))
  return [
    'All three are up, until Ctrl-C. In another terminal:',
    '',
    `  export KUBECONFIG=${kubeconfig}`,
    ...commands.map(([command, about]) => `  ${command.padEnd(widest)}  # ${about}`),
    '',
    'The page of each replica:',
    '',
    ...Object.entries(agents).map(([name, url]) => `  ${name}  ${url}`),
  ].join('\n')
}

/** The final table, its legend, and the verdict; in colours where the stream takes them. */
export function reportOf(result: Result, stream: NodeJS.WriteStream): string {
  const { ok, takeovers, overlapMs, overlapFrom, samples, requests } = result
  const { periodMs } = RHYTHMS[overlapFrom]
  const source =
    overlapFrom === 'beats'
      ? `from ${counted(samples)} beats of the workloads, one each ${periodMs} ms.`
      : `from ${counted(samples)} answers of the workloads' own\nports, asked each ${periodMs} ms, since this workload writes no beats.`
  const inGaps = takeovers.reduce((sum, { failedRequests }) => sum + failedRequests, 0)
  const where = `${inGaps === requests.failed ? 'all' : counted(inGaps)} of them in these gaps`
  const verdict = `Two replicas acting at once: ${readable(overlapMs)}`
  const legend =
    'detect: fault to acquired Lease; start: to started workload; healthy: to open gate;\n' +
    'gap: last good answer of the old leader to the first of the new one, seen by a client'
  return [
    tableOf(takeovers),
    styleText('dim', legend, { stream }),
    '',
    ...takeovers.map((takeover) => `${takeover.kind.padEnd(6)} ${storyOf(takeover)}`),
    '',
    `${styleText(ok ? 'green' : 'red', verdict, { stream })}, ${source}`,
    `The client sent ${counted(requests.sent)} requests; ${counted(requests.failed)} had no good answer, ${where}.`,
  ].join('\n')
}

function tableOf(takeovers: readonly Takeover[]): string {
  const table = new Table({
    head: ['fault', 'leader', 'epoch', 'detect', 'start', 'healthy', 'gap', 'failed'],
    colAligns: ['left', 'left', 'right', 'right', 'right', 'right', 'right', 'right'],
    style: { head: [], border: [] },
  })
  for (const { kind, from, to, epoch, detectMs, startMs, healthyMs, gapMs, failedRequests } of takeovers) {
    const times = [detectMs, startMs, healthyMs, gapMs].map(readable)
    table.push([kind, `${short(from)} -> ${short(to)}`, epoch, ...times, failedRequests])
  }
  return table.toString()
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
