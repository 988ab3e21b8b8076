import { dirname } from 'node:path'
import type { Command } from 'commander'
import { AGENT_SETTINGS, SHARED_SETTINGS } from '../../config/agent-settings.ts'
import { conflictIn } from '../../config/options.ts'
import {
  addFlags,
  flagOf,
  group,
  readFlags,
  typedSettings,
  type Values,
  variableOf,
} from '../../config/setting.ts'
import {
  formatListen,
  type Listen,
  parseListen,
  parseNamespace,
  parseObjectName,
  splitWords,
} from '../../config/values.ts'
import { VERSION } from '../../version.ts'
import { addFilenames, readFilenames } from '../manifests/filename-option.ts'
import { AGENT_PORT, FRONT_PORT, GRACE_SPARE_MS, type Traffic } from '../manifests/pod-spec.ts'

const INJECTION_SETTINGS = group('Injection', {
  uninject: {
    argument: '',
    about: 'take out what inject put in',
    parse: AGENT_SETTINGS.allowOlder.parse,
  },
  container: {
    argument: '<name>',
    otherwise: 'the one that runs LangFlow',
    about: "LangFlow's container",
    parse: parseNamespace,
  },
  entrypoint: {
    argument: '<command>',
    about: 'what the image starts, such as "langflow run", for templates without a command',
    parse: (text): readonly string[] => splitWords(text),
  },
  image: {
    argument: '<image>',
    fallback: `langflow-leader:${VERSION}`,
    about: "the agent's image",
    parse: parseImage,
  },
})

// Identity and front's address are each replica's own, and the Lease is where the pods are.
const { identity: _i, frontAddress: _a, leaseNamespace: _n, ...OF_AGENT } = AGENT_SETTINGS
const { fallback: _f, ...LEASE_NAME } = OF_AGENT.leaseName
const { fallback: _g, ...TARGET } = OF_AGENT.target

/** What the agents are to be told. */
const TOLD_SETTINGS = {
  ...OF_AGENT,
  leaseName: { ...LEASE_NAME, otherwise: "<workload's name>-leader", parse: parseObjectName },
  // A file in the agent's container: only there it is known what a path means.
  kubeconfig: { ...OF_AGENT.kubeconfig, otherwise: 'in-cluster', parse: (text: string) => text },
  target: { ...TARGET, otherwise: 'http://127.0.0.1 and the port where LangFlow listens' },
  peers: { ...OF_AGENT.peers, otherwise: "<workload's name>-members, a Service that is added" },
  listen: { ...OF_AGENT.listen, parse: (text: string) => parsePodListen(text, AGENT_PORT) },
  frontListen: { ...OF_AGENT.frontListen, parse: (text: string) => parsePodListen(text, FRONT_PORT) },
}

const INJECT_SETTINGS = { ...INJECTION_SETTINGS, ...TOLD_SETTINGS }

export interface Variable {
  readonly name: string
  readonly value: string
}

/** How a LangFlow is to be wrapped. */
export interface InjectOptions {
  /** LangFlow's; `null`: the one that looks like it. */
  readonly container: string | null
  /** `null`: not known. */
  readonly entrypoint: readonly string[] | null
  readonly image: string
  /** `null`: by the workload's name. */
  readonly leaseName: string | null
  /** Where LangFlow listens; `null`: where its manifest says. */
  readonly targetPort: number | null
  readonly traffic: Traffic
  /** What else the agents are told, as it was typed. */
  readonly agentVariables: readonly Variable[]
  /** Of these, what the launchers are told as well. */
  readonly launcherVariables: readonly Variable[]
  /** Where the agents listen, 1 to 65535. */
  readonly port: number
  /** Where the fronts listen in front mode, 1 to 65535. */
  readonly frontPort: number
  /** The directory of the socket between agent and launcher. */
  readonly socketDir: string
  readonly stateDir: string
  /** The least time that a pod has to end, in whole seconds. */
  readonly graceSeconds: number
}

export interface InjectInput {
  /** In their order; `-` is standard input. At least one. */
  readonly files: readonly string[]
  /** `null`: everything is to be taken out. */
  readonly options: InjectOptions | null
}

/** Adds the flags of `inject` to its command. */
export function injectOptions(command: Command): Command {
  return addFlags(addFilenames(command), INJECT_SETTINGS)
}

/** Reads what `injectOptions` added. `piped`: whether standard input is no terminal. Ends with a usage error. */
export function parseInjectOptions(command: Command, piped: boolean): InjectInput {
  const said = readFilenames(command)
  if (said === null && !piped) command.error('name a file with -f, or pipe manifests in')
  const files = said ?? ['-']
  const { uninject, ...values } = readFlags(command, INJECT_SETTINGS)
  if (uninject !== true) {
    const problem = conflictIn(values)
    if (problem !== null) command.error(problem)
    return { files, options: toOptions(values, typedSettings(command, TOLD_SETTINGS)) }
  }
  const useless = Object.keys(values).find(
    (key) => command.getOptionValue(key.replace(/Ms$/, '')) !== undefined,
  )
  if (useless !== undefined)
    command.error(`${flagOf(useless)} means nothing to --uninject, which takes everything out: leave one out`)
  return { files, options: null }
}

/** Those that follow from the workload, or decide on more than a variable. */
const OWN = new Set(['LEADER_LEASE_NAME', 'LEADER_TRAFFIC'])
const SHARED = new Set(Object.keys(SHARED_SETTINGS).map((key) => variableOf(flagOf(key))))

function toOptions(
  values: Omit<Values<typeof INJECT_SETTINGS>, 'uninject'>,
  typed: readonly Variable[],
): InjectOptions {
  const { container, entrypoint, image, leaseName, traffic } = values
  // A front that ends goes on with what it holds.
  const holdMs = traffic === 'front' ? values.holdTimeoutMs : 0
  const endMs = values.drainTimeoutMs + values.stopTimeoutMs + holdMs + GRACE_SPARE_MS
  return {
    ...{ container, entrypoint, image, leaseName, traffic },
    targetPort: values.target?.port ?? null,
    agentVariables: typed.filter(({ name }) => !OWN.has(name)),
    launcherVariables: typed.filter(({ name }) => SHARED.has(name)),
    port: values.listen.port,
    frontPort: values.frontListen.port,
    socketDir: dirname(values.socket),
    stateDir: values.stateDir,
    graceSeconds: Math.ceil(endMs / 1000),
  }
}

function parsePodListen(text: string, usual: number): Listen {
  const listen = parseListen(text)
  if (listen.host !== null || listen.port === 0)
    throw new Error(
      `others ask the pod's own address: leave the host out and name a port, such as ${formatListen({ host: null, port: listen.port || usual })}`,
    )
  return listen
}

function parseImage(text: string): string {
  if (!/^[a-z0-9][\w./:@-]{0,511}$/.test(text))
    throw new Error('use an image as a pod names it, such as registry.example.org/langflow-leader:0.1.0')
  return text
}
