import { summarise, table } from '../harness/report.ts'
import type { Rollout } from './rollout.ts'
import type { Kind, Traffic } from './workload.ts'

export interface Combination {
  readonly traffic: Traffic
  readonly kind: Kind
  readonly replicas: number
  /** deploy/production with the real LangFlow, instead of the stand-in. */
  readonly real?: true
}

/** The name of the part of docs/deploy.md that is measured. */
export const ROLLOUTS_PART = 'rollouts'

export const COMBINATIONS: readonly Combination[] = [
  ...(['readiness', 'label', 'slice'] as const).flatMap((traffic) =>
    (['Deployment', 'StatefulSet'] as const).flatMap((kind) =>
      [1, 2, 3].map((replicas) => ({ traffic, kind, replicas })),
    ),
  ),
  { traffic: 'label', kind: 'Deployment', replicas: 2, real: true },
]

/** As it is asked for: `label/Deployment/2`, or `langflow`. */
export function nameOf({ traffic, kind, replicas, real }: Combination): string {
  return real ? 'langflow' : `${traffic}/${kind}/${replicas}`
}

/** What a rollout was to be and was not; empty: nothing. */
export function shortcomings({ traffic, kind }: Combination, rollout: Rollout): string[] {
  // A StatefulSet replaces its highest ordinal first, and a leader there has nobody new to hand over to.
  const most = kind === 'StatefulSet' && traffic !== 'readiness' ? 2 : 1
  return [
    ...(rollout.allNewMs === null ? ['old pods are left'] : []),
    ...(rollout.handovers >= 1 && rollout.handovers <= most ? [] : [`${rollout.handovers} handovers`]),
    ...(traffic !== 'readiness' && rollout.statusMs === null
      ? ['kubectl rollout status did not succeed']
      : []),
    ...rollout.violations,
  ]
}

/**
 * The part of the page. `measured`: the rollouts of each combination, one after the other on one installation. `facts`: on
 * what and when it was measured.
 */
export function rolloutsText(
  measured: readonly (readonly [Combination, readonly Rollout[]])[],
  facts: readonly (readonly [string, string])[],
): string {
  return [
    `Written by \`npm run bench:rollouts\` on a cluster of one node (${facts.map(([name, value]) => `${name}: ${value}`).join('; ')}). LangFlow is a stand-in that starts in one second, but for the last row: deploy/production with the real one, warm, on PostgreSQL. A client asks the Service 20 times a second and never tries twice. The rollouts of a row follow each other on one installation: times are the median and, in brackets, the longest.`,
    table(
      [
        'traffic',
        'kind',
        'replicas',
        'all pods new',
        'handovers',
        '`rollout status`',
        'no answer for',
        'failed',
        'two acting',
      ],
      ['-', '-', '-:', '-:', '-:', '-', '-:', '-:', '-:'],
      measured.map(([{ traffic, kind, replicas, real }, rollouts]) => [
        real ? `${traffic}, real LangFlow` : traffic,
        kind,
        String(replicas),
        allNew(rollouts),
        rollouts.map(({ handovers }) => handovers).join(', '),
        successes(rollouts),
        seconds(rollouts.map(({ awayMs }) => awayMs)),
        `${sum(rollouts.map(({ failed }) => failed))} of ${sum(rollouts.map(({ calls }) => calls))}`,
        real ? 'not told' : `${Math.max(...rollouts.map(({ overlapMs }) => overlapMs)).toFixed(0)} ms`,
      ]),
    ),
  ].join('\n\n')
}

function allNew(rollouts: readonly Rollout[]): string {
  const times = known(rollouts.map(({ allNewMs }) => allNewMs))
  return times.length < rollouts.length ? '**never**' : seconds(times)
}

function successes(rollouts: readonly Rollout[]): string {
  const times = known(rollouts.map(({ statusMs }) => statusMs))
  if (times.length === 0) return 'does not end'
  const missing = rollouts.length - times.length
  return `success after ${seconds(times)}${missing > 0 ? `; **${missing} did not end**` : ''}`
}

function known(times: readonly (number | null)[]): number[] {
  return times.filter((time) => time !== null)
}

/** Median and, in brackets, the longest. */
function seconds(times: readonly number[]): string {
  const { median, max } = summarise(times)
  return `${(median / 1000).toFixed(1)} s (${(max / 1000).toFixed(1)})`
}

function sum(numbers: readonly number[]): number {
  return numbers.reduce((total, one) => total + one, 0)
}
