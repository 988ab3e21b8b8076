import { listed, seconds } from '../config/values.ts'
import { ANYBODY } from '../lease/operator-annotations.ts'
import { describeHeld, describeWaits } from './held-requests.ts'
import type { Plan } from './switchover.ts'
import type { Phase, Switched } from './switchover-progress.ts'

/** `Switch over from langflow-0 to langflow-1 or langflow-2?` */
export function question({ from, candidates }: Plan): string {
  return `Switch over from ${from} to ${listed(candidates, 'or')}?`
}

/** `   1.3 s  released   langflow-0  held: 12, longest 0.8 s` */
export function phaseLine({ phase, pod, afterMs, held }: Phase): string {
  return `${`${seconds(afterMs).padStart(8)}  ${phase.padEnd(9)}  ${pod}  ${describeHeld(held)}`.trimEnd()}\n`
}

/** What came of it, for people: one sentence each line. */
export function describeSwitched(switched: Switched, plan: Plan): string {
  const { from, to, crashed, gapMs, gapFrom, held, took, phases } = switched
  const about = gapFrom === 'seen' ? 'about ' : ''
  const parts = Object.entries(took ?? {}).flatMap(([name, ms]) =>
    ms === null ? [] : [`${name.slice(0, -'Ms'.length)} ${seconds(ms)}`],
  )
  const gap = `${about}${seconds(gapMs)}${parts.length > 0 ? ` (${parts.join(', ')})` : ''}`
  const leads = to === from ? `${to} leads and serves again` : `${to} leads and serves instead of ${from}`
  const lines = [`${leads}; nobody served for ${gap}`]
  if (held !== null) lines.push(describeWaits(held))
  if (crashed) lines.push(`${from} ended before it could hand over: its Lease had to expire`)
  const led = phases.find(({ phase, pod }) => phase === 'acquired' && plan.candidates.includes(pod))?.pod
  if (isElsewhere(switched, plan) && led !== undefined)
    lines.push(`${led} had the Lease before ${to}: langflow-leader history says why its term ended`)
  else if (isElsewhere(switched, plan))
    lines.push(`${whom(plan)} was to lead, and did not take over: see langflow-leader status`)
  return `${lines.join('\n')}\n`
}

export function describeRequested({ from, candidates }: Plan): string {
  return `${from} is asked to hand over to ${candidates.join(' or ')}; see langflow-leader status\n`
}

/** Another one leads than was asked for, or the same as before. */
export function isElsewhere({ from, to }: Switched, { to: asked }: Plan): boolean {
  return to === from || (asked !== ANYBODY && to !== asked)
}

// What is printed for programs.

export function requestedResult({ from, to }: Plan) {
  return { result: 'requested', asked: to, from }
}

export function switchedResult(switched: Switched, plan: Plan) {
  return { result: isElsewhere(switched, plan) ? 'elsewhere' : 'switched', asked: plan.to, ...switched }
}

function whom({ to, candidates }: Plan): string {
  return to === ANYBODY ? candidates.join(' or ') : to
}
