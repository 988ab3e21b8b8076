/** A histogram of Prometheus' text format, or what came into one between two looks. */
export interface Histogram {
  /** By upper bound, the smallest first: how many are at most that. */
  readonly counts: readonly (readonly [bound: number, count: number])[]
  readonly sum: number
}

/** One without labels. Throws where the text has none of that name. */
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

export function countOf({ counts }: Histogram): number {
  return counts.at(-1)?.[1] ?? 0
}

/** `undefined` where it has no values; so is `boundOf`. */
export function meanOf(histogram: Histogram): number | undefined {
  return countOf(histogram) === 0 ? undefined : histogram.sum / countOf(histogram)
}

/** The smallest of its bounds that no value exceeds. */
export function boundOf(histogram: Histogram): number | undefined {
  const all = countOf(histogram)
  return all === 0 ? undefined : histogram.counts.find(([, count]) => count === all)?.[0]
}
