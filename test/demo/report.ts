import { styleText } from 'node:util'
import { shortDuration } from '../../agent/config/values.ts'
import type { Line } from '../harness/logged-process.ts'
import type { Takeover } from './takeover.ts'

/** The result of a demo. `--json` prints this object. */
export interface Result {
  readonly ok: boolean
  readonly takeovers: readonly (Takeover & { readonly failedRequests: number })[]
  readonly overlapMs: number
  readonly beats: number
  readonly requests: { readonly sent: number; readonly failed: number }
  readonly elapsedMs: number
}

/** The addresses in a demo with `--stay`. `--json` prints this object. */
export interface Stage {
  readonly kubeconfig: string
  /** For each replica: the URL of its front, for clients, and the URL of its agent. */
  readonly fronts: Readonly<Record<string, string>>
  readonly agents: Readonly<Record<string, string>>
}

/** An event as the end of a line that begins with the replica's name. `null`: the line reports no event. */
export function eventOf({ event, epoch, reason }: Line): string | null {
  if (event === undefined) return null
  return `${event} (epoch ${epoch})${reason ? `: ${reason}` : ''}`
}

export function guideOf({ kubeconfig, agents, fronts }: Stage, program: string): string {
  const commands = [
    [`${program} status`, 'show the leader, and which replica could take over'],
    [`${program} switchover`, 'hand over to another replica now'],
  ] as const
  const widest = Math.max(...commands.map(([command]) => command.length))
  return [
    'All three replicas run until Ctrl-C. In another terminal:',
    '',
    `  export KUBECONFIG=${kubeconfig}`,
    ...commands.map(([command, about]) => `  ${command.padEnd(widest)}  # ${about}`),
    '',
    'The status page of each replica, and its front for clients:',
    '',
    ...Object.entries(agents).map(([name, url]) => `  ${name}  ${url}  ${fronts[name]}`),
  ].join('\n')
}

/** The table, its legend and the verdict, in colours if the stream supports them. */
export function reportOf(
  { ok, takeovers, overlapMs, beats, requests }: Result,
  stream: NodeJS.WriteStream,
): string {
  const rows = takeovers.map((one) => [
    one.kind,
    `${short(one.from)} -> ${short(one.to)}`,
    String(one.epoch),
    one.code,
    ...[one.detectMs, one.startMs, one.healthyMs, one.pauseMs].map((ms) => shortDuration(ms)),
    String(one.failedRequests),
  ])
  const table = [
    ['fault', 'leader', 'epoch', 'Lease', 'detect', 'start', 'healthy', 'pause', 'failed'],
    ...rows,
  ]
  const widths = table[0]!.map((_, column) => Math.max(...table.map((row) => row[column]!.length)))
  const line = (row: readonly string[]) =>
    row.map((cell, n) => (n < 2 || n === 3 ? cell.padEnd(widths[n]!) : cell.padStart(widths[n]!))).join('  ')
  const legend =
    'detect: until another replica acquired the Lease; start: until it started its workload; healthy: until it served;\n' +
    'pause: the time without an answer for a client that asks the three fronts in turn; failed: failed requests of this client\n' +
    'If the leader hangs, its workload serves until it is frozen, so the pause is shorter than the detection'
  const verdict = `Two replicas acting at once: ${shortDuration(overlapMs)}`
  return [
    ...table.map(line),
    styleText('dim', legend, { stream }),
    '',
    `${styleText(ok ? 'green' : 'red', verdict, { stream })}, from ${counted(beats)} signs of life of the workloads.`,
    `The client sent ${counted(requests.sent)} requests; ${counted(requests.failed)} failed.`,
  ].join('\n')
}

function counted(count: number): string {
  return count.toLocaleString('en')
}

/** `replica-a` -> `a` */
function short(name: string): string {
  return name.replace(/^replica-/, '')
}
