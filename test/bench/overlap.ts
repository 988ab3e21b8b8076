import { overlapMs, readBeats, spansOf } from '../harness/judge.ts'
import { atMost, type Section } from './report.ts'

/** Judges from what the workloads wrote, one file a Lease, whether two ever acted at once. */
export function overlapSection(beats: readonly string[], expectedTerms: number): Section {
  const files = beats.map(readBeats)
  const spans = files.map(spansOf)
  const terms = sum(spans.map((one) => new Set(one.map(({ owner }) => owner)).size))
  const gaps = spans.flatMap(changes)
  return {
    title: 'Two acting at once',
    shape: 'figure',
    about: [
      'Each workload writes a line each 10 ms to a log that all replicas of its Lease share, on CLOCK_MONOTONIC; nothing else decides who acted when. All runs above and below, langflow-leader only: client-go was measured without a workload.',
    ],
    rows: [
      {
        what: 'time in which two replicas’ workloads acted at once',
        unit: 'ms',
        values: [sum(files.map(overlapMs))],
        target: atMost(0, 'ms'),
      },
      {
        what: 'workloads that acted, one a term of leadership',
        unit: '',
        values: [terms],
        target: { text: `≥ ${expectedTerms}`, met: ([value]) => (value ?? 0) >= expectedTerms },
      },
      ...(gaps.length === 0
        ? []
        : [
            {
              what: 'shortest time from one’s last line to the next one’s first',
              unit: 'ms',
              values: [Math.min(...gaps)],
            },
          ]),
    ],
    notes: [],
  }
}

/** From the end of each owner's acting to the start of the next one's, in ms. */
function changes(spans: ReturnType<typeof spansOf>): number[] {
  const inOrder = [...spans].sort((a, b) => a.from - b.from)
  return inOrder.flatMap((span, n) => {
    const before = inOrder[n - 1]
    return before === undefined || before.owner === span.owner ? [] : [span.from - before.to]
  })
}

function sum(values: readonly number[]): number {
  return values.reduce((a, b) => a + b, 0)
}
