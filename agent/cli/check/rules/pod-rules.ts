import { dirname } from 'node:path'
import { formatDuration } from '../../../config/values.ts'
import {
  asFields,
  asList,
  asNumber,
  asText,
  dig,
  type Fields,
  isTrue,
  type Manifest,
} from '../../manifests/manifest.ts'
import { PROGRAM_DIR, READY_PATH, TOKEN_DIR } from '../../manifests/pod-spec.ts'
import { inOneNamespace } from '../../manifests/workload.ts'
import { secretsIn } from '../container-environment.ts'
import { accountOf, type Installation, mountAt } from '../installation.ts'
import type { AgentRule, Installed, LangflowRule } from '../rule.ts'

const TOKEN_TYPE = 'kubernetes.io/service-account-token'
/** What a planned stop takes beside its two timeouts. */
const STOP_SPARE_MS = 5_000

/** What no pod with a launcher may be. `inject` refuses these. */
export const UNSAFE_RULES = {
  'pod-processes': {
    severity: 'error',
    about: 'the launcher is PID 1, whose end ends every process of LangFlow',
    *find({ pod }) {
      for (const name of ['hostPID', 'shareProcessNamespace'])
        if (isTrue(pod[name]))
          yield `with ${name} the launcher cannot be PID 1, whose end ends every process of LangFlow: remove it`
    },
  },
  'pod-host-network': {
    severity: 'error',
    about: 'the pod has a network of its own',
    *find({ pod }) {
      if (isTrue(pod.hostNetwork))
        yield "with hostNetwork the agent's port and the loopback address are the node's, where others may answer and ask: remove it"
    },
  },
  'pod-windows': {
    severity: 'error',
    about: 'the pod is for Linux nodes',
    *find({ pod }) {
      const systems = ['kubernetes.io/os', 'beta.kubernetes.io/os'].map((label) =>
        dig(pod, 'nodeSelector', label),
      )
      if ([dig(pod, 'os', 'name'), ...systems].includes('windows'))
        yield 'it is for Windows nodes, and the launcher needs Linux'
    },
  },
} as const satisfies Record<string, LangflowRule>

/** Whether agent and launcher are there. */
export const PRESENCE_RULES = {
  'agent-missing': {
    severity: 'error',
    about: 'the pods have an agent',
    *find({ agent }) {
      if (agent === null)
        yield 'its pods have no agent, so that every replica acts: pipe it through langflow-leader inject'
    },
  },
  'agent-place': {
    severity: 'error',
    about: 'the agent is a native sidecar',
    applies: hasAgent,
    *find({ agent, container }) {
      const name = asText(agent?.container.name)
      if (agent?.place === 'init container')
        yield `its init container ${name} is the agent, and never ends, so that LangFlow never starts: give it restartPolicy: Always`
      if (agent?.place === 'container')
        yield {
          warning: `its agent ${name} is stopped together with LangFlow, not after it: move it to initContainers with restartPolicy: Always`,
        }
      if (agent?.place === 'run')
        yield {
          warning: `its container ${container} has agent and LangFlow together, so that each flow can use the agent's token and a memory limit may end both: where the cluster is 1.29 or newer, use a sidecar`,
        }
    },
  },
  'launcher-missing': {
    severity: 'error',
    about: 'LangFlow is started by the launcher',
    applies: hasAgent,
    *find({ launcher, langflow, container }) {
      if (launcher !== null) return
      const words = [...asList(langflow.command), ...asList(langflow.args)].join(' ')
      if (words.includes('langflow-leader'))
        yield {
          unknown: `whether its container ${container} starts the launcher as its first process is not to be seen: its own command names it`,
        }
      else
        yield `its container ${container} starts LangFlow without the launcher, so that every replica acts: pipe it through langflow-leader inject, and look at what replaced its command since`
    },
  },
} as const satisfies Record<string, LangflowRule>

/** Whether they start at all. */
export const SETTINGS_RULES = {
  'agent-settings': {
    severity: 'error',
    about: 'the agent starts with its flags and variables',
    applies: hasAgent,
    *find({ agent, launcher }) {
      if (agent?.fault) yield `its agent would not start: ${agent.fault}`
      if (launcher?.fault && launcher.fault !== agent?.fault)
        yield `its launcher would not start: ${launcher.fault}`
    },
  },
} as const satisfies Record<string, LangflowRule>

/** Whether agent and launcher find each other, and nobody else finds what is theirs. */
export const POD_RULES = {
  'agent-identity': {
    severity: 'error',
    about: 'the agent knows its pod',
    *find({ agent }) {
      if (agent.options.pod.problem !== null) yield agent.options.pod.problem
    },
  },
  'agent-target': {
    severity: 'error',
    about: 'the agent asks LangFlow where it listens',
    *find({ agent, port, portIsSaid, container }) {
      const { target } = agent.options
      if (portIsSaid && target.port !== port)
        yield `its agent asks LangFlow on port ${target.port} (--target), and its container ${container} listens on ${port}: make them the same`
    },
  },
  'agent-port-taken': {
    severity: 'error',
    about: 'nobody else has the ports of the agent and its front',
    *find({ agent, pod, port, container }) {
      const { listen, traffic } = agent.options
      const fronts = traffic.mode === 'front' ? [{ own: traffic.listen.port, whose: "the front's" }] : []
      for (const { own, whose } of [{ own: listen.port, whose: "the agent's" }, ...fronts]) {
        if (port === own)
          yield `its container ${container} listens on port ${own}, which is ${whose}: give it another`
        for (const { name, ports } of containersOf(pod)) {
          // By a port of LangFlow's container, Services and policies name the front's.
          const mayDeclare = name === agent.container.name || (name === container && own !== listen.port)
          if (!mayDeclare && asList(ports).some((one) => dig(one, 'containerPort') === own))
            yield `its container ${name} has port ${own}, which is ${whose}: give it another`
        }
      }
    },
  },
  'agent-probes': {
    severity: 'error',
    about: 'probes ask the agent what they should',
    *find(one) {
      const { agent } = one
      const { traffic, listen } = agent.options
      const wanted = READY_PATH[traffic.mode]
      const ready = askedBy(agent.container, 'readinessProbe')
      if (ready?.path !== wanted || ready.port !== listen.port)
        yield `its agent's readinessProbe ${ready === null ? 'is missing' : `asks ${ready.path} on port ${ready.port}`}: with --traffic=${traffic.mode} let it ask ${wanted} on port ${listen.port}`
      const alive = askedBy(agent.container, 'livenessProbe')
      if (alive !== null && (alive.path !== '/livez' || alive.port !== listen.port))
        yield `its agent's livenessProbe asks ${alive.path} on port ${alive.port}: let it ask /livez on port ${listen.port}`
    },
  },
  'langflow-probes': {
    severity: 'error',
    about: 'no probe asks LangFlow itself, which a standby does not run',
    applies: isBeside,
    *find({ agent, langflow, container }) {
      const { listen, traffic } = agent.options
      for (const name of ['livenessProbe', 'startupProbe', 'readinessProbe'] as const) {
        if (Object.keys(asFields(langflow[name])).length === 0) continue
        if (name === 'readinessProbe' && traffic.mode === 'readiness') continue
        const asked = askedBy(langflow, name)
        if (asked?.port === listen.port && asked.path === '/workloadz') continue
        const end =
          name === 'readinessProbe' ? 'a standby is never Ready' : 'the kubelet restarts every standby'
        yield `its container ${container} has a ${name} that asks LangFlow, which a standby does not run, so that ${end}: ${name === 'readinessProbe' ? 'remove it' : `let it ask /workloadz on port ${listen.port}`}`
      }
    },
  },
  'agent-socket': {
    severity: 'error',
    about: 'agent and launcher share the directory of their socket',
    applies: isBeside,
    *find(one) {
      const { agent, launcher, langflow, container } = one
      if (launcher?.options == null) return
      const [own, theirs] = [agent.options.socket, launcher.options.socket]
      const [here, there] = [mountAt(agent.container, dirname(own)), mountAt(langflow, dirname(theirs))]
      if (here === null || there === null || here.volume !== there.volume)
        yield `its agent listens on ${own} and the launcher in container ${container} connects to ${theirs}, which is not the same directory: mount one emptyDir in both, at ${dirname(own)}`
      else if (own.slice(here.path.length) !== theirs.slice(there.path.length))
        yield `its agent listens on ${own} and the launcher in container ${container} connects to ${theirs}: give both the same --socket`
    },
  },
  'langflow-mounts': {
    severity: 'error',
    about: "no flow can write the agent's files",
    applies: isBeside,
    *find({ agent, launcher, langflow, pod, container }) {
      const program = mountAt(langflow, PROGRAM_DIR)
      const socket = launcher?.options == null ? null : mountAt(langflow, dirname(launcher.options.socket))
      for (const mount of [program, socket])
        if (mount !== null && !mount.readOnly)
          yield `its container ${container} mounts ${mount.path} writable, so that a flow can replace what is in it: mount it readOnly`
      const state = mountAt(agent.container, agent.options.stateDir)
      if (state === null)
        yield {
          warning: `its agent has no volume at ${agent.options.stateDir} (--state-dir), so that a restarted agent ends its term: mount an emptyDir of its own`,
        }
      for (const other of containersOf(pod))
        if (
          other !== agent.container &&
          asList(other.volumeMounts).some((one) => dig(one, 'name') === state?.volume)
        )
          yield `its container ${other.name} mounts the agent's state (the volume ${state?.volume}), by which it can pose as the launcher: mount it only in the agent`
    },
  },
  'agent-user': {
    severity: 'error',
    about: 'agent and launcher may use one socket',
    applies: isBeside,
    *find({ agent, langflow, pod, container }) {
      const [own, theirs] = [userOf(pod, agent.container), userOf(pod, langflow)]
      const shared = asFields(pod.securityContext)
      if (shared.fsGroup !== undefined || asList(shared.supplementalGroups).length > 0) return
      if (own.user === null || theirs.user === null || own.user === theirs.user) return
      if (own.group !== null && own.group === theirs.group) return
      yield `its agent runs as user ${own.user} and its container ${container} as ${theirs.user}, without a common group, so that the launcher cannot connect: give both one runAsUser, or the pod an fsGroup`
    },
  },
  'agent-token': {
    severity: 'error',
    about: 'the agent has a token for the API server',
    *find(one, { manifests }) {
      const { agent, pod } = one
      if (agent.options.kubeconfig !== null || automounts(one, manifests)) return
      const name = mountAt(agent.container, TOKEN_DIR)?.volume ?? ''
      if (tokenVolumes(pod, manifests).has(name)) return
      const [secret] = secretsIn(asList(pod.volumes).find((volume) => dig(volume, 'name') === name))
      if (secret !== undefined && !manifests.some((one) => one.kind === 'Secret' && one.name === secret)) {
        yield { unknown: `whether its agent has a token is not to be seen: it would be in Secret/${secret}` }
        return
      }
      yield `its agent has no token for the API server: mount a projected serviceAccountToken at ${TOKEN_DIR} in the container ${agent.container.name}`
    },
  },
  'token-beside-flows': {
    severity: 'error',
    about: 'no flow has the token of the agent',
    applies: isBeside,
    *find(one, { manifests, cluster }) {
      const { pod, langflow, container } = one
      const hidden = cluster?.hidden.get('ServiceAccount')
      if (pod.automountServiceAccountToken === undefined && hidden !== undefined)
        yield {
          unknown: `whether its container ${container} has the token of the agent's account is not to be seen: ${hidden}`,
        }
      else if (automounts(one, manifests))
        yield `its container ${container} has the token of the agent's account, so that a flow can write the Lease: set automountServiceAccountToken: false, and mount a projected token in the agent alone`
      for (const mount of asList(langflow.volumeMounts))
        if (tokenVolumes(pod, manifests).has(asText(dig(mount, 'name'))))
          yield `its container ${container} mounts a token (the volume ${dig(mount, 'name')}), so that a flow can write the Lease: mount it only in the agent`
    },
  },
  'grace-period': {
    severity: 'error',
    about: 'the pod has time for a planned stop',
    *find({ agent, pod }) {
      const { drainTimeoutMs, stopTimeoutMs, holdTimeoutMs, traffic } = agent.options
      const seconds = asNumber(pod.terminationGracePeriodSeconds) ?? 30
      const holds = traffic.mode === 'front'
      const neededMs = drainTimeoutMs + stopTimeoutMs + (holds ? holdTimeoutMs : 0) + STOP_SPARE_MS
      if (seconds * 1000 < neededMs)
        yield `its terminationGracePeriodSeconds (${seconds}) is shorter than --drain-timeout, --stop-timeout${holds ? ', --hold-timeout' : ''} and 5 s together (${formatDuration(neededMs)}), so that the kubelet kills it before it has released the Lease${holds ? ' and forwarded what it holds' : ''}: set at least ${Math.ceil(neededMs / 1000)}`
    },
  },
  'stop-timeout': {
    severity: 'warning',
    about: 'agent and launcher have one --stop-timeout',
    *find({ agent, launcher, container }) {
      const own = agent.options.stopTimeoutMs
      const theirs = launcher?.options?.stopTimeoutMs ?? own
      if (own !== theirs)
        yield `its agent's --stop-timeout is ${formatDuration(own)} and that of the launcher in container ${container} ${formatDuration(theirs)}: set LEADER_STOP_TIMEOUT in both`
    },
  },
  'image-registry': {
    severity: 'warning',
    about: "the agent's image can be pulled on every node",
    *find({ agent }, { cluster }) {
      const image = asText(agent.container.image)
      if (cluster?.nodes === 1 || image === '' || image.includes('/') || agent.place === 'run') return
      yield `its agent's image ${image} names no registry, so that only nodes on which it was loaded can start it: push it to one, and name that (--image, or kustomize's images)`
    },
  },
} as const satisfies Record<string, AgentRule>

function hasAgent({ agent }: Installation): boolean {
  return agent !== null
}

/** Whether the agent has a container of its own. */
function isBeside({ agent }: Installed): boolean {
  return agent.place !== 'run'
}

function containersOf(pod: Fields): Fields[] {
  return [...asList(pod.initContainers), ...asList(pod.containers)].map(asFields) as Fields[]
}

/** Where an httpGet probe asks; `null`: there is none. */
function askedBy(container: Fields, probe: string): { path: string; port: number | null } | null {
  const asked = asFields(asFields(container[probe]).httpGet)
  if (Object.keys(asked).length === 0) return null
  const named = asList(container.ports).find((one) => dig(one, 'name') === asked.port)
  return { path: asText(asked.path), port: asNumber(asked.port) ?? asNumber(dig(named, 'containerPort')) }
}

function userOf(pod: Fields, container: Fields) {
  const own = { ...asFields(pod.securityContext), ...asFields(container.securityContext) }
  return { user: asNumber(own.runAsUser), group: asNumber(own.runAsGroup) }
}

/** Whether every container gets the account's token. */
function automounts(installation: Installation, manifests: readonly Manifest[]): boolean {
  const { pod, manifest } = installation
  const name = accountOf(installation)
  const account = manifests.find(
    (one) => one.kind === 'ServiceAccount' && one.name === name && inOneNamespace(one, manifest),
  )
  return isTrue(pod.automountServiceAccountToken ?? account?.value.automountServiceAccountToken ?? true)
}

/** The names of the volumes that hold a token, as far as it is known which Secrets do. */
function tokenVolumes(pod: Fields, manifests: readonly Manifest[]): Set<string> {
  const isToken = (name: string) =>
    manifests.some((one) => one.kind === 'Secret' && one.name === name && one.value.type === TOKEN_TYPE)
  const holding = asList(pod.volumes).filter(
    (volume) =>
      asList(dig(volume, 'projected', 'sources')).some(
        (source) => 'serviceAccountToken' in asFields(source),
      ) || [...secretsIn(volume)].some(isToken),
  )
  return new Set(holding.map((volume) => asText(dig(volume, 'name'))))
}
