import { randomBytes } from 'node:crypto'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Command } from 'commander'
import type { Listen, Peer, Target } from './address.ts'
import { defaultIdentity } from './names.ts'
import { type Pod, podOf } from './pod.ts'
import { addSettings, readSettings, type Values } from './setting.ts'
import { AGENT_SETTINGS, SHARED_SETTINGS } from './settings.ts'
import { contradiction, type Timings, timingsOf } from './timings.ts'
import { type SaidTraffic, type TrafficOptions, trafficOf } from './traffic.ts'

export type LogLevel = 'trace' | 'debug' | 'info' | 'warn' | 'error' | 'fatal' | 'silent'

/** All that an agent is told. Times in milliseconds. */
export interface AgentOptions extends Timings {
  readonly identity: string
  readonly pod: Pod
  readonly leaseName: string
  /** `null`: the pod's own, else the kubeconfig's. */
  readonly leaseNamespace: string | null
  /** `null`: in-cluster, else `$KUBECONFIG`, else `~/.kube/config`. */
  readonly kubeconfig: string | null
  readonly onDoubt: 'freeze' | 'stop'
  readonly listen: Listen
  readonly socket: string
  /** A directory that only the agent can write: its launcher's token survives a restart there. */
  readonly stateDir: string
  readonly target: Target
  readonly standby: 'cold' | 'warm'
  /** A warm one is also kept beside the LangFlow that serves, for it to be restarted from. */
  readonly spare: boolean
  /** LangFlow may take over also what a newer one has led. */
  readonly allowOlder: boolean
  readonly onCrash: 'handover' | 'restart'
  /** `null`: nobody is asked. */
  readonly peers: Peer | null
  readonly traffic: TrafficOptions
  readonly healthIntervalMs: number
  readonly healthTimeoutMs: number
  /** 1 to 999. */
  readonly healthFailures: number
  readonly startTimeoutMs: number
  /** From 0. */
  readonly drainTimeoutMs: number
  /** From 0. */
  readonly stopTimeoutMs: number
  readonly logLevel: LogLevel
}

/** All that a launcher is told. */
export interface LauncherOptions {
  readonly socket: string
  /** From SIGTERM to SIGKILL when the launcher ends by itself; from 0. */
  readonly stopTimeoutMs: number
  readonly logLevel: LogLevel
  /** The program and its arguments, as they stood after `--`; at least the program. */
  readonly command: readonly [string, ...string[]]
}

export interface RunOptions {
  readonly agent: AgentOptions
  readonly launcher: LauncherOptions
  /**
   * Where socket and state are unless the flags name other places: a path that does not exist yet, to be made with
   * mode 0700 and removed at the end; `null`: nothing is to be made.
   */
  readonly privateDir: string | null
}

/** Without a pod around it, `run` shares its socket with nobody, and needs no directory that only root can make. */
const PRIVATE = { otherwise: 'in a private temporary directory' }
const RUN_SETTINGS = {
  ...AGENT_SETTINGS,
  socket: { ...omitFallback(AGENT_SETTINGS.socket), ...PRIVATE },
  stateDir: { ...omitFallback(AGENT_SETTINGS.stateDir), ...PRIVATE },
}

/** Adds the agent's flags to its command. */
export function agentOptions(command: Command): Command {
  addSettings(command, AGENT_SETTINGS)
  return command
}

/** Reads what `agentOptions` added. Ends with a usage error where something is wrong. */
export function parseAgentOptions(command: Command, env: NodeJS.ProcessEnv = process.env): AgentOptions {
  return toAgentOptions(command, readSettings(command, AGENT_SETTINGS, env), env)
}

/** Adds the launcher's flags and the workload's command to its command. */
export function launcherOptions(command: Command): Command {
  addSettings(command, SHARED_SETTINGS)
  return takesCommand(command)
}

/** Reads what `launcherOptions` added. Ends with a usage error where something is wrong. */
export function parseLauncherOptions(
  command: Command,
  env: NodeJS.ProcessEnv = process.env,
): LauncherOptions {
  const { stopTimeout, ...values } = readSettings(command, SHARED_SETTINGS, env)
  return { ...values, stopTimeoutMs: stopTimeout, command: workloadCommand(command) }
}

/** Adds the flags of agent and launcher, and the workload's command. */
export function runOptions(command: Command): Command {
  addSettings(command, RUN_SETTINGS)
  return takesCommand(command)
}

/** Reads what `runOptions` added. Ends with a usage error where something is wrong. */
export function parseRunOptions(command: Command, env: NodeJS.ProcessEnv = process.env): RunOptions {
  const values = readSettings(command, RUN_SETTINGS, env)
  const dir = join(tmpdir(), `langflow-leader-${randomBytes(8).toString('hex')}`)
  const socket = values.socket ?? join(dir, 'launcher.sock')
  const stateDir = values.stateDir ?? join(dir, 'state')
  const agent = toAgentOptions(command, { ...values, socket, stateDir }, env)
  const { stopTimeoutMs, logLevel } = agent
  return {
    agent,
    launcher: { socket, stopTimeoutMs, logLevel, command: workloadCommand(command) },
    privateDir: values.socket === null || values.stateDir === null ? dir : null,
  }
}

function toAgentOptions(
  command: Command,
  values: Values<typeof AGENT_SETTINGS>,
  env: NodeJS.ProcessEnv,
): AgentOptions {
  const { preset, leaseDuration, renewDeadline, retryPeriod, killMargin, ...others } = values
  const { healthInterval, healthTimeout, startTimeout, drainTimeout, stopTimeout, ...more } = others
  const { traffic, endpointSlice, ...rest } = more
  const timings = timingsOf({ preset, leaseDuration, renewDeadline, retryPeriod, killMargin })
  const problem = contradiction({ ...timings, onDoubt: rest.onDoubt })
  if (problem !== null) command.error(problem)
  if (rest.listen.port !== 0 && rest.listen.port === rest.target.port) {
    command.error(`--listen and --target have the same port (${rest.listen.port}): give each its own`)
  }
  if (rest.spare && rest.standby !== 'warm')
    command.error('--spare keeps a warm LangFlow beside the one that serves: set --standby=warm as well')
  const identity = rest.identity ?? ownIdentity(command, env)
  const pod = podOf(env, { named: rest.identity !== null, hasPeers: rest.peers !== null })
  return {
    ...rest,
    ...timings,
    identity,
    pod,
    traffic: ownTraffic(command, { traffic, endpointSlice }, pod),
    healthIntervalMs: healthInterval,
    healthTimeoutMs: healthTimeout,
    startTimeoutMs: startTimeout,
    drainTimeoutMs: drainTimeout,
    stopTimeoutMs: stopTimeout,
  }
}

function ownIdentity(command: Command, env: NodeJS.ProcessEnv): string {
  try {
    return defaultIdentity(env)
  } catch (error) {
    return command.error((error as Error).message)
  }
}

function ownTraffic(command: Command, said: SaidTraffic, pod: Pod): TrafficOptions {
  try {
    return trafficOf(said, pod)
  } catch (error) {
    return command.error((error as Error).message)
  }
}

/** From the first word that is no flag, everything belongs to the workload, with or without `--` before it. */
function takesCommand(command: Command): Command {
  return command
    .argument('[command...]', 'what starts LangFlow, after --')
    .passThroughOptions()
    .usage('[options] -- COMMAND...')
}

function workloadCommand(command: Command): [string, ...string[]] {
  const [program, ...args] = command.args
  if (!program)
    command.error(
      `missing the command to run, such as: ${command.parent?.name()} ${command.name()} -- langflow run --host 0.0.0.0`,
    )
  return [program, ...args]
}

function omitFallback<S extends { readonly fallback: string }>(setting: S): Omit<S, 'fallback'> {
  const { fallback: _, ...rest } = setting
  return rest
}
