import { styleText } from 'node:util'
import { readable } from '../../agent/config/values.ts'
import type { EventName } from '../../agent/observe/log.ts'
import type { Line } from '../harness/logged-process.ts'
import type { Takeover } from './takeover.ts'

/** The result of a demo; `--json` prints it as it is. */
export interface Result {
  /** No two replicas acted at once. */
  readonly ok: boolean
  readonly takeovers: readonly (Takeover & { readonly failedRequests: number })[]
  readonly overlapMs: number
  /** Signs of life that the overlap was computed from. */
  readonly beats: number
  readonly requests: { readonly sent: number; readonly failed: number }
  readonly elapsedMs: number
}

/** The addresses of a demo that stays; `--json` prints it as it is. */
export interface Stage {
  /** A path. */
  readonly kubeconfig: string
  /** By replica: the address of its front, for clients, and of its agent. */
  readonly fronts: Readonly<Record<string, string>>
  readonly agents: Readonly<Record<string, string>>
}

const SENTENCES: Readonly<Partial<Record<EventName, string>>> = {
  acquired: 'acquired the Lease',
  workload_started: 'started its workload',
  serving: 'serves: its workload is healthy',
  doubt: 'is in doubt: its gate is closed',
  workload_frozen: 'launcher froze the workload',
  deadman_fired: 'launcher acted without its agent',
  workload_stopped: 'launcher confirms that the workload is dead',
  draining: 'drains',
  released: 'released the Lease',
  lost: 'lost the Lease',
  standby_ready: 'could take over',
}

/** An event as the end of a sentence that begins with the replica's name; `null`: it adds nothing. */
export function sentenceOf({ event, epoch, reason }: Line): string | null {
  const sentence = event === undefined ? undefined : SENTENCES[event]
  if (sentence === undefined) return null
  return `${sentence}${event === 'acquired' ? ` in epoch ${epoch}` : ''}${reason ? `: ${reason}` : ''}`
}

/** How to operate a demo that stays. `program`: the command line that starts the product. */
export function guideOf({ kubeconfig, agents, fronts }: Stage, program: string): string {
  const commands = [
    [`${program} status`, 'who leads, and which replica could take over'],
    [`${program} switchover`, 'hand over now'],
    ['kubectl delete pod replica-a', 'it hands over and comes back; a crash with --force --grace-period=0'],
  ] as const
  const widest = Math.max(...commands.map(([command]) => command.length))
  return [
    'All three are up, until Ctrl-C. In another terminal:',
    '',
    `  export KUBECONFIG=${kubeconfig}`,
    ...commands.map(([command, about]) => `  ${command.padEnd(widest)}  # ${about}`),
    '',
    'The page of each replica, and its front for clients:',
    '',
    ...Object.entries(agents).map(([name, url]) => `  ${name}  ${url}  ${fronts[name]}`),
  ].join('\n')
}

/** The table, its legend, and the verdict; in colours where the stream takes them. */
export function reportOf(
  { ok, takeovers, overlapMs, beats, requests }: Result,
  stream: NodeJS.WriteStream,
): string {
  const rows = takeovers.map((one) => [
    one.kind,
    `${short(one.from)} -> ${short(one.to)}`,
    String(one.epoch),
    ...[one.detectMs, one.startMs, one.healthyMs, one.pauseMs].map(readable),
    String(one.failedRequests),
  ])
  const table = [['fault', 'leader', 'epoch', 'detect', 'start', 'healthy', 'pause', 'failed'], ...rows]
  const widths = table[0]!.map((_, column) => Math.max(...table.map((row) => row[column]!.length)))
  const line = (row: readonly string[]) =>
    row.map((cell, n) => (n < 2 ? cell.padEnd(widths[n]!) : cell.padStart(widths[n]!))).join('  ')
  const legend =
    'detect: fault to acquired Lease; start: to started workload; healthy: to serving;\n' +
    'pause: between two answers, seen by a client that asks the three fronts in turn; failed: its requests'
  const verdict = `Two replicas acting at once: ${readable(overlapMs)}`
  return [
    ...table.map(line),
    styleText('dim', legend, { stream }),
    '',
    ...takeovers.map((one) => `${one.kind.padEnd(6)} ${storyOf(one)}`),
    '',
    `${styleText(ok ? 'green' : 'red', verdict, { stream })}, from ${counted(beats)} signs of life of the workloads.`,
    `The client sent ${counted(requests.sent)} requests; ${counted(requests.failed)} failed.`,
  ].join('\n')
}

function storyOf({ kind, from, to, oldDeadMs, frozenMs, handoverMs }: Takeover): string {
  const dead = `dead after ${readable(oldDeadMs ?? 0)}`
  if (kind === 'crash') return `no process of ${from} was left to release the Lease: it had to expire`
  if (kind === 'hang')
    return `the workload of ${from} was frozen after ${readable(frozenMs ?? 0)} and ${dead}, by its launcher alone`
  return `the workload of ${from} was ${dead}, then came the release; ${to} led ${readable(handoverMs ?? 0)} later`
}

function counted(count: number): string {
  return count.toLocaleString('en')
}

/** `replica-a` -> `a` */
function short(name: string): string {
  return name.replace(/^replica-/, '')
}
