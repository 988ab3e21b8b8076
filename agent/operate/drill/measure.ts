/** One attempt to use the service; nothing is tried twice. Times in milliseconds since the drill began. */
export interface Probe {
  /** From 1 on; the number in its message. */
  readonly number: number
  readonly sentMs: number
  readonly endedMs: number
  /** Why there was no good answer, in a few words; `null`: there was one. */
  readonly problem: string | null
}

/** From one moment to another, in milliseconds since the drill began. */
export interface Span {
  readonly fromMs: number
  readonly toMs: number
}

/** How users fared in a span. */
export interface Measured {
  readonly requests: number
  readonly failed: number
  /** What failures said, each once, with how often; the most frequent first. */
  readonly problems: readonly { readonly problem: string; readonly times: number }[]
  /** The slowest good answer; `null`: there was none. */
  readonly longestWaitMs: number | null
  /** The longest time from one good answer to the next: RTO. `null`: no good answer came any more. */
  readonly rtoMs: number | null
  /** When that was. */
  readonly outage: Span
}

/** Of all probes that were under way in the span. The service counts as good at its beginning, where no probe says so. */
export function measure(probes: readonly Probe[], { fromMs, toMs }: Span): Measured {
  const within = probes.filter(({ sentMs, endedMs }) => sentMs <= toMs && endedMs >= fromMs)
  const good = within.filter(({ problem }) => problem === null)
  const bad = within.flatMap(({ problem }) => problem ?? [])
  const answers = probes
    .filter(({ problem, sentMs }) => problem === null && sentMs <= toMs)
    .map(({ endedMs }) => endedMs)
    .sort((a, b) => a - b)
  const before = answers.findLast((at) => at <= fromMs) ?? fromMs
  const after = answers.filter((at) => at > fromMs)
  let outage = { fromMs: before, toMs: after[0] ?? toMs }
  for (const [n, at] of after.entries()) {
    const next = after[n + 1]
    if (next !== undefined && next - at > outage.toMs - outage.fromMs) outage = { fromMs: at, toMs: next }
  }
  const last = after.at(-1)
  // Failures that no good answer follows: it is not over.
  const over = last !== undefined && !within.some((one) => one.problem !== null && one.sentMs > last)
  return {
    requests: within.length,
    failed: bad.length,
    problems: tally(bad),
    longestWaitMs:
      good.length === 0 ? null : Math.max(...good.map(({ sentMs, endedMs }) => endedMs - sentMs)),
    rtoMs: over ? outage.toMs - outage.fromMs : null,
    outage: over ? outage : { fromMs: last ?? before, toMs },
  }
}

function tally(problems: readonly string[]): { problem: string; times: number }[] {
  return [...Map.groupBy(problems, (problem) => problem)]
    .map(([problem, { length: times }]) => ({ problem, times }))
    .sort((a, b) => b.times - a.times)
}

/** The numbers of the messages that were acknowledged and are not kept: RPO is how many. */
export function missing(probes: readonly Probe[], kept: ReadonlySet<number>): number[] {
  return probes
    .filter(({ problem, number }) => problem === null && !kept.has(number))
    .map(({ number }) => number)
    .sort((a, b) => a - b)
}
