import { type Beat, overlapMs, spansOf } from '../harness/judge.ts'
import { atMost, figure, type Section } from './report.ts'

/** Judges from what the workloads of each Lease wrote whether two ever acted at once. */
export function overlapSection(beats: readonly (readonly Beat[])[], expectedTerms: number): Section {
  const spans = beats.map(spansOf)
  const terms = spans.flatMap((one) => [...new Set(one.map(({ owner }) => owner))]).length
  // From the end of each owner's acting to the start of the next one's.
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
    title: 'Two acting at once',
    about: [
      'Each workload writes a line each 10 ms to a log that all replicas of its Lease share, on CLOCK_MONOTONIC; nothing else decides who acted when. All runs above and below, langflow-leader only: client-go was measured without a workload.',
    ],
    rows: [
      figure('time in which two replicas’ workloads acted at once', 'ms', overlap, atMost(0, 'ms')),
      figure('workloads that acted, one a term of leadership', '', terms, wanted),
      ...(gaps.length === 0
        ? []
        : [figure('shortest time from one’s last line to the next one’s first', 'ms', Math.min(...gaps))]),
    ],
    notes: [],
  }
}
