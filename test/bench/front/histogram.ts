/** A histogram in Prometheus' text format, or the difference between two reads of one. */
interface Histogram {
  /** For each upper bound, the smallest first: the number of values that are at most the bound. */
  readonly counts: readonly (readonly [bound: number, count: number])[]
  readonly sum: number
}

/** Reads a histogram without labels. Throws if the text has none with this name. */
export function readHistogram(text: string, name: string): Histogram {
  const line = (suffix: string) => new RegExp(`^${name}_${suffix} (\\S+)$`, 'gm')
  const counts = [...text.matchAll(line('bucket\\{le="([^"]+)"\\}'))].map(
    ([, bound, count]) =>
      [bound === '+Inf' ? Number.POSITIVE_INFINITY : Number(bound), Number(count)] as const,
  )
  const [[, sum] = []] = [...text.matchAll(line('sum'))]
  if (counts.length === 0 || sum === undefined) throw new Error(`no histogram ${name} is exposed`)
  return { counts, sum: Number(sum) }
}

export function added(before: Histogram, after: Histogram): Histogram {
  return {
    counts: after.counts.map(([bound, count], n) => [bound, count - (before.counts[n]?.[1] ?? 0)]),
    sum: after.sum - before.sum,
  }
}

function countOf({ counts }: Histogram): number {
  return counts.at(-1)?.[1] ?? 0
}

/** The mean of its values. `undefined` without values, as is `boundOf`. */
export function meanOf(histogram: Histogram): number | undefined {
  return countOf(histogram) === 0 ? undefined : histogram.sum / countOf(histogram)
}

/** The smallest bound that no value exceeds. */
export function boundOf(histogram: Histogram): number | undefined {
  const all = countOf(histogram)
  return all === 0 ? undefined : histogram.counts.find(([, count]) => count === all)?.[0]
}
