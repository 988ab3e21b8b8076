import type { StandbyMode } from '../../../agent/link/messages.ts'

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

export const FAULTS = ['worker', 'replica', 'switchover', 'agent', 'api'] as const

export type FaultName = (typeof FAULTS)[number]

export interface Fault {
  readonly title: string
  /** What is done, in one sentence. */
  readonly about: string
  /** Whether another replica has to take over; otherwise the same LangFlow process has to go on. */
  readonly moves: boolean
  /** How it is called in the overview. */
  readonly short: string
}

export const API_FREEZE_MS = 12_000

export const FAULT: Readonly<Record<FaultName, Fault>> = {
  worker: {
    title: 'LangFlow’s worker is killed',
    short: 'worker killed',
    about: 'SIGKILL to the uvicorn worker of the leader, as the kernel does when memory runs out.',
    moves: true,
  },
  replica: {
    title: 'The whole replica is killed',
    short: 'replica killed',
    about:
      'SIGKILL to the leader’s agent and to the init of its LangFlow container, with which the kernel ends all of LangFlow: as a node does that fails.',
    moves: true,
  },
  switchover: {
    title: 'Clean switchover',
    short: 'switchover',
    about: 'SIGTERM to the leader’s agent.',
    moves: true,
  },
  agent: {
    title: 'The agent is killed and started again',
    short: 'agent killed',
    about: 'SIGKILL to the leader’s agent; it is started again at once, as the kubelet does with a sidecar.',
    moves: false,
  },
  api: {
    title: `The API server is frozen for ${API_FREEZE_MS / 1000} s`,
    short: 'API frozen 12 s',
    about: `SIGSTOP to kube-apiserver, SIGCONT after ${API_FREEZE_MS / 1000} s. Until then requests go on to the replica that was ready before, and wait where it is frozen as well; then the client hears at once whether the gate is still closed.`,
    moves: false,
  },
}

/** A replica alone restarts its LangFlow in place; with another fault nobody would take over. */
export function appliesTo(fault: FaultName, mode: Mode): boolean {
  return mode !== 'spare' || fault === 'worker'
}

/** Whether the same LangFlow process must go on. A Lease that ends sooner than the API server comes back is lost. */
export function survives(fault: FaultName, { leaseMs }: Preset): boolean {
  return fault === 'api' ? leaseMs > API_FREEZE_MS : !FAULT[fault].moves
}
