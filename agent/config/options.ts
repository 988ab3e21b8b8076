import { randomBytes } from 'node:crypto'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Command } from 'commander'
import { defaultIdentity, FIELDS, type Pod, podFields } from './pod-fields.ts'
import { AGENT_SETTINGS, CONTENT_SETTINGS, SHARED_SETTINGS } from './schema.ts'
import { addSettings, readSettings, type Values } from './setting.ts'
import { contradiction, type Timings } from './timings.ts'
import { formatDuration, formatListen, type Listen } from './values.ts'

type Given = Values<typeof AGENT_SETTINGS>

export type LogLevel = Given['logLevel']

export interface AgentOptions extends Omit<Given, 'identity' | 'traffic' | 'frontListen' | 'frontAddress'> {
  readonly identity: string
  readonly pod: Pod
  readonly traffic: TrafficOptions
}

type TrafficOptions = { readonly mode: 'readiness' } | FrontOptions

export interface FrontOptions {
  readonly mode: 'front'
  readonly listen: Listen
  readonly address: string
  /** The local address of connections to LangFlow. `null`: any. */
  readonly from: string | null
}

export interface LauncherOptions extends Values<typeof LAUNCHER_SETTINGS> {
  readonly command: readonly [string, ...string[]]
}

export interface RunOptions {
  readonly agent: AgentOptions
  readonly launcher: LauncherOptions
  /**
   * The directory for socket and state, unless flags set both. The path does not exist yet: the caller makes it with
   * mode 0700, and removes it at the end.
   */
  readonly privateDir: string | null
}

const LAUNCHER_SETTINGS = { ...CONTENT_SETTINGS, ...SHARED_SETTINGS }

const { fallback: _s, ...SOCKET } = AGENT_SETTINGS.socket
const { fallback: _d, ...STATE_DIR } = AGENT_SETTINGS.stateDir
const otherwise = 'in a private temporary directory'
/** `run` starts agent and launcher itself, so it uses a private directory. The default paths of a pod would require root. */
const RUN_SETTINGS = {
  ...CONTENT_SETTINGS,
  ...AGENT_SETTINGS,
  socket: { ...SOCKET, otherwise },
  stateDir: { ...STATE_DIR, otherwise },
}

type Reader<Options> = (env?: NodeJS.ProcessEnv) => Options

// Each function adds the flags to its command, and returns a function that reads them. For a wrong value, that throws a usage error.

export function agentOptions(command: Command): Reader<AgentOptions> {
  addSettings(command, AGENT_SETTINGS)
  return (env = process.env) => toAgentOptions(command, readSettings(command, AGENT_SETTINGS, env), env)
}

export function launcherOptions(command: Command): Reader<LauncherOptions> {
  takesCommand(addSettings(command, LAUNCHER_SETTINGS))
  return (env = process.env) => ({
    ...readSettings(command, LAUNCHER_SETTINGS, env),
    command: workloadCommand(command),
  })
}

export function runOptions(command: Command): Reader<RunOptions> {
  takesCommand(addSettings(command, RUN_SETTINGS))
  return (env = process.env) => {
    const { handoverOnChange, envFile, ...given } = readSettings(command, RUN_SETTINGS, env)
    const content = { handoverOnChange, envFile }
    const dir = join(tmpdir(), `langflow-leader-${randomBytes(8).toString('hex')}`)
    const socket = given.socket ?? join(dir, 'launcher.sock')
    const stateDir = given.stateDir ?? join(dir, 'state')
    const agent = toAgentOptions(command, { ...given, socket, stateDir }, env)
    const { stopTimeoutMs, logLevel } = agent
    return {
      agent,
      launcher: { socket, stopTimeoutMs, logLevel, ...content, command: workloadCommand(command) },
      privateDir: given.socket === null || given.stateDir === null ? dir : null,
    }
  }
}

function toAgentOptions(command: Command, given: Given, env: NodeJS.ProcessEnv): AgentOptions {
  const { traffic: _, frontListen: __, frontAddress: ___, ...rest } = given
  const problem = conflictIn(given)
  if (problem !== null) command.error(problem)
  const pod = podFields(env)
  try {
    const identity = given.identity ?? defaultIdentity(env)
    const inPod = [env.KUBERNETES_SERVICE_HOST, pod.name, pod.ip].some(Boolean)
    return { ...rest, identity, pod, traffic: trafficOf(given, pod, inPod) }
  } catch (error) {
    return command.error((error as Error).message)
  }
}

type Checked = Timings &
  Pick<Given, 'onDoubt' | 'listen' | 'traffic' | 'frontListen' | 'streamGraceMs' | 'drainTimeoutMs'> &
  Pick<Given, 'peers' | 'reportLostPods' | 'failsafe' | 'failsafeMaxMs'> & {
    readonly target: Given['target'] | null
  }

export function conflictIn(given: Checked): string | null {
  const { listen, target, traffic, frontListen, streamGraceMs, drainTimeoutMs } = given
  const { peers, reportLostPods, failsafe, failsafeMaxMs, leaseDurationMs } = given
  const ofFront = traffic === 'front'
  const same = (flag: string, other: string, port: number) =>
    `${flag} and ${other} have the same port (${port}): give each its own port`
  const conflicts: [applies: boolean, problem: string][] = [
    [listen.port !== 0 && listen.port === target?.port, same('--listen', '--target', listen.port)],
    [ofFront && frontListen.port === listen.port, same('--front-listen', '--listen', frontListen.port)],
    [ofFront && frontListen.port === target?.port, same('--front-listen', '--target', frontListen.port)],
    [
      ofFront && target?.origin.startsWith('https:') === true,
      `--traffic=front requires HTTP to LangFlow, and --target is ${target?.origin}: let LangFlow serve HTTP on its loopback address`,
    ],
    [
      reportLostPods && peers === null,
      '--report-lost-pods requires --peers: name the headless Service of all replicas',
    ],
    [
      failsafe === 'peers' && peers === null,
      '--failsafe=peers requires --peers: name the headless Service of all replicas',
    ],
    [
      failsafe === 'peers' && failsafeMaxMs < 2 * leaseDurationMs,
      `--failsafe-max (${formatDuration(failsafeMaxMs)}) must be at least twice --lease-duration: set it to at least ${formatDuration(2 * leaseDurationMs)}`,
    ],
    [
      ofFront && streamGraceMs > drainTimeoutMs,
      `--stream-grace (${formatDuration(streamGraceMs)}) is longer than --drain-timeout (${formatDuration(drainTimeoutMs)}): shorten --stream-grace, or lengthen --drain-timeout`,
    ],
  ]
  return contradiction(given) ?? conflicts.find(([applies]) => applies)?.[1] ?? null
}

const ANY_ADDRESS = /^(0\.0\.0\.0|::)$/

function trafficOf(given: Given, pod: Pod, inPod: boolean): TrafficOptions {
  const { traffic: mode, frontListen: listen, frontAddress } = given
  if (mode === 'readiness') return { mode }
  if (inPod && frontAddress === null && pod.ip === null)
    throw new Error(
      `--traffic=front requires ${FIELDS.ip.variable}: add it to the container's env with valueFrom.fieldRef.fieldPath ${FIELDS.ip.path}`,
    )
  // Outside of a pod, without a host, all replicas run on one machine.
  const own = listen.host === null || ANY_ADDRESS.test(listen.host) ? '127.0.0.1' : listen.host
  const address = frontAddress ?? { host: pod.ip ?? own, port: listen.port }
  return { mode, listen, address: formatListen(address), from: pod.ip }
}

/** The workload's command starts at the first word that is not a flag, with or without `--` before it. */
function takesCommand(command: Command): Command {
  return command
    .argument('[command...]', "LangFlow's command, after --")
    .passThroughOptions()
    .usage('[options] -- COMMAND...')
}

function workloadCommand(command: Command): [string, ...string[]] {
  const [program, ...args] = command.args
  if (!program)
    command.error(
      `missing LangFlow's command: add it after --, such as ${command.parent?.name()} ${command.name()} -- langflow run --host 0.0.0.0`,
    )
  return [program, ...args]
}
