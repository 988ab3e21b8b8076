import { randomBytes } from 'node:crypto'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Command } from 'commander'
import { AGENT_SETTINGS, SHARED_SETTINGS } from './agent-settings.ts'
import { defaultIdentity, FIELDS, type Pod, podOf } from './pod-fields.ts'
import { addSettings, readSettings, type Values } from './setting.ts'
import { contradiction, type SaidTimings, type Timings, timingsOf } from './timings.ts'
import { formatDuration, formatListen, type Listen } from './values.ts'

type Said = Values<typeof AGENT_SETTINGS>

export type LogLevel = Said['logLevel']

/** All options of an agent: each flag by its name, and the values from the pod. Times are in milliseconds. */
export interface AgentOptions
  extends Omit<Said, 'preset' | 'identity' | keyof Timings | keyof OfTraffic>,
    Timings {
  readonly identity: string
  readonly pod: Pod
  readonly traffic: TrafficOptions
}

/** The traffic mode, with the pod's addresses that it needs. */
type TrafficOptions = { readonly mode: 'readiness' } | FrontOptions

export interface FrontOptions {
  readonly mode: 'front'
  readonly listen: Listen
  /** The address for other fronts: `host:port`, with IPv6 in brackets. */
  readonly address: string
  /** The local address of connections to LangFlow. `null`: any. */
  readonly from: string | null
}

type OfTraffic = Pick<Said, 'traffic' | 'frontListen' | 'frontAddress'>

export interface LauncherOptions extends Values<typeof SHARED_SETTINGS> {
  /** The program and its arguments after `--`, at least the program. */
  readonly command: readonly [string, ...string[]]
}

export interface RunOptions {
  readonly agent: AgentOptions
  readonly launcher: LauncherOptions
  /**
   * The directory of socket and state, unless flags name other paths. It is a path that does not exist yet, is created
   * with mode 0700, and is removed at the end. `null`: no such directory.
   */
  readonly privateDir: string | null
}

/**
 * Outside of a pod, `run` shares its socket with no other program, and needs no directory that only root can create.
 */
const RUN_SETTINGS = {
  ...AGENT_SETTINGS,
  socket: inPrivate(AGENT_SETTINGS.socket),
  stateDir: inPrivate(AGENT_SETTINGS.stateDir),
}

function inPrivate<S extends { readonly fallback: string }>({ fallback: _, ...setting }: S) {
  return { ...setting, otherwise: 'in a private temporary directory' }
}

type Reader<Options> = (env?: NodeJS.ProcessEnv) => Options

// Each function adds the flags to its command, and returns the function that reads them, which ends with a usage error
// if a value is wrong.

export function agentOptions(command: Command): Reader<AgentOptions> {
  addSettings(command, AGENT_SETTINGS)
  return (env = process.env) => toAgentOptions(command, readSettings(command, AGENT_SETTINGS, env), env)
}

export function launcherOptions(command: Command): Reader<LauncherOptions> {
  takesCommand(addSettings(command, SHARED_SETTINGS))
  return (env = process.env) => ({
    ...readSettings(command, SHARED_SETTINGS, env),
    command: workloadCommand(command),
  })
}

export function runOptions(command: Command): Reader<RunOptions> {
  takesCommand(addSettings(command, RUN_SETTINGS))
  return (env = process.env) => {
    const said = readSettings(command, RUN_SETTINGS, env)
    const dir = join(tmpdir(), `langflow-leader-${randomBytes(8).toString('hex')}`)
    const socket = said.socket ?? join(dir, 'launcher.sock')
    const stateDir = said.stateDir ?? join(dir, 'state')
    const agent = toAgentOptions(command, { ...said, socket, stateDir }, env)
    const { stopTimeoutMs, logLevel } = agent
    return {
      agent,
      launcher: { socket, stopTimeoutMs, logLevel, command: workloadCommand(command) },
      privateDir: said.socket === null || said.stateDir === null ? dir : null,
    }
  }
}

function toAgentOptions(command: Command, said: Said, env: NodeJS.ProcessEnv): AgentOptions {
  const { preset: _, traffic, frontListen, frontAddress, ...rest } = said
  const problem = conflictIn(said)
  if (problem !== null) command.error(problem)
  const pod = podOf(env, { named: said.identity !== null, hasPeers: said.peers !== null })
  try {
    const identity = said.identity ?? defaultIdentity(env)
    const inPod = [env.KUBERNETES_SERVICE_HOST, pod.name, pod.ip].some(Boolean)
    const reached = trafficOf({ traffic, frontListen, frontAddress }, pod, inPod)
    return { ...rest, ...timingsOf(said), identity, pod, traffic: reached }
  } catch (error) {
    return command.error((error as Error).message)
  }
}

type Checked = SaidTimings &
  Pick<Said, 'onDoubt' | 'listen' | 'traffic' | 'frontListen' | 'streamGraceMs' | 'drainTimeoutMs'> & {
    /** `null`: unknown. */
    readonly target: Said['target'] | null
  }

/** A contradiction in an agent's settings, in one sentence with the required change. `null`: no contradiction. */
export function conflictIn(said: Checked): string | null {
  const { listen, target, frontListen, streamGraceMs, drainTimeoutMs } = said
  const problem = contradiction({ ...timingsOf(said), onDoubt: said.onDoubt })
  if (problem !== null) return problem
  if (listen.port !== 0 && listen.port === target?.port) return samePort('--listen', '--target', listen)
  if (said.traffic !== 'front') return null
  if (frontListen.port === listen.port) return samePort('--front-listen', '--listen', frontListen)
  if (frontListen.port === target?.port) return samePort('--front-listen', '--target', frontListen)
  if (target?.origin.startsWith('https:'))
    return '--traffic=front speaks HTTP with LangFlow: let LangFlow serve HTTP on its loopback address, and --target name that'
  if (streamGraceMs > drainTimeoutMs)
    return (
      `--stream-grace (${formatDuration(streamGraceMs)}) is longer than --drain-timeout (${formatDuration(drainTimeoutMs)}), after ` +
      'which all is cut off: shorten the one or lengthen the other'
    )
  return null
}

function samePort(flag: string, other: string, { port }: Listen): string {
  return `${flag} and ${other} have the same port (${port}): give each its own`
}

const LOOPBACK = /^(localhost\.?|127\..*|::1)$/i

/** Throws an Error with the required change. */
function trafficOf(said: OfTraffic, pod: Pod, inPod: boolean): TrafficOptions {
  const { traffic: mode, frontListen: listen, frontAddress } = said
  if (mode === 'readiness') return { mode }
  if (inPod && frontAddress !== null && LOOPBACK.test(frontAddress.host))
    throw new Error(
      `--front-address '${formatListen(frontAddress)}' reaches only this pod: name an address that the other replicas reach, or leave it out`,
    )
  const address = frontAddress ?? { host: frontHost(listen, pod, inPod), port: listen.port }
  return { mode, listen, address: formatListen(address), from: pod.ip }
}

/** The address for other fronts, if no flag names one. */
function frontHost({ host }: Listen, pod: Pod, inPod: boolean): string {
  if (pod.ip !== null) return pod.ip
  if (inPod)
    throw new Error(
      `--traffic=front needs ${FIELDS.ip.variable}: add it to the container's env with valueFrom.fieldRef.fieldPath ` +
        `${FIELDS.ip.path}, or set --front-address`,
    )
  // The replicas run on one machine.
  return host === null || host === '0.0.0.0' || host === '::' ? '127.0.0.1' : host
}

/** From the first word that is not a flag, all words belong to the workload, with or without `--` before it. */
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
