const UNIT_MS = { h: 3_600_000, m: 60_000, s: 1000, ms: 1 } as const

const WHOLE = /^(?:\d+(?:\.\d+)?(?:ms|h|m|s))+$/
const PART = /(\d+(?:\.\d+)?)(ms|h|m|s)/g
const LONGEST_TEXT = 32

/** Node's timers take at most 24.8 days; a day is more than any of the flags can want. */
const LONGEST_MS = 24 * UNIT_MS.h

/**
 * Milliseconds of a duration as Go writes them: `15s`, `1m30s`, `500ms`, and a plain `0`. Throws an Error whose
 * message says what to write instead.
 *
 * @param minMs the least that is allowed, from 0
 */
export function parseDuration(text: string, minMs: number): number {
  const ms = text === '0' ? 0 : milliseconds(text)
  if (ms < minMs) throw new Error(`use at least ${formatDuration(minMs)}`)
  if (ms > LONGEST_MS) throw new Error(`use at most ${formatDuration(LONGEST_MS)}`)
  return ms
}

function milliseconds(text: string): number {
  if (text.startsWith('-')) throw new Error('a duration cannot be negative; write it as 15s, 1m30s or 500ms')
  if (/^\d+(\.\d+)?$/.test(text)) throw new Error(`a duration needs a unit, such as ${text}s or ${text}ms`)
  if (text.length > LONGEST_TEXT || !WHOLE.test(text)) {
    throw new Error('write a duration with the units h, m, s and ms, such as 15s, 1m30s or 500ms')
  }
  let ms = 0
  for (const [, number, unit] of text.matchAll(PART))
    ms += Number(number) * UNIT_MS[unit as keyof typeof UNIT_MS]
  // 0.3 s is 299.99999999999994 ms in binary; anything that is far from a whole number was meant so.
  const rounded = Math.round(ms)
  if (Math.abs(ms - rounded) > 1e-6) throw new Error(`use whole milliseconds, such as ${Math.ceil(ms)}ms`)
  return rounded
}

/** The shortest text that `parseDuration` reads as `ms` (a whole number from 0), such as `1m30s`. */
export function formatDuration(ms: number): string {
  if (ms === 0) return '0s'
  let rest = ms
  let text = ''
  for (const [unit, size] of Object.entries(UNIT_MS)) {
    const count = Math.floor(rest / size)
    if (count > 0) text += `${count}${unit}`
    rest -= count * size
  }
  return text
}
