/** The summary of a sample. Percentiles are nearest-rank: each of them is a measured value. */
interface Summary {
  readonly n: number
  readonly min: number
  readonly median: number
  readonly p95: number
  readonly p99: number
  readonly max: number
}

/**
 * The smallest value that is at least as large as `share` of all values. `share`: above 0, up to 1. Throws a RangeError if there
 * are no values.
 */
export function percentile(values: readonly number[], share: number): number {
  const sorted = [...values].sort((a, b) => a - b)
  const found = sorted[Math.ceil(sorted.length * share) - 1]
  if (found === undefined) throw new RangeError('no values to take a percentile of')
  return found
}

export function summarise(values: readonly number[]): Summary {
  return {
    n: values.length,
    min: Math.min(...values),
    median: percentile(values, 0.5),
    p95: percentile(values, 0.95),
    p99: percentile(values, 0.99),
    max: Math.max(...values),
  }
}
