import type { Paint } from './paint.ts'
import type { Told } from './scene.ts'

/** One happening as a line: when, who, what. */
export function lineOf({ atMs, replica, text }: Told, paint: Paint): string {
  const at = paint.faint(`${(atMs / 1_000).toFixed(1).padStart(6)} s`)
  return replica === null ? `${at}  ${paint.strong(text)}` : `${at}    ${replica}  ${text}`
}
