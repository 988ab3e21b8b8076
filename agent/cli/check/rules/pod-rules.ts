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
import { accountOf, type Installation, mountAt, programOf, volumeOf } from '../installation.ts'
import type { Installed, Rule } from '../rule.ts'

/** The duration of a planned stop beyond its timeouts. */
const STOP_SPARE_MS = 5_000

/** Pods that a launcher cannot make safe. `inject` refuses these. */
export const UNSAFE_RULES: readonly Rule<Installation>[] = [
  {
    code: 'pod-processes',
    severity: 'error',
    about: "the launcher is PID 1, so its end ends all of LangFlow's processes",
    breaks:
      "If the launcher dies, LangFlow's processes live on without a deadman, and act beside the next leader.",
    fix: 'Remove hostPID and shareProcessNamespace from the pod.',
    *find({ pod }) {
      for (const name of ['hostPID', 'shareProcessNamespace'])
        if (pod[name] === true)
          yield `it sets ${name}, so the launcher is not PID 1 and its end does not end LangFlow's processes: remove ${name}`
    },
  },
  {
    code: 'pod-host-network',
    severity: 'error',
    about: 'the pod has its own network',
    breaks:
      "Programs of the node reach the agent's port and loopback address, and two pods on one node use the same ports.",
    fix: 'Remove hostNetwork from the pod.',
    *find({ pod }) {
      if (pod.hostNetwork === true)
        yield "it sets hostNetwork, so other programs on the node can use the agent's port and loopback address: remove hostNetwork"
    },
  },
]

/** Whether the pods have agent and launcher. */
export const PRESENCE_RULES: readonly Rule<Installation>[] = [
  {
    code: 'agent-missing',
    severity: 'error',
    about: 'the pods have an agent',
    breaks: 'Every replica runs LangFlow, so all of them act at the same time.',
    fix: 'Pipe the manifest through langflow-leader inject.',
    *find({ agent }) {
      if (agent === null)
        yield 'its pods have no agent, so every replica runs LangFlow: pipe the manifest through langflow-leader inject'
    },
  },
  {
    code: 'agent-place',
    severity: 'error',
    about: 'the agent is a native sidecar',
    breaks:
      'An init container without restartPolicy: Always never ends, so LangFlow never starts. An agent among the containers stops together with LangFlow, and not after it.',
    fix: 'Move the agent to initContainers, with restartPolicy: Always.',
    applies: hasAgent,
    *find({ agent, container }) {
      const name = asText(agent?.container.name)
      if (agent?.place === 'init container')
        yield `its init container ${name} is the agent, which never ends, so LangFlow never starts: set restartPolicy: Always on that container`
      if (agent?.place === 'container')
        yield {
          warning: `its agent ${name} stops together with LangFlow, not after it: move the agent to initContainers with restartPolicy: Always`,
        }
      if (agent?.place === 'run')
        yield {
          warning: `its container ${container} runs agent and LangFlow together, so flows can use the agent's token, and one memory limit applies to both: on Kubernetes 1.29 or newer, use a sidecar`,
        }
    },
  },
  {
    code: 'launcher-missing',
    severity: 'error',
    about: 'the launcher starts LangFlow',
    breaks: 'Every replica runs LangFlow, whether it leads or not.',
    fix: 'Pipe the manifest through langflow-leader inject. Find out which tool replaced the command.',
    applies: hasAgent,
    *find({ launcher, langflow, container }) {
      if (launcher !== null) return
      const words = [...asList(langflow.command), ...asList(langflow.args)].join(' ')
      if (words.includes('langflow-leader'))
        yield {
          unknown: `the command of its container ${container} contains langflow-leader in a form that check cannot read`,
        }
      else
        yield `its container ${container} starts LangFlow without the launcher, so every replica runs LangFlow: pipe the manifest through langflow-leader inject, and find out which tool replaced the command`
    },
  },
]

/** Whether agent and launcher start. */
export const SETTINGS_RULES: readonly Rule<Installation>[] = [
  {
    code: 'agent-settings',
    severity: 'error',
    about: 'the flags and variables of agent and launcher are valid',
    breaks: 'Agent or launcher exits with code 2, so the replica never leads.',
    fix: 'Correct the flag or the variable that the finding names.',
    applies: hasAgent,
    *find({ agent, launcher }) {
      for (const [who, one] of [
        ['agent', agent],
        ['launcher', launcher],
      ] as const) {
        if (one === null || (who === 'launcher' && one.fault !== null && one.fault === agent?.fault)) continue
        if (one.unseen !== null && one.fault !== null)
          yield { unknown: `its ${who} would not start (${one.fault}), unless ${one.unseen}` }
        else if (one.unseen !== null) yield { unknown: `of the ${who}, ${one.unseen}` }
        else if (one.fault !== null) yield `its ${who} would not start: ${one.fault}`
      }
    },
  },
]

/** Whether agent and launcher can connect, and flows cannot use the agent's files and token. */
export const POD_RULES: readonly Rule<Installed>[] = [
  {
    code: 'agent-identity',
    severity: 'error',
    about: 'the agent can read the name and revision of its pod',
    breaks: 'A restarted agent cannot resume its term, and a rollout may not end.',
    fix: "Add POD_NAME, POD_UID, POD_TEMPLATE_HASH and CONTROLLER_REVISION_HASH to the agent's env with valueFrom.fieldRef.",
    *find({ agent }) {
      if (agent.options.pod.problem !== null) yield agent.options.pod.problem
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
    code: 'agent-probes',
    severity: 'error',
    about: "the agent's probes ask the right path and port",
    breaks: 'The pod is Ready although it does not lead, or never Ready, or the kubelet restarts its agent.',
    fix: "Let the readinessProbe ask /readyz, or /frontz with --traffic=front, and the livenessProbe /livez, on the agent's port.",
    *find(one) {
      const { agent } = one
      const { traffic, listen } = agent.options
      const wanted = READY_PATH[traffic.mode]
      const ready = askedBy(agent.container, 'readinessProbe')
      if (ready?.path !== wanted || ready.port !== listen.port)
        yield `its agent's readinessProbe ${ready === null ? 'is missing' : `asks ${ready.path} on port ${ready.port}`}: with --traffic=${traffic.mode}, set its path to ${wanted} and its port to ${listen.port}`
      const alive = askedBy(agent.container, 'livenessProbe')
      if (alive !== null && (alive.path !== '/livez' || alive.port !== listen.port))
        yield `its agent's livenessProbe asks ${alive.path} on port ${alive.port}: set its path to /livez and its port to ${listen.port}`
    },
  },
  {
    code: 'langflow-probes',
    severity: 'error',
    about: 'no probe asks LangFlow, which does not listen on a standby',
    breaks: 'The kubelet restarts every standby, or a standby is never Ready.',
    fix: "Let the probes of LangFlow's container ask /workloadz on the agent's port, and remove its readinessProbe.",
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
        yield `its container ${container} has a ${name} that asks LangFlow, which does not listen on a standby, so ${end}: ${name === 'readinessProbe' ? 'remove the probe' : `set its path to /workloadz and its port to ${listen.port}`}`
      }
    },
  },
  {
    code: 'program-installed',
    severity: 'error',
    about: 'an init container installs the program that LangFlow starts with',
    breaks: 'LangFlow never starts, because its container has no launcher.',
    fix: 'Add the init container install with the arguments install and the directory of the program, on the volume that LangFlow mounts there.',
    applies: isBeside,
    *find({ pod, langflow, container }) {
      const mount = mountAt(langflow, PROGRAM_DIR)
      if (mount === null || 'image' in volumeOf(pod, mount.volume)) return
      const installs = asList(pod.initContainers)
        .map(asFields)
        .filter((one) => programOf(one)?.command === 'install')
      const fills = installs.some((one) => {
        const target = mountAt(one, programOf(one)?.args[0] ?? '')
        return target?.volume === mount.volume && target.path === programOf(one)?.args[0]?.replace(/\/+$/, '')
      })
      if (!fills)
        yield `no init container installs the program into the volume ${mount.volume}, which its container ${container} mounts at ${mount.path}: add the container install with the arguments install and ${PROGRAM_DIR}, and mount that volume there`
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
    code: 'agent-socket',
    severity: 'error',
    about: 'agent and launcher share the directory of their socket',
    breaks: 'The launcher never gets a grant, so LangFlow never starts.',
    fix: 'Mount one emptyDir at the directory of --socket in both containers.',
    applies: isBeside,
    *find(one) {
      const { agent, launcher, langflow, container } = one
      if (launcher?.options == null) return
      const [own, theirs] = [agent.options.socket, launcher.options.socket]
      const [here, there] = [mountAt(agent.container, dirname(own)), mountAt(langflow, dirname(theirs))]
      if (here === null || there === null || here.volume !== there.volume)
        yield `its agent listens on ${own} and the launcher in container ${container} connects to ${theirs}, which is in another directory: mount the same emptyDir in both, at ${dirname(own)}`
      else if (!('emptyDir' in volumeOf(one.pod, here.volume)))
        yield `its socket is on the volume ${here.volume}, which other pods may share: use an emptyDir`
      else if (own.slice(here.path.length) !== theirs.slice(there.path.length))
        yield `its agent listens on ${own} and the launcher in container ${container} connects to ${theirs}: set the same --socket for both`
    },
  },
  {
    code: 'langflow-mounts',
    severity: 'error',
    about: "no flow can write the agent's files",
    breaks:
      'A flow can replace the program or the socket, or pose as the launcher. Then nothing ends its processes when the grant ends.',
    fix: "Mount the directories of program and socket readOnly in LangFlow's container, and the agent's state only in the agent.",
    applies: isBeside,
    *find({ agent, launcher, langflow, pod, container }) {
      const program = mountAt(langflow, PROGRAM_DIR)
      const socket = launcher?.options == null ? null : mountAt(langflow, dirname(launcher.options.socket))
      for (const mount of [program, socket])
        if (mount !== null && !mount.readOnly)
          yield `its container ${container} mounts ${mount.path} writable, so a flow can replace its files: mount it readOnly`
      const state = mountAt(agent.container, agent.options.stateDir)
      if (state === null)
        yield {
          warning: `its agent has no volume at ${agent.options.stateDir} (--state-dir), so the term ends if the agent restarts: mount an emptyDir only in the agent`,
        }
      for (const other of containersOf(pod))
        if (state !== null && other !== agent.container && mounts(other, state.volume))
          yield `its container ${other.name} mounts the agent's state (the volume ${state.volume}), so it can pose as the launcher: mount the volume only in the agent`
    },
  },
  {
    code: 'agent-user',
    severity: 'error',
    about: 'agent and launcher have the permissions to use one socket',
    breaks: 'The launcher cannot connect to the agent, so LangFlow never starts.',
    fix: 'Set the same runAsUser for both containers, or an fsGroup for the pod.',
    applies: isBeside,
    *find({ agent, langflow, pod, container }) {
      const [own, theirs] = [userOf(pod, agent.container), userOf(pod, langflow)]
      const shared = asFields(pod.securityContext)
      if (shared.fsGroup !== undefined || asList(shared.supplementalGroups).length > 0) return
      if (own.user === null || theirs.user === null || own.user === theirs.user) return
      if (own.group !== null && own.group === theirs.group) return
      yield `its agent runs as user ${own.user} and its container ${container} as ${theirs.user}, without a common group, so the launcher cannot connect: set the same runAsUser for both, or an fsGroup for the pod`
    },
  },
  {
    code: 'agent-token',
    severity: 'error',
    about: 'the agent has a token for the API server',
    breaks: 'The agent cannot read or write the Lease, so the replica never leads.',
    fix: "Mount a projected serviceAccountToken at /var/run/secrets/kubernetes.io/serviceaccount in the agent's container.",
    *find(one, { manifests }) {
      const { agent, pod } = one
      if (agent.options.kubeconfig !== null || automounts(one, manifests)) return
      const name = mountAt(agent.container, TOKEN_DIR)?.volume
      const volume = asList(pod.volumes).find((volume) => dig(volume, 'name') === name)
      const secret = dig(volume, 'secret', 'secretName')
      if (secret !== undefined)
        yield { unknown: `the token comes from Secret/${secret}, which check does not read` }
      else if (!hasToken(volume))
        yield `its agent has no token for the API server: mount a projected serviceAccountToken at ${TOKEN_DIR} in the container ${agent.container.name}`
    },
  },
  {
    code: 'token-beside-flows',
    severity: 'error',
    about: "no flow can read the agent's token",
    breaks: 'A flow can write the Lease, and so make two replicas act.',
    fix: 'Set automountServiceAccountToken to false, and mount a projected token only in the agent.',
    applies: isBeside,
    *find(one, { manifests, cluster }) {
      const { pod, langflow, container } = one
      const hidden = cluster?.hidden.get('ServiceAccount')
      if (pod.automountServiceAccountToken === undefined && hidden !== undefined) yield { unknown: hidden }
      else if (automounts(one, manifests))
        yield `its container ${container} has the token of the agent's account, so a flow can write the Lease: set automountServiceAccountToken: false, and mount a projected token only in the agent`
      for (const volume of asList(pod.volumes).filter(hasToken))
        if (mounts(langflow, dig(volume, 'name')))
          yield `its container ${container} mounts a token (the volume ${dig(volume, 'name')}), so a flow can write the Lease: mount the volume only in the agent`
    },
  },
  {
    code: 'grace-period',
    severity: 'error',
    about: 'the pod has time for a planned stop',
    breaks:
      'The kubelet kills the pod before LangFlow has stopped. The Lease is not released, so the takeover takes a lease duration, and requests that a front holds are lost.',
    fix: 'Raise terminationGracePeriodSeconds to the sum that the finding names.',
    *find({ agent, pod }) {
      const { drainTimeoutMs, stopTimeoutMs, holdTimeoutMs, traffic } = agent.options
      const seconds = asNumber(pod.terminationGracePeriodSeconds) ?? 30
      const holds = traffic.mode === 'front'
      const neededMs = drainTimeoutMs + stopTimeoutMs + (holds ? holdTimeoutMs : 0) + STOP_SPARE_MS
      if (seconds * 1000 < neededMs)
        yield `its terminationGracePeriodSeconds (${seconds}) is shorter than --drain-timeout, --stop-timeout${holds ? ', --hold-timeout' : ''} and 5 s together (${formatDuration(neededMs)}), so the kubelet kills the pod before it has released the Lease${holds ? ' and forwarded the requests that it holds' : ''}: set at least ${Math.ceil(neededMs / 1000)}`
    },
  },
  {
    code: 'stop-timeout',
    severity: 'warning',
    about: 'agent and launcher have the same --stop-timeout',
    breaks:
      'The launcher kills LangFlow earlier than the agent expects, or the agent raises an alarm while the launcher still waits.',
    fix: 'Set LEADER_STOP_TIMEOUT to the same value in both containers.',
    *find({ agent, launcher, container }) {
      const own = agent.options.stopTimeoutMs
      const theirs = launcher?.options?.stopTimeoutMs ?? own
      if (own !== theirs)
        yield `its agent's --stop-timeout is ${formatDuration(own)}, but the launcher's in container ${container} is ${formatDuration(theirs)}: set LEADER_STOP_TIMEOUT to the same value in both`
    },
  },
]

function hasAgent({ agent }: Installation): boolean {
  return agent !== null
}

/** Whether the agent runs in another container than LangFlow. */
function isBeside({ agent }: Installed): boolean {
  return agent.place !== 'run'
}

function containersOf(pod: Fields): Fields[] {
  return [...asList(pod.initContainers), ...asList(pod.containers)].map(asFields) as Fields[]
}

/** Path and port of an httpGet probe; `null` if the container has no such probe. */
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

/** Whether the token of the account is mounted into every container. */
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
