/** One attempt to use the service; nothing is tried twice. Times in milliseconds since the prober began. */
export interface Probe {
  /** From 1 on; the number in its message. */
  readonly number: number
  readonly sentMs: number
  readonly endedMs: number
  /** Why there was no good answer, in a few words; `null`: there was one. */
  readonly problem: string | null
}

/** How users fared. */
export interface Measured {
  readonly requests: number
  readonly failed: number
  /** What failures said, each once, with how often; the most frequent first. */
  readonly problems: readonly { readonly problem: string; readonly times: number }[]
  /** The slowest good answer; `null`: there was none. */
  readonly longestWaitMs: number | null
  /** The longest time from one good answer to the next: RTO. `null`: no good answer followed the last failure. */
  readonly rtoMs: number | null
  /** How many messages were acknowledged and are not stored: RPO. `null`: not measured. */
  readonly lost: number | null
}

/** The service counts as good when the prober begins. `kept`: the numbers of the messages that are stored; `null`: none are. */
export function measure(probes: readonly Probe[], kept: ReadonlySet<number> | null): Measured {
  const good = probes.filter(({ problem }) => problem === null)
  const bad = probes.filter(({ problem }) => problem !== null)
  const answeredMs = good.map(({ endedMs }) => endedMs).sort((a, b) => a - b)
  const lastMs = answeredMs.at(-1)
  const isOver = lastMs !== undefined && bad.every(({ sentMs }) => sentMs <= lastMs)
  const problems = Map.groupBy(bad, ({ problem }) => problem as string)
  return {
    requests: probes.length,
    failed: bad.length,
    problems: [...problems]
      .map(([problem, { length: times }]) => ({ problem, times }))
      .sort((a, b) => b.times - a.times),
    longestWaitMs: lastMs === undefined ? null : Math.max(...good.map((one) => one.endedMs - one.sentMs)),
    rtoMs: isOver ? Math.max(...answeredMs.map((at, i) => at - (answeredMs[i - 1] ?? 0))) : null,
    lost: kept && good.filter(({ number }) => !kept.has(number)).length,
  }
}
