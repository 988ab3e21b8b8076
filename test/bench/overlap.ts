import { type Beat, overlapMs, spansOf } from '../harness/judge.ts'
import { atMost, figure, type Section } from './report.ts'

/** Judges, from the beats of the workloads of each Lease, whether two ever acted at the same time. */
export function overlapSection(beats: readonly (readonly Beat[])[], expectedTerms: number): Section {
  const spans = beats.map(spansOf)
  const terms = spans.flatMap((one) => [...new Set(one.map(({ owner }) => owner))]).length
  // The times from each owner's last beat to the next owner's first one.
  const gaps = spans.flatMap((one) =>
    one
      .toSorted((a, b) => a.from - b.from)
      .flatMap((span, n, all) => {
        const before = all[n - 1]
        return before === undefined || before.owner === span.owner ? [] : [span.from - before.to]
      }),
  )
  const overlap = beats.map(overlapMs).reduce((sum, ms) => sum + ms, 0)
  const wanted = {
    text: `≥ ${expectedTerms}`,
    met: ([value = 0]: readonly number[]) => value >= expectedTerms,
  }
  return {
    title: 'Overlap of two leaders',
    about: [
      'Each workload writes a line every 10 ms, with the time of CLOCK_MONOTONIC, to a log that all replicas of its Lease share. Only these lines count. They cover all runs on this page with langflow-leader; client-go was measured without a workload.',
    ],
    rows: [
      figure(
        'time in which workloads of two replicas acted at the same time',
        'ms',
        overlap,
        atMost(0, 'ms'),
      ),
      figure('workloads that acted, one per term', '', terms, wanted),
      ...(gaps.length === 0
        ? []
        : [
            figure(
              'shortest time from a workload’s last line to the next one’s first',
              'ms',
              Math.min(...gaps),
            ),
          ]),
    ],
    notes: [],
  }
}
