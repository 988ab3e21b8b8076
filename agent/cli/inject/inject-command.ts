import type { Command } from 'commander'
import { AGENT_SETTINGS, SHARED_SETTINGS } from '../../config/agent-settings.ts'
import { addExamples } from '../../config/command-line.ts'
import { conflictIn } from '../../config/options.ts'
import {
  addFlags,
  flagOf,
  group,
  onOff,
  optional,
  readFlags,
  setting,
  typedSettings,
  type Values,
  variableOf,
} from '../../config/setting.ts'
import {
  formatDuration,
  formatListen,
  parseListen,
  parseNamespace,
  parseObjectName,
} from '../../config/values.ts'
import { readScript } from '../../launcher/start-script.ts'
import { VERSION } from '../../version.ts'
import { addFilenames, readFilenames } from '../manifests/manifest.ts'
import { AGENT_PORT, FRONT_PORT, GRACE_SPARE_MS } from '../manifests/pod-spec.ts'

const INJECTION_SETTINGS = group('Injection', {
  uninject: onOff('remove the changes that inject made'),
  container: optional(
    '<name>',
    'the container that runs LangFlow',
    "the name of LangFlow's container",
    parseNamespace,
  ),
  entrypoint: {
    argument: '<command>',
    about: 'the command of the image, such as "langflow run"; required for a container without a command',
    parse: parseEntrypoint,
  },
  with: {
    ...setting('<parts>', '', 'objects to add, by commas: pdb, network-policy', parseExtras),
    otherwise: 'none',
  },
  image: setting('<image>', `langflow-leader:${VERSION}`, "the agent's image", parseImage),
})

// Each replica has its own identity and front address, and inject decides on the Lease's namespace and the volumes' paths.
const { identity: _i, frontAddress: _a, leaseNamespace: _n, ...OTHERS } = AGENT_SETTINGS
const { socket: _s, stateDir: _d, ...OF_AGENT } = OTHERS
const { fallback: _f, ...LEASE_NAME } = OF_AGENT.leaseName
const { fallback: _g, ...TARGET } = OF_AGENT.target

/** The flags that inject passes to the agents as variables. */
const PASSED_SETTINGS = {
  ...OF_AGENT,
  leaseName: { ...LEASE_NAME, otherwise: "<workload's name>-leader", parse: parseObjectName },
  // inject cannot check a path in the agent's container.
  kubeconfig: { ...OF_AGENT.kubeconfig, otherwise: 'in-cluster', parse: (text: string) => text },
  target: { ...TARGET, otherwise: "http://127.0.0.1 and LangFlow's port" },
  peers: { ...OF_AGENT.peers, otherwise: "<workload's name>-members, a Service that inject adds" },
  listen: { ...OF_AGENT.listen, parse: (text: string) => parsePodPort(text, AGENT_PORT) },
  frontListen: { ...OF_AGENT.frontListen, parse: (text: string) => parsePodPort(text, FRONT_PORT) },
}

const INJECT_SETTINGS = { ...INJECTION_SETTINGS, ...PASSED_SETTINGS }

export function addInject(program: Command): void {
  const command = program
    .command('inject')
    .description('add leader election to the manifests of an existing LangFlow')
  addExamples(command, [
    ["Change a chart's output, and apply it", '< rendered.yaml | kubectl apply -f -'],
    ['Change one file, with a standby that takes over in 2 s', '-f langflow.yaml --standby warm'],
    ['Remove the changes', '-f injected.yaml --uninject'],
  ])
  addFlags(addFilenames(command), INJECT_SETTINGS)
  const [, uninject, ...others] = command.options
  uninject!.conflicts(others.map((option) => option.attributeName()))
  command.action(async () => {
    const { files, options } = readOptions(command)
    const { write } = await import('../output.ts')
    const { readStream } = await import('../manifests/manifest-stream.ts')
    const { inject, uninject } = await import('./inject.ts')
    const stream = await readStream(files)
    const { text, summary, warnings } = options === null ? uninject(stream) : inject(stream, options)
    for (const line of [...summary, ...warnings.map((one) => `warning: ${one}`)])
      process.stderr.write(`langflow-leader: ${line}\n`)
    await write(text)
  })
}

/** The files and the options; `options` is `null` for --uninject. Throws a usage error for a wrong value. */
function readOptions(command: Command) {
  const files = readFilenames(command)
  if (files === null && process.stdin.isTTY)
    command.error('missing manifests: name a file with -f, or pipe manifests to standard input')
  const values = readFlags(command, INJECT_SETTINGS)
  const problem = values.uninject ? null : conflictIn(values)
  if (problem !== null) command.error(problem)
  if (values.with.includes('pdb') && values.traffic !== 'front')
    command.error(
      '--with pdb requires --traffic=front: otherwise only the leader is Ready, and no drain could evict it',
    )
  const options = values.uninject ? null : optionsOf(values, typedSettings(command, PASSED_SETTINGS))
  return { files: files ?? ['-'], options }
}

interface Variable {
  readonly name: string
  readonly value: string
}

/** Variables that inject itself derives from the workload or from another flag. */
const OWN = new Set(['LEADER_LEASE_NAME', 'LEADER_TRAFFIC'])
/** A start of LangFlow takes about 40 s. */
const COLD_START_MS = 60_000
const SHARED = new Set(Object.keys(SHARED_SETTINGS).map((key) => variableOf(flagOf(key))))

/** The options of an injection. */
export type InjectOptions = ReturnType<typeof optionsOf>

function optionsOf(values: Values<typeof INJECT_SETTINGS>, typed: readonly Variable[]) {
  const { container, entrypoint, image, leaseName, traffic } = values
  const agentVariables: readonly Variable[] = typed.filter(({ name }) => !OWN.has(name))
  const holdMs = values.leaseDurationMs + COLD_START_MS
  const held = { name: 'LEADER_HOLD_TIMEOUT', value: formatDuration(holdMs) }
  const isOpen = traffic === 'front' && !typed.some(({ name }) => name === held.name)
  return {
    /** LangFlow's container; `null` to find it by its name, image or command. */
    container,
    /** The command of the image; `null` if unknown. */
    entrypoint,
    image,
    /** `null` to derive it from the workload's name. */
    leaseName,
    traffic,
    /** LangFlow's port; `null` to read it from the manifest. */
    targetPort: values.target?.port ?? null,
    agentVariables,
    launcherVariables: typed.filter(({ name }) => SHARED.has(name)) as readonly Variable[],
    /** The agents' port. */
    port: values.listen.port,
    frontPort: values.frontListen.port,
    /** The time from the pod's SIGTERM until LangFlow has stopped. */
    endMs: values.drainTimeoutMs + values.stopTimeoutMs + GRACE_SPARE_MS,
    /** A terminating front still forwards the requests that it holds. */
    holdMs: traffic === 'front' ? values.holdTimeoutMs : 0,
    isWarm: values.standby === 'warm',
    /** For cold standbys: the fronts hold requests for a start of LangFlow. `null` if a flag decides. */
    ifCold: isOpen ? { holdMs, agentVariables: [...agentVariables, held] as readonly Variable[] } : null,
    with: values.with,
  }
}

function parseEntrypoint(text: string): readonly string[] {
  try {
    const { words, environment } = readScript(text, {})
    if (Object.keys(environment).length === 0) return words
  } catch {
    if (text.trim() === '') return []
  }
  throw new Error('use one command, with quotes as in a shell, such as "langflow run"')
}

function parsePodPort(text: string, usual: number) {
  const listen = parseListen(text)
  if (listen.host !== null || listen.port === 0)
    throw new Error(
      `other programs connect to the pod's address: remove the host and set a port, such as ${formatListen({ host: null, port: listen.port || usual })}`,
    )
  return listen
}

const EXTRAS = ['pdb', 'network-policy'] as const

function parseExtras(text: string): readonly (typeof EXTRAS)[number][] {
  const parts = text.split(',').filter((part) => part !== '')
  const known = EXTRAS.filter((one) => parts.includes(one))
  if (known.length < parts.length) throw new Error(`use ${EXTRAS.join(', ')}`)
  return known
}

function parseImage(text: string): string {
  if (!/^[a-z0-9][\w./:@-]{0,511}$/.test(text))
    throw new Error('use the name of an image, such as registry.example.org/langflow-leader:0.1.0')
  return text
}
