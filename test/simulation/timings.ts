import { contradiction } from '../../agent/config/timings.ts'
import { START_TIMEOUT_MS } from './agent-host.ts'
import type { Random } from './random.ts'
import type { ReplicaConfig } from './replica.ts'

const KILL_MARGIN_MS = 1_000
export const LONGEST_QUIET_MS = 8_000

/** The configurations of a run's replicas: one, or two while a rolling change is under way. */
export class Timings {
  private readonly random: Random
  private readonly before: ReplicaConfig
  /** `null`: no configuration changes in this run. */
  private readonly after: ReplicaConfig | null

  /**
   * On average, each fourth run is in the middle of a change. LangFlow's versions have a generator of their own,
   * `versions`, so that they don't shift the other draws of a seed.
   */
  constructor(random: Random, versions: Random, failsafe: Random) {
    this.random = random
    const before = draw(random, 'old')
    const after = random.chance(0.25) ? change(random, before) : null
    // Half of the runs have failsafe. In some of them, the change turns it on or off.
    const longest = Math.max(before.leaseDurationMs, after?.leaseDurationMs ?? 0)
    const failsafeMaxMs = longest * failsafe.whole(2, 5)
    const on = failsafe.chance(0.5)
    const of = (is: boolean) => ({ failsafe: is ? ('peers' as const) : ('none' as const), failsafeMaxMs })
    const [older, newer] = versionsOf(versions)
    const gateMs = versions.chance(0.3) ? versions.between(0, 2_000) : 0
    const quietTimeoutMs = versions.chance(0.8) ? versions.between(0, LONGEST_QUIET_MS) : 0
    const front = { gateMs, quietTimeoutMs }
    this.before = { ...before, ...older, ...front, ...of(on) }
    const later = failsafe.chance(0.2) ? !on : on
    this.after = after === null ? null : { ...after, ...newer, ...front, ...of(later) }
  }

  get failsafe(): boolean {
    return [this.before, this.after].some((config) => config?.failsafe === 'peers')
  }

  get change(): boolean {
    return this.after !== null
  }

  /** The next instance's configuration. With `again` it replaces an earlier instance, so that it has the new one. */
  next(again: boolean): ReplicaConfig {
    const { before, after } = this
    return after !== null && (again || this.random.chance(0.3)) ? after : before
  }
}

/** Two thirds of the runs have the default timings. The others have any timings that the product accepts. */
function draw(random: Random, revision: string): ReplicaConfig {
  const drawn = {
    leaseDurationMs: 1_000 * random.whole(5, 25),
    renewDeadlineMs: 100 * random.whole(30, 200),
    retryPeriodMs: 100 * random.whole(5, 50),
    killMarginMs: 100 * random.whole(3, 25),
  }
  const onDoubt = random.chance(0.75) ? 'freeze' : 'stop'
  const usual = { ...DEFAULT, killMarginMs: KILL_MARGIN_MS }
  const timings = random.chance(2 / 3) || contradiction({ ...drawn, onDoubt }) !== null ? usual : drawn
  const standby = random.chance(0.6) ? 'warm' : 'cold'
  const rest = {
    drainTimeoutMs: 5_000,
    streamGraceMs: 2_000,
    stopTimeoutMs: 6_000,
    startTimeoutMs: START_TIMEOUT_MS,
    owner: null,
    onChange: 'handover' as const,
    gateMs: 0,
    quietTimeoutMs: 0,
    failsafe: 'none' as const,
    failsafeMaxMs: 600_000,
    ...UNKNOWN,
  }
  return { ...timings, ...rest, onDoubt, standby, revision }
}

const UNKNOWN = { langflow: null }
const OLDER = { langflow: '1.12.8' }
const NEWER = { langflow: '1.13.0' }

/** LangFlow's versions before and after the change: most often an upgrade. */
function versionsOf(random: Random) {
  if (random.chance(0.6)) return [OLDER, NEWER] as const
  if (random.chance(0.4)) return [NEWER, NEWER] as const
  return random.pick([
    [UNKNOWN, UNKNOWN],
    [UNKNOWN, NEWER],
    [NEWER, UNKNOWN],
  ] as const)
}

const DEFAULT = { leaseDurationMs: 15_000, renewDeadlineMs: 10_000, retryPeriodMs: 2_000 }
const FAST = { leaseDurationMs: 6_000, renewDeadlineMs: 4_000, retryPeriodMs: 1_000 }

/** Changes to fast timings, away from them, or to random timings. */
function change(random: Random, before: ReplicaConfig): ReplicaConfig {
  if (random.chance(0.3)) return draw(random, 'new')
  const timings = before.leaseDurationMs === FAST.leaseDurationMs ? DEFAULT : FAST
  return { ...before, ...timings, killMarginMs: KILL_MARGIN_MS, revision: 'new' }
}
