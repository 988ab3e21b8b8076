import type { StandbyMode } from '../../../agent/link/standby.ts'

/** `spare`: one replica alone, which restarts its LangFlow in place from a warm one beside it. */
export type Mode = StandbyMode | 'spare'

/** The coldest first, as in all tables. */
export const MODES: readonly Mode[] = ['cold', 'warm', 'spare']

/** What the replicas of a mode are told. */
export const MODE_FLAGS: Readonly<Record<Mode, readonly string[]>> = {
  cold: ['--standby=cold'],
  warm: ['--standby=warm'],
  spare: ['--standby=warm', '--spare', '--on-crash=restart'],
}

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
