import { readFileSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Clock, Instant } from '../clock.ts'
import { bootId } from '../processes/proc.ts'

/**
 * How long ago the first agent that used `directory` started, in whole milliseconds: in a pod, the pod's age. Counted by
 * the clock that no one sets; over a restart of the machine by the wall clock, so that only an order of pods may rest on
 * it. Throws nothing: `null` where it cannot be told.
 */
export function podAge(directory: string, clock: Clock): (now: Instant) => number | null {
  const file = join(directory, 'born')
  try {
    const { boot, mono } = clock.now()
    const born = { bootId: bootId(), boot, mono }
    writeFileSync(file, JSON.stringify(born), { flag: 'wx', mode: 0o600 })
  } catch {
    // It was there before, or cannot be written: what follows tells which.
  }
  try {
    const born = JSON.parse(readFileSync(file, 'utf8')) as { bootId: string; boot: number; mono: number }
    const wall = statSync(file).mtimeMs
    const sameBoot = born.bootId === bootId() && Number.isFinite(born.boot) && Number.isFinite(born.mono)
    // One of the two has stood still while the machine was suspended, the other may begin anew with each container (see `Instant`).
    const since = (now: Instant) => Math.max(now.boot - born.boot, now.mono - born.mono)
    return (now) => Math.max(1, Math.round(sameBoot ? since(now) : now.wall - wall))
  } catch {
    return () => null
  }
}
