/** One sign that an actor executed at an instant: a line it wrote, or an answer it gave. */
export interface Beat {
  /** One process that acts, e.g. a replica's workload in one epoch. */
  readonly actor: string
  /** CLOCK_MONOTONIC in milliseconds. */
  readonly at: number
}

export interface Interval {
  readonly actor: string
  readonly from: number
  readonly to: number
}

export interface Rhythm {
  /** Milliseconds from one beat to the next; the actor may go on for so long after its last one. */
  readonly periodMs: number
  /**
   * A longer silence, in milliseconds, is one in which the actor did not execute (frozen, or dead). Too long finds
   * overlaps that were none, too short hides real ones: so it is much longer than a busy machine delays a beat.
   */
  readonly silenceMs: number
}

/**
 * How the stand-in beats, and how often the port of any other workload is asked. Not even a busy machine delays a process by a
 * quarter of a second; for an answer a busy workload may need nearly one.
 */
export const RHYTHMS = {
  beats: { periodMs: 10, silenceMs: 250 },
  answers: { periodMs: 50, silenceMs: 1_000 },
} as const satisfies Record<string, Rhythm>

/** When each actor acted, in the order of its beats. */
export function actingIntervals(beats: readonly Beat[], { periodMs, silenceMs }: Rhythm): Interval[] {
  const intervals: Interval[] = []
  for (const [actor, own] of Map.groupBy(beats, (beat) => beat.actor)) {
    const times = own.map((beat) => beat.at).sort((a, b) => a - b)
    let from = times[0]!
    for (const [n, at] of times.entries()) {
      const next = times[n + 1]
      if (next !== undefined && next - at <= silenceMs) continue
      intervals.push({ actor, from, to: at + periodMs })
      from = next ?? at
    }
  }
  return intervals
}

/** Milliseconds during which at least two different actors acted; 0 when they only touch. */
export function overlapMs(intervals: readonly Interval[]): number {
  const edges = intervals.flatMap(({ from, to }) => [from, to]).sort((a, b) => a - b)
  let total = 0
  for (const [n, edge] of edges.entries()) {
    const acting = intervals.filter(({ from, to }) => from <= edge && edge < to)
    if (new Set(acting.map(({ actor }) => actor)).size > 1) total += edges[n + 1]! - edge
  }
  return total
}
