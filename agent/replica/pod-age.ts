import { readFileSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Clock, Instant } from '../clock.ts'

const BOOT_ID = '/proc/sys/kernel/random/boot_id'

/**
 * How long ago the first agent that used `directory` started, in whole milliseconds: in a pod, the pod's age. Counted by
 * the clock that no one sets; over a restart of the machine by the wall clock, so that only an order of pods may rest on
 * it. Throws nothing: `null` where it cannot be told.
 */
export function podAge(directory: string, clock: Clock): (now: Instant) => number | null {
  const file = join(directory, 'born')
  try {
    const bootId = readFileSync(BOOT_ID, 'utf8').trim()
    writeFileSync(file, JSON.stringify({ bootId, boot: clock.now().boot }), { flag: 'wx', mode: 0o600 })
  } catch {
    // It was there before, or cannot be written: what follows tells which.
  }
  try {
    const { bootId, boot } = JSON.parse(readFileSync(file, 'utf8')) as { bootId: string; boot: number }
    const wall = statSync(file).mtimeMs
    const sameBoot = bootId === readFileSync(BOOT_ID, 'utf8').trim() && Number.isFinite(boot)
    return (now) => Math.max(1, Math.round(sameBoot ? now.boot - boot : now.wall - wall))
  } catch {
    return () => null
  }
}
