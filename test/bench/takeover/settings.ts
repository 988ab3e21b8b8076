import type { StandbyMode } from '../../../agent/workload/standby.ts'

/** The coldest first, as in all tables. */
export const MODES: readonly StandbyMode[] = ['cold', 'warm']

/** How fast a Lease is. */
export interface Preset {
  readonly name: string
  readonly flags: readonly string[]
  readonly leaseMs: number
  readonly retryMs: number
  /** In words: lease duration, renew deadline, retry period. */
  readonly text: string
}

export const DEFAULT: Preset = {
  name: 'default',
  flags: [],
  leaseMs: 15_000,
  retryMs: 2_000,
  text: '15 s, 10 s, 2 s',
}

export const FAST: Preset = {
  name: 'fast',
  flags: ['--lease-duration=6s', '--renew-deadline=4s', '--retry-period=1s'],
  leaseMs: 6_000,
  retryMs: 1_000,
  text: '6 s, 4 s, 1 s',
}

export const PRESETS: readonly Preset[] = [DEFAULT, FAST]
