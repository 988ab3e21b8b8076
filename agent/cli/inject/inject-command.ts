import type { Command } from 'commander'
import { addExamples } from '../../config/command-line.ts'
import { conflictIn } from '../../config/options.ts'
import { AGENT_SETTINGS, SHARED_SETTINGS } from '../../config/schema.ts'
import {
  addFlags,
  flagOf,
  group,
  optional,
  readFlags,
  setting,
  typedSettings,
  type Values,
  variableOf,
} from '../../config/setting.ts'
import { formatListen, parseListen, parseNamespace } from '../../config/values.ts'
import { VERSION } from '../../version.ts'
import { addFilenames } from '../manifests/manifest.ts'
import { AGENT_PORT, FRONT_PORT, GRACE_SPARE_MS } from '../manifests/pod-spec.ts'

const INJECTION_SETTINGS = group('Injection', {
  container: optional(
    '<name>',
    'the container that runs LangFlow',
    "the name of LangFlow's container",
    parseNamespace,
  ),
  image: setting('<image>', `langflow-leader:${VERSION}`, "the agent's image", (text) => text),
})

// Each replica has its own identity and front address. inject decides on the Lease's namespace, the credentials and the volumes' paths.
const { identity: _i, frontAddress: _a, leaseNamespace: _n, ...OTHERS } = AGENT_SETTINGS
const { socket: _s, stateDir: _d, kubeconfig: _k, ...OF_AGENT } = OTHERS
const { fallback: _f, ...LEASE_NAME } = OF_AGENT.leaseName
const { fallback: _g, ...TARGET } = OF_AGENT.target
const { fallback: _h, ...FAILSAFE } = OF_AGENT.failsafe

const PASSED_SETTINGS = {
  ...OF_AGENT,
  leaseName: { ...LEASE_NAME, otherwise: "<workload's name>-leader" },
  target: { ...TARGET, otherwise: "http://127.0.0.1 and LangFlow's port" },
  peers: { ...OF_AGENT.peers, otherwise: "<workload's name>-members, a Service that inject adds" },
  failsafe: { ...FAILSAFE, otherwise: 'peers if the manifest has two or more replicas' },
  standby: { ...OF_AGENT.standby, fallback: 'warm' },
  traffic: { ...OF_AGENT.traffic, fallback: 'front' },
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
    ['Change one file, and let no front hold requests', '-f langflow.yaml --traffic readiness'],
  ])
  addFlags(addFilenames(command), INJECT_SETTINGS)
  command.action(async () => {
    const files: readonly string[] | undefined = command.getOptionValue('filename')
    if (files === undefined && process.stdin.isTTY)
      command.error('missing manifests: name a file with -f, or pipe manifests to standard input')
    const values = readFlags(command, INJECT_SETTINGS)
    const { peers, failsafe } = values
    const problem = conflictIn({ ...values, peers: peers ?? [], failsafe: failsafe ?? 'none' })
    if (problem !== null) command.error(problem)
    const options = optionsOf(values, typedSettings(command, PASSED_SETTINGS))
    const { note, write } = await import('../output.ts')
    const { readStream } = await import('../manifests/manifest-stream.ts')
    const { inject } = await import('./inject.ts')
    const { text, summary, warnings } = inject(await readStream(files ?? ['-']), options)
    for (const line of [...summary, ...warnings]) note(`langflow-leader: ${line}`)
    await write(text)
  })
}

export type InjectOptions = ReturnType<typeof optionsOf>

function optionsOf(values: Values<typeof INJECT_SETTINGS>, typed: ReturnType<typeof typedSettings>) {
  const { container, image, leaseName, traffic, standby } = values
  const shared = Object.keys(SHARED_SETTINGS).map((key) => variableOf(flagOf(key)))
  return {
    /** LangFlow's container; `null` to find it by its name, image or command. */
    container,
    image,
    /** `null` to derive it from the workload's name. */
    leaseName,
    traffic,
    standby,
    reportsLostPods: values.reportLostPods,
    /** LangFlow's port; `null` to read it from the manifest. */
    targetPort: values.target?.port ?? null,
    agentVariables: typed,
    launcherVariables: typed.filter(({ name }) => shared.includes(name)),
    port: values.listen.port,
    frontPort: values.frontListen.port,
    /** The time from the pod's SIGTERM until LangFlow has stopped. */
    endMs: values.drainTimeoutMs + values.stopTimeoutMs + GRACE_SPARE_MS,
    /** The wait for a quiet moment. At the end, a front still forwards the requests that it holds. */
    frontMs: traffic === 'front' ? values.quietTimeoutMs + values.holdTimeoutMs : 0,
  }
}

function parsePodPort(text: string, usual: number) {
  const listen = parseListen(text)
  if (listen.host !== null || listen.port === 0)
    throw new Error(
      `other programs connect to the pod's address: remove the host and set a port, such as ${formatListen({ host: null, port: listen.port || usual })}`,
    )
  return listen
}
