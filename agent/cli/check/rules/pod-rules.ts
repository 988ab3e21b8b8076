import { dirname } from 'node:path'
import { formatDuration } from '../../../config/values.ts'
import {
  asFields,
  asList,
  asNumber,
  asText,
  dig,
  type Fields,
  type Manifest,
} from '../../manifests/manifest.ts'
import { PROGRAM_DIR, READY_PATH, TOKEN_DIR } from '../../manifests/pod-spec.ts'
import { inOneNamespace } from '../../manifests/workload.ts'
import { accountOf, type Installation, mountAt } from '../installation.ts'
import type { Installed, Rule } from '../rule.ts'

/** How long a planned stop takes beyond its timeouts. */
const STOP_SPARE_MS = 5_000

/** Pods in which a launcher cannot be safe. `inject` refuses these. */
export const UNSAFE_RULES: readonly Rule<Installation>[] = [
  {
    code: 'pod-processes',
    severity: 'error',
    about: 'the launcher is PID 1, whose end ends every process of LangFlow',
    *find({ pod }) {
      for (const name of ['hostPID', 'shareProcessNamespace'])
        if (pod[name] === true)
          yield `with ${name} the launcher cannot be PID 1, whose end ends every process of LangFlow: remove it`
    },
  },
  {
    code: 'pod-host-network',
    severity: 'error',
    about: 'the pod has a network of its own',
    *find({ pod }) {
      if (pod.hostNetwork === true)
        yield "with hostNetwork the agent's port and the loopback address are the node's, so that other programs can answer and ask: remove it"
    },
  },
]

/** Whether agent and launcher are there. */
export const PRESENCE_RULES: readonly Rule<Installation>[] = [
  {
    code: 'agent-missing',
    severity: 'error',
    about: 'the pods have an agent',
    *find({ agent }) {
      if (agent === null)
        yield 'its pods have no agent, so that every replica acts: pipe it through langflow-leader inject'
    },
  },
  {
    code: 'agent-place',
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
          warning: `its container ${container} has agent and LangFlow together, so that each flow can use the agent's token and a memory limit may end both: on Kubernetes 1.29 or newer, use a sidecar`,
        }
    },
  },
  {
    code: 'launcher-missing',
    severity: 'error',
    about: 'LangFlow is started by the launcher',
    applies: hasAgent,
    *find({ launcher, langflow, container }) {
      if (launcher !== null) return
      const words = [...asList(langflow.command), ...asList(langflow.args)].join(' ')
      if (words.includes('langflow-leader'))
        yield { unknown: `the command of its container ${container} names it, and may start it otherwise` }
      else
        yield `its container ${container} starts LangFlow without the launcher, so that every replica acts: pipe it through langflow-leader inject, and look at what replaced its command since`
    },
  },
]

/** Whether agent and launcher start. */
export const SETTINGS_RULES: readonly Rule<Installation>[] = [
  {
    code: 'agent-settings',
    severity: 'error',
    about: 'the agent starts with its flags and variables',
    applies: hasAgent,
    *find({ agent, launcher }) {
      if (agent?.fault) yield `its agent would not start: ${agent.fault}`
      if (launcher?.fault && launcher.fault !== agent?.fault)
        yield `its launcher would not start: ${launcher.fault}`
    },
  },
]

/** Whether agent and launcher find each other, and no flow reaches the agent's files and token. */
export const POD_RULES: readonly Rule<Installed>[] = [
  {
    code: 'agent-identity',
    severity: 'error',
    about: 'the agent knows its pod',
    *find({ agent }) {
      if (agent.options.pod.problem !== null) yield agent.options.pod.problem
    },
  },
  {
    code: 'agent-target',
    severity: 'error',
    about: 'the agent asks LangFlow where it listens',
    *find({ agent, port, portIsSaid, container }) {
      const { target } = agent.options
      if (portIsSaid && target.port !== port)
        yield `its agent asks LangFlow on port ${target.port} (--target), and its container ${container} listens on ${port}: make them the same`
    },
  },
  {
    code: 'agent-port-taken',
    severity: 'error',
    about: 'no other container has the ports of the agent and its front',
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
  {
    code: 'agent-probes',
    severity: 'error',
    about: 'probes of the agent ask for the right path and port',
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
  {
    code: 'langflow-probes',
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
  {
    code: 'agent-socket',
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
  {
    code: 'langflow-mounts',
    severity: 'error',
    about: "no flow can write the agent's files",
    applies: isBeside,
    *find({ agent, launcher, langflow, pod, container }) {
      const program = mountAt(langflow, PROGRAM_DIR)
      const socket = launcher?.options == null ? null : mountAt(langflow, dirname(launcher.options.socket))
      for (const mount of [program, socket])
        if (mount !== null && !mount.readOnly)
          yield `its container ${container} mounts ${mount.path} writable, so that a flow can replace the files in it: mount it readOnly`
      const state = mountAt(agent.container, agent.options.stateDir)
      if (state === null)
        yield {
          warning: `its agent has no volume at ${agent.options.stateDir} (--state-dir), so that a restarted agent ends its term: mount an emptyDir of its own`,
        }
      for (const other of containersOf(pod))
        if (state !== null && other !== agent.container && mounts(other, state.volume))
          yield `its container ${other.name} mounts the agent's state (the volume ${state.volume}), by which it can pose as the launcher: mount it only in the agent`
    },
  },
  {
    code: 'agent-user',
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
  {
    code: 'agent-token',
    severity: 'error',
    about: 'the agent has a token for the API server',
    *find(one, { manifests }) {
      const { agent, pod } = one
      if (agent.options.kubeconfig !== null || automounts(one, manifests)) return
      const name = mountAt(agent.container, TOKEN_DIR)?.volume
      const volume = asList(pod.volumes).find((volume) => dig(volume, 'name') === name)
      const secret = dig(volume, 'secret', 'secretName')
      if (secret !== undefined) yield { unknown: `it would be in Secret/${secret}` }
      else if (!hasToken(volume))
        yield `its agent has no token for the API server: mount a projected serviceAccountToken at ${TOKEN_DIR} in the container ${agent.container.name}`
    },
  },
  {
    code: 'token-beside-flows',
    severity: 'error',
    about: 'no flow has the token of the agent',
    applies: isBeside,
    *find(one, { manifests, cluster }) {
      const { pod, langflow, container } = one
      const hidden = cluster?.hidden.get('ServiceAccount')
      if (pod.automountServiceAccountToken === undefined && hidden !== undefined) yield { unknown: hidden }
      else if (automounts(one, manifests))
        yield `its container ${container} has the token of the agent's account, so that a flow can write the Lease: set automountServiceAccountToken: false, and mount a projected token in the agent alone`
      for (const volume of asList(pod.volumes).filter(hasToken))
        if (mounts(langflow, dig(volume, 'name')))
          yield `its container ${container} mounts a token (the volume ${dig(volume, 'name')}), so that a flow can write the Lease: mount it only in the agent`
    },
  },
  {
    code: 'grace-period',
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
  {
    code: 'stop-timeout',
    severity: 'warning',
    about: 'agent and launcher have one --stop-timeout',
    *find({ agent, launcher, container }) {
      const own = agent.options.stopTimeoutMs
      const theirs = launcher?.options?.stopTimeoutMs ?? own
      if (own !== theirs)
        yield `its agent's --stop-timeout is ${formatDuration(own)} and that of the launcher in container ${container} ${formatDuration(theirs)}: set LEADER_STOP_TIMEOUT in both`
    },
  },
]

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

/** Path and port of an httpGet probe; `null`: there is none. */
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
  return (pod.automountServiceAccountToken ?? account?.value.automountServiceAccountToken) !== false
}

/** Whether a volume holds a token of the pod's account. */
function hasToken(volume: unknown): boolean {
  return asList(dig(volume, 'projected', 'sources')).some(
    (source) => 'serviceAccountToken' in asFields(source),
  )
}

function mounts(container: Fields, volume: unknown): boolean {
  return asList(container.volumeMounts).some((mount) => dig(mount, 'name') === volume)
}
