const UNITS = [
  ['d', 86_400],
  ['h', 3_600],
  ['min', 60],
  ['s', 1],
] as const

/** How long something takes, for people: `84 ms`, `1.84 s`, `12.3 s`, `3 min 20 s`, `2 d 4 h`. `ms`: from 0. */
export function lasting(ms: number): string {
  if (ms < 1_000) return `${Math.round(ms)} ms`
  if (ms < 60_000) return `${(ms / 1_000).toFixed(ms < 10_000 ? 2 : 1)} s`
  let rest = Math.floor(ms / 1_000)
  const first = UNITS.findIndex(([, size]) => rest >= size)
  const parts = UNITS.slice(first, first + 2).map(([unit, size]) => {
    const count = Math.floor(rest / size)
    rest -= count * size
    return count === 0 ? '' : `${count} ${unit}`
  })
  return parts.filter((part) => part !== '').join(' ')
}

/** The same in whole seconds, then minutes. */
export function roughly(ms: number): string {
  return ms < 60_000 ? `${Math.floor(Math.max(0, ms) / 1_000)} s` : lasting(ms)
}

/** `2026-01-02 03:04:05 UTC` of an RFC 3339 time, or the text itself where it is none. */
export function utc(time: string): string {
  const at = Date.parse(time)
  return Number.isNaN(at) ? time : `${new Date(at).toISOString().slice(0, 19).replace('T', ' ')} UTC`
}
