import { dirname } from 'node:path'
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
  formatListen,
  parseListen,
  parseNamespace,
  parseObjectName,
  splitWords,
} from '../../config/values.ts'
import { VERSION } from '../../version.ts'
import { addFilenames, readFilenames } from '../manifests/filename-option.ts'
import { AGENT_PORT, FRONT_PORT, GRACE_SPARE_MS } from '../manifests/pod-spec.ts'

const INJECTION_SETTINGS = group('Injection', {
  uninject: onOff('take out what inject put in'),
  container: optional('<name>', 'the one that runs LangFlow', "LangFlow's container", parseNamespace),
  entrypoint: {
    argument: '<command>',
    about: 'what the image starts, such as "langflow run", for templates without a command',
    parse: (text: string): readonly string[] => splitWords(text),
  },
  image: setting('<image>', `langflow-leader:${VERSION}`, "the agent's image", parseImage),
})

// Identity and front's address are each replica's own, and the Lease is where the pods are.
const { identity: _i, frontAddress: _a, leaseNamespace: _n, ...OF_AGENT } = AGENT_SETTINGS
const { fallback: _f, ...LEASE_NAME } = OF_AGENT.leaseName
const { fallback: _g, ...TARGET } = OF_AGENT.target

/** The flags that the agents get as variables. */
const PASSED_SETTINGS = {
  ...OF_AGENT,
  leaseName: { ...LEASE_NAME, otherwise: "<workload's name>-leader", parse: parseObjectName },
  // A path in the agent's container can't be checked here.
  kubeconfig: { ...OF_AGENT.kubeconfig, otherwise: 'in-cluster', parse: (text: string) => text },
  target: { ...TARGET, otherwise: 'http://127.0.0.1 and the port where LangFlow listens' },
  peers: { ...OF_AGENT.peers, otherwise: "<workload's name>-members, a Service that is added" },
  listen: { ...OF_AGENT.listen, parse: (text: string) => parsePodPort(text, AGENT_PORT) },
  frontListen: { ...OF_AGENT.frontListen, parse: (text: string) => parsePodPort(text, FRONT_PORT) },
}

const INJECT_SETTINGS = { ...INJECTION_SETTINGS, ...PASSED_SETTINGS }

export function addInject(program: Command): void {
  const command = program
    .command('inject')
    .description('add leader election to the manifests of an existing LangFlow')
  addExamples(command, [
    ['What a chart renders, on its way to the cluster', '< rendered.yaml | kubectl apply -f -'],
    ['One file, with a standby that takes over in 2 s', '-f langflow.yaml --standby warm'],
    ['Take it out again', '-f injected.yaml --uninject'],
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

/** `options`: `null` to take everything out. Ends with a usage error. */
function readOptions(command: Command) {
  const files = readFilenames(command)
  if (files === null && process.stdin.isTTY) command.error('name a file with -f, or pipe manifests in')
  const values = readFlags(command, INJECT_SETTINGS)
  const problem = values.uninject ? null : conflictIn(values)
  if (problem !== null) command.error(problem)
  const options = values.uninject ? null : optionsOf(values, typedSettings(command, PASSED_SETTINGS))
  return { files: files ?? ['-'], options }
}

interface Variable {
  readonly name: string
  readonly value: string
}

/** Variables that follow from the workload, or decide on more than a variable. */
const OWN = new Set(['LEADER_LEASE_NAME', 'LEADER_TRAFFIC'])
const SHARED = new Set(Object.keys(SHARED_SETTINGS).map((key) => variableOf(flagOf(key))))

/** How a LangFlow is wrapped. */
export type InjectOptions = ReturnType<typeof optionsOf>

function optionsOf(values: Values<typeof INJECT_SETTINGS>, typed: readonly Variable[]) {
  const { container, entrypoint, image, leaseName, traffic, stateDir } = values
  // A terminating front goes on with the requests that it holds.
  const holdMs = traffic === 'front' ? values.holdTimeoutMs : 0
  const endMs = values.drainTimeoutMs + values.stopTimeoutMs + holdMs + GRACE_SPARE_MS
  return {
    /** LangFlow's; `null`: the one that looks like it. */
    container,
    /** What the image starts; `null`: unknown. */
    entrypoint,
    image,
    /** `null`: by the workload's name. */
    leaseName,
    traffic,
    stateDir,
    /** Where LangFlow listens; `null`: where its manifest says. */
    targetPort: values.target?.port ?? null,
    agentVariables: typed.filter(({ name }) => !OWN.has(name)) as readonly Variable[],
    launcherVariables: typed.filter(({ name }) => SHARED.has(name)) as readonly Variable[],
    /** Where the agents listen. */
    port: values.listen.port,
    frontPort: values.frontListen.port,
    /** The directory of the socket between agent and launcher. */
    socketDir: dirname(values.socket),
    /** The least time that a pod has to end. */
    graceSeconds: Math.ceil(endMs / 1000),
  }
}

function parsePodPort(text: string, usual: number) {
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
