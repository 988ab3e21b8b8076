import { statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Clock } from '../clock.ts'

/**
 * How long ago the first agent of this pod started, in milliseconds: told by a file in `directory`, which lives as long
 * as the pod. By the wall clock, so that only an order of pods may rest on it. Rejects nothing: `null` where it cannot be
 * told.
 */
export function podAge(directory: string, clock: Clock): () => number | null {
  const file = join(directory, 'born')
  try {
    writeFileSync(file, '', { flag: 'wx', mode: 0o600 })
  } catch {
    // It was there before, or cannot be written: what follows tells which.
  }
  try {
    const bornAt = statSync(file).mtimeMs
    return () => Math.max(1, clock.now().wall - bornAt)
  } catch {
    return () => null
  }
}
