import { ANYBODY, type Plan } from './switchover.ts'
import type { Phase, Switched } from './switchover-progress.ts'

/** What `switchover` prints for programs. */
export type SwitchoverResult =
  | ({ readonly result: 'switched'; readonly asked: string } & Switched)
  | { readonly result: 'requested'; readonly asked: string; readonly from: string }

/** `Switch over from langflow-0 to langflow-1 or langflow-2?` */
export function question({ from, candidates }: Plan): string {
  return `Switch over from ${from} to ${new Intl.ListFormat('en-GB', { type: 'disjunction' }).format(candidates)}?`
}

/** `   1.3 s  released   langflow-0` */
export function phaseLine({ phase, pod, afterMs }: Phase): string {
  return `${seconds(afterMs).padStart(8)}  ${phase.padEnd(9)}  ${pod}\n`
}

/** What came of it, for people: one sentence each line. */
export function describeSwitched(
  { from, to, crashed, gapMs, gapFrom }: Switched,
  { to: asked }: Plan,
): string {
  const about = gapFrom === 'seen' ? 'about ' : ''
  const lines = [`${to} leads and serves instead of ${from}; nobody served for ${about}${seconds(gapMs)}`]
  if (crashed) lines.push(`${from} ended before it could hand over: its Lease had to expire`)
  if (isElsewhere(to, asked))
    lines.push(`${asked} was to lead, and did not take over: see langflow-leader status`)
  return `${lines.join('\n')}\n`
}

export function describeRequested({ from, candidates }: Plan): string {
  return `${from} is asked to hand over to ${candidates.join(' or ')}; see langflow-leader status\n`
}

export function isElsewhere(to: string, asked: string): boolean {
  return asked !== ANYBODY && to !== asked
}

function seconds(ms: number): string {
  return `${(ms / 1000).toFixed(1)} s`
}
