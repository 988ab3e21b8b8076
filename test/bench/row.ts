import { percentile } from './statistics.ts'

/** What a row must show. Without a single value nothing is met. */
export interface Target {
  readonly text: string
  met(values: readonly number[]): boolean
}

export interface Row {
  readonly what: string
  /** Empty: a bare number. */
  readonly unit: string
  readonly values: readonly number[]
  /** None: shown for comparison. */
  readonly target?: Target
}

/** One table. */
export interface Section {
  readonly title: string
  /** What the numbers mean, one line each. */
  readonly about: readonly string[]
  /** `spread`: a sample a row; `figure`: one value a row. */
  readonly shape: 'spread' | 'figure'
  readonly rows: readonly Row[]
  readonly notes: readonly string[]
  /** Why the measurement broke off: as bad as a missed target. */
  readonly failure?: string
}

/** Every single value is at most `limit`. */
export function atMost(limit: number, unit: string): Target {
  return {
    text: `≤ ${limit} ${unit}`,
    met: (values) => values.length > 0 && Math.max(...values) <= limit,
  }
}

/** `percent`: 1 to 100, of the values that are at most `limit`. */
export function percentileAtMost(percent: number, limit: number, unit: string): Target {
  return {
    text: `p${percent} ≤ ${limit} ${unit}`,
    met: (values) => values.length > 0 && percentile(values, percent / 100) <= limit,
  }
}

export function missed({ target, values }: Row): boolean {
  return target !== undefined && !target.met(values)
}

/** How ours compares with the peer's, as a line; nothing where either was not measured. */
export function ratio(what: string, ours: readonly number[], peer: readonly number[]): string[] {
  if (ours.length === 0 || peer.length === 0) return []
  const quotient = percentile(ours, 0.5) / percentile(peer, 0.5)
  return [`${what}, ratio of the medians (langflow-leader / client-go): **${quotient.toPrecision(2)}**`]
}
