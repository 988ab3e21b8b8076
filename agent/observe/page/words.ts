import type { AcquiredBecause, EndedBecause } from '../../lease/reasons.ts'

const BEGAN: Readonly<Record<AcquiredBecause, string>> = {
  released: 'the Lease was released',
  expired: 'the leader before did not renew the Lease',
  never_held: 'nobody had held the Lease',
  deleted: 'the Lease was deleted',
  cleared: 'somebody emptied the Lease',
  own_write: 'a late write of its own held the Lease',
  resumed: 'a restarted agent took its grant back',
  pod_restarted: 'its pod was killed and restarted',
}

const ENDED: Readonly<Record<EndedBecause | 'expired', string>> = {
  expired: 'it vanished',
  terminated: 'the agent was told to end',
  container_ending: "LangFlow's container was told to end",
  switchover: 'an operator asked for a switchover',
  newer_revision: 'a replica of a newer revision was ready',
  faster_standby: 'another replica was ready sooner',
  front_down: 'requests did not reach it',
  revision_failed: 'the first start of its revision failed',
  pod_restarted: 'its pod was killed and restarted',
  workload_exited: 'LangFlow ended by itself',
  workload_unhealthy: 'LangFlow was unhealthy',
  workload_lost: 'LangFlow lost a worker or its master',
  start_refused: 'LangFlow could not be started',
  start_timeout: 'LangFlow did not become healthy in time',
  launcher_gone: 'the launcher was gone',
  launcher_silent: 'the launcher did not answer',
  deadman: 'the launcher stopped LangFlow by itself',
  no_renewal: 'no renewal was acknowledged in time',
  held_by_other: 'another replica held the Lease',
  lease_gone: 'the Lease was deleted',
  identity_taken: 'another process used its name',
}

/** Why a term began, as the second half of a sentence. A later version may have more reasons. */
export function whyBegan(code: AcquiredBecause): string {
  return BEGAN[code] ?? code
}

export function whyEnded(code: EndedBecause | 'expired'): string {
  return ENDED[code] ?? code
}

const FAILED: Readonly<Record<string, string>> = {
  hold_timeout: 'held for too long',
  hold_limit: 'with too many held already',
  outcome_unknown: 'with an unknown outcome',
  cut: 'cut off in the answer',
  client_gone: 'given up by the client',
}

/** Why a request failed at a front, after its number. A later version may have more reasons. */
export function whyFailed(code: string): string {
  return FAILED[code] ?? code
}

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

/** The same, as coarse as what changes only from time to time: whole seconds, then minutes. */
export function roughly(ms: number): string {
  return ms < 60_000 ? `${Math.floor(Math.max(0, ms) / 1_000)} s` : lasting(ms)
}

/** `2026-01-02 03:04:05 UTC` of an RFC 3339 time, or the text itself where it is none. */
export function utc(time: string): string {
  const at = Date.parse(time)
  return Number.isNaN(at) ? time : `${new Date(at).toISOString().slice(0, 19).replace('T', ' ')} UTC`
}
