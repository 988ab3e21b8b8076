import { AGENT_SETTINGS, CONTENT_SETTINGS, SHARED_SETTINGS } from '../../../config/agent-settings.ts'
import { FIELDS } from '../../../config/pod-fields.ts'
import { flagOf, variableOf } from '../../../config/setting.ts'
import { asFields, asList, asText, dig, type Fields } from '../../manifests/manifest.ts'
import { givenVariable, HIDDEN, isOfPod, valueIn } from '../container-environment.ts'
import { containersOf, definitionOf, programOf } from '../installation.ts'
import { bytesOf } from '../quantity.ts'
import { type Installed, type Rule, type Said, Unseen } from '../rule.ts'
import { isBeside } from './probe-rules.ts'

/** What the agent alone requires, in bytes. */
const LEAST_BYTES = 96 * 1024 ** 2

/** Whether each agent is unique, reaches its LangFlow, and has the resources for its renewals. */
export const AGENT_RULES: readonly Rule<Installed>[] = [
  {
    code: 'misplaced-variables',
    severity: 'warning',
    about: 'each variable is in the container that reads it',
    breaks: 'The setting has no effect, and its default counts.',
    fix: "Move the variable: the launcher reads those of LangFlow's container, and the agent those of its own.",
    applies: isBeside,
    *find({ agent, env, container }) {
      for (const name of OF_AGENT)
        if (name in env.values || env.elsewhere.has(name))
          yield `its container ${container} has ${name}, which only the agent reads: move it to the container ${agent.container.name}`
      for (const name of OF_LAUNCHER)
        if (name in agent.env.values || agent.env.elsewhere.has(name))
          yield `its agent has ${name} (${agent.env.values[name] ?? 'hidden'}), which only the launcher reads: move it to the container ${container}`
    },
  },
  {
    code: 'agent-identity',
    severity: 'error',
    about: 'the agent can read the name and revision of its pod',
    breaks: 'A restarted agent cannot resume its term, and a rollout may not end.',
    fix: "Add POD_NAME, POD_UID, POD_TEMPLATE_HASH and CONTROLLER_REVISION_HASH to the agent's env with valueFrom.fieldRef.",
    *find(one) {
      const { pod, identity } = one.agent.options
      if (pod.problem !== null) yield pod.problem
      else yield* lackOfRevision(one)
      for (const [name, path] of OF_POD) {
        const definition = definitionOf(one.agent.container, name)
        const from = dig(definition, 'valueFrom', 'fieldRef', 'fieldPath')
        if (definition !== null && from !== path)
          yield `${name} of its agent is ${from === undefined ? 'the same in every pod' : `the field ${from}`}: set it with valueFrom.fieldRef.fieldPath ${path}`
      }
      if (setsIdentity(one.agent.container) && !isOfPod(identity))
        yield `all its agents have the identity ${identity}, so only one of them runs: remove --identity, or make it of $(POD_NAME) and $(POD_UID)`
    },
  },
  {
    code: 'agent-addresses',
    severity: 'error',
    about: 'other pods reach the agent and its front',
    breaks:
      'The kubelet cannot probe the agent, and the replicas do not find each other or cannot forward requests.',
    fix: 'Let --listen and --front-listen have only a port, and remove --front-address.',
    *find({ agent }) {
      const { listen, traffic } = agent.options
      if (isLoopback(listen.host ?? ''))
        yield `its agent listens only on ${listen.host} (--listen), where neither the kubelet nor another replica reaches it: set --listen to :${listen.port}`
      if (traffic.mode !== 'front') return
      if (isLoopback(traffic.listen.host ?? ''))
        yield `its front listens only on ${traffic.listen.host} (--front-listen), where no client reaches it: set --front-listen to :${traffic.listen.port}`
      if (definitionOf(agent.container, 'LEADER_FRONT_ADDRESS') !== null && !isOfPod(traffic.address))
        yield `every front has the address ${traffic.address} (--front-address), so a front cannot forward requests to the leader's: remove the flag`
    },
  },
  {
    code: 'agent-target',
    severity: 'error',
    about: "the agent's --target has LangFlow's port",
    breaks: 'LangFlow never counts as healthy, so no replica serves.',
    fix: "Set --target to LangFlow's port.",
    *find({ agent, port, portIsSaid, container }) {
      const { target } = agent.options
      if (portIsSaid && target.port !== port)
        yield `its agent asks LangFlow on port ${target.port} (--target), but its container ${container} listens on ${port}: set --target to that port`
    },
  },
  {
    code: 'langflow-host',
    severity: 'error',
    about: 'LangFlow listens where agent and clients find it',
    breaks: 'LangFlow never counts as healthy, or no client reaches it.',
    fix: 'Let LangFlow listen on 0.0.0.0, or with --traffic=front on 127.0.0.1.',
    *find({ agent, env, container }) {
      const { target, traffic } = agent.options
      const host = hostIn(env.command) ?? valueIn(env, 'LANGFLOW_HOST')
      // The images of LangFlow set LANGFLOW_HOST to 0.0.0.0.
      if (host === null || host === '::') return
      if (host.includes('$') || host.includes(HIDDEN))
        throw new Unseen(`the container ${container} takes --host from a variable`)
      const asked = new URL(target.origin).hostname.replace(/^\[|\]$/g, '')
      const isFound =
        host === '0.0.0.0' ? !asked.includes(':') : host === asked || (isLocal(host) && isLocal(asked))
      if (!isFound)
        yield `its container ${container} listens on ${host}, but the agent asks LangFlow at ${asked} (--target): set --host to ${traffic.mode === 'front' ? '127.0.0.1' : '0.0.0.0'}`
      else if (traffic.mode === 'readiness' && isLoopback(host))
        yield `its container ${container} listens only on ${host}, where no client reaches it with --traffic=readiness: set --host to 0.0.0.0`
    },
  },
  {
    code: 'agent-port-taken',
    severity: 'error',
    about: 'no other container uses the ports of the agent and its front',
    breaks: 'One of the two programs exits at its start.',
    fix: 'Change the port of one of them.',
    *find({ agent, pod, port, container }) {
      const { listen, traffic } = agent.options
      const fronts = traffic.mode === 'front' ? [{ own: traffic.listen.port, whose: "the front's" }] : []
      for (const { own, whose } of [{ own: listen.port, whose: "the agent's" }, ...fronts]) {
        if (port === own)
          yield `its container ${container} listens on port ${own}, which is ${whose} port: change the port of one of them`
        for (const { name, ports } of containersOf(pod)) {
          // LangFlow's container may declare the front's port, so that Services and policies can refer to its name.
          const mayDeclare = name === agent.container.name || (name === container && own !== listen.port)
          if (!mayDeclare && asList(ports).some((one) => dig(one, 'containerPort') === own))
            yield `its container ${name} has port ${own}, which is ${whose} port: change the port of one of them`
        }
      }
    },
  },
  {
    code: 'one-version',
    severity: 'warning',
    about: 'install and agent have one version',
    breaks:
      'Launcher and agent speak different versions of their protocol, so the launcher may refuse grants.',
    fix: 'Set the same image for the init containers install and agent.',
    applies: isBeside,
    *find({ pod, agent }) {
      const own = asText(agent.container.image)
      for (const one of asList(pod.initContainers).map(asFields))
        if (programOf(one)?.command === 'install' && one.image !== own)
          yield `its init container ${one.name} has the image ${one.image}, and its agent ${own}: set the same image for both`
    },
  },
  {
    code: 'agent-cpu-limit',
    severity: 'warning',
    about: 'the kernel does not throttle the agent',
    breaks: 'A throttled agent renews late, so LangFlow is frozen or killed although nothing has failed.',
    fix: "Remove limits.cpu from the agent's container. Its request is enough.",
    applies: isBeside,
    *find({ agent }) {
      const limit = dig(agent.container, 'resources', 'limits', 'cpu')
      if (limit !== undefined && limit !== null)
        yield `its agent has the CPU limit ${limit}, so the kernel may delay renewals: remove limits.cpu from the container ${agent.container.name}`
    },
  },
  {
    code: 'agent-memory',
    severity: 'warning',
    about: 'the agent has the memory that it needs',
    breaks:
      'The kernel kills the agent, or the node evicts the pod. Each time, the launcher may stop LangFlow.',
    fix: 'Set the memory limit of the agent to 192Mi, or with --traffic=front to 512Mi.',
    applies: isBeside,
    *find({ agent }) {
      const { mode } = agent.options.traffic
      const limit = dig(agent.container, 'resources', 'limits', 'memory')
      if ((bytesOf(limit) ?? LEAST_BYTES) < LEAST_BYTES)
        yield `the memory limit of its agent (${limit}) is below what the agent needs: set it to ${mode === 'front' ? '512Mi' : '192Mi'}`
    },
  },
]

const variablesOf = (settings: object) => Object.keys(settings).map((key) => variableOf(flagOf(key)))
const SHARED = new Set(variablesOf(SHARED_SETTINGS))
const OF_AGENT = variablesOf(AGENT_SETTINGS).filter((name) => !SHARED.has(name))
const OF_LAUNCHER = variablesOf(CONTENT_SETTINGS)

/** The variables of the agent that each pod has its own value for, and their fields. */
const OF_POD = Object.values(FIELDS).map(({ variable, path }) => [variable, path] as const)

/** Whether a flag or a variable sets the identity. */
function setsIdentity(container: Fields): boolean {
  const words = [...asList(container.command), ...asList(container.args)].map(asText)
  return (
    definitionOf(container, 'LEADER_IDENTITY') !== null || words.some((word) => word.startsWith('--identity'))
  )
}

/** The variable with the revision has another label for each kind of workload. */
function* lackOfRevision({ agent, manifest }: Installed): Generator<Said> {
  if (agent.options.peers === null) return
  const name = manifest.kind === 'StatefulSet' ? 'CONTROLLER_REVISION_HASH' : 'POD_TEMPLATE_HASH'
  const label = name === 'POD_TEMPLATE_HASH' ? 'pod-template-hash' : 'controller-revision-hash'
  if (!givenVariable(agent.env, name).isSet)
    yield `its agent cannot read the revision of its pod, so no leader hands over to a newer revision: add ${name} (metadata.labels['${label}']) to the agent's env with valueFrom.fieldRef`
}

/** The value of the flag --host. */
function hostIn(command: readonly string[]): string | null {
  return /(?:^|\s)--host[ =]["']?([^\s"';&]+)/.exec(command.join(' '))?.[1] ?? null
}

function isLoopback(host: string): boolean {
  return isLocal(host) || host === '::1'
}

function isLocal(host: string): boolean {
  return host === 'localhost' || host.startsWith('127.')
}
