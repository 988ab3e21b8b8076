import { table } from '../support/markdown.ts'
import type { Rollout } from './rollout.ts'
import type { Kind, Traffic } from './workload.ts'

export interface Combination {
  readonly traffic: Traffic
  readonly kind: Kind
  readonly replicas: number
}

/** The name of the part of docs/deploy.md that is measured. */
export const ROLLOUTS_PART = 'rollouts'

export const COMBINATIONS: readonly Combination[] = (['readiness', 'label', 'slice'] as const).flatMap(
  (traffic) =>
    (['Deployment', 'StatefulSet'] as const).flatMap((kind) =>
      [1, 2, 3].map((replicas) => ({ traffic, kind, replicas })),
    ),
)

/** As it is asked for: `label/Deployment/2`. */
export function nameOf({ traffic, kind, replicas }: Combination): string {
  return `${traffic}/${kind}/${replicas}`
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

/** The part of the page. `facts`: on what and when it was measured. */
export function rolloutsText(
  measured: readonly (readonly [Combination, Rollout])[],
  facts: readonly (readonly [string, string])[],
): string {
  return [
    `Written by \`npm run bench:rollouts\` on a cluster of one node (${facts.map(([name, value]) => `${name}: ${value}`).join('; ')}). LangFlow is a stand-in that starts in one second, behind a client that asks the Service 20 times a second and never tries twice.`,
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
      measured.map(([{ traffic, kind, replicas }, rollout]) => [
        traffic,
        kind,
        String(replicas),
        rollout.allNewMs === null ? '**never**' : seconds(rollout.allNewMs),
        String(rollout.handovers),
        rollout.statusMs === null ? 'does not end' : `success after ${seconds(rollout.statusMs)}`,
        seconds(rollout.awayMs),
        `${rollout.failed} of ${rollout.calls}`,
        `${rollout.overlapMs.toFixed(0)} ms`,
      ]),
    ),
  ].join('\n\n')
}

function seconds(ms: number): string {
  return `${(ms / 1000).toFixed(1)} s`
}
