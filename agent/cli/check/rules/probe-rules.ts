import { formatDuration } from '../../../config/values.ts'
import { asFields, asList, asNumber, asText, dig, type Fields } from '../../manifests/manifest.ts'
import { READY_PATH } from '../../manifests/pod-spec.ts'
import { type Installed, type Rule, Unseen } from '../rule.ts'

const PROBES = ['livenessProbe', 'startupProbe', 'readinessProbe'] as const
/** The longest time from a closed gate to a pod that is not Ready, in seconds. */
const SLOWEST_GATE_S = 3
/** The duration of a planned stop beyond its timeouts. */
const STOP_SPARE_MS = 5_000

/** Whether the kubelet judges and ends the containers as agent and launcher expect. */
export const PROBE_RULES: readonly Rule<Installed>[] = [
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
        yield `its agent's readinessProbe ${ready === null ? 'is missing' : `asks ${ready.path} on ${ready.port === null ? 'a port that the container does not declare' : `port ${ready.port}`}`}: with --traffic=${traffic.mode}, set its path to ${wanted} and its port to ${listen.port}`
      for (const name of ['livenessProbe', 'startupProbe'] as const) {
        const alive = askedBy(agent.container, name)
        if (alive !== null && (alive.path !== '/livez' || alive.port !== listen.port))
          yield `its agent's ${name} asks ${alive.path} on port ${alive.port}: set its path to /livez and its port to ${listen.port}`
      }
      if (askedBy(agent.container, 'livenessProbe') === null)
        yield {
          warning: `its agent has no livenessProbe, so an agent that is stuck is never restarted: let one ask /livez on port ${listen.port}`,
        }
      for (const name of PROBES)
        if (dig(agent.container, name, 'httpGet', 'scheme') === 'HTTPS')
          yield `its agent's ${name} uses HTTPS, which the agent does not serve: remove its scheme`
    },
  },
  {
    code: 'gate-speed',
    severity: 'warning',
    about: 'a pod that no longer leads gets no more requests',
    breaks: 'For some seconds, clients reach a pod whose LangFlow is frozen or stopped.',
    fix: "Set periodSeconds and failureThreshold of the agent's readinessProbe to 1.",
    applies: ({ agent }) => agent.options.traffic.mode === 'readiness',
    *find({ agent }) {
      const { periodSeconds = 10, failureThreshold = 3 } = asFields(agent.container.readinessProbe)
      const seconds = Number(periodSeconds) * Number(failureThreshold)
      if (seconds > SLOWEST_GATE_S)
        yield `its agent's readinessProbe closes the gate only after ${seconds} s (failureThreshold ${failureThreshold}, periodSeconds ${periodSeconds}), so clients reach a pod that no longer leads: set both to 1`
    },
  },
  {
    code: 'langflow-probes',
    severity: 'error',
    about: "the probes of LangFlow's container ask the agent, because LangFlow does not listen on a standby",
    breaks:
      'The kubelet restarts every standby, or a standby is never Ready. Without a livenessProbe, it never restarts a launcher that is stuck.',
    fix: "Let the probes of LangFlow's container ask /workloadz on the agent's port, and remove its readinessProbe.",
    applies: isBeside,
    *find({ agent, langflow, container }) {
      const { listen, traffic } = agent.options
      if (Object.keys(asFields(langflow.livenessProbe)).length === 0)
        yield {
          warning: `its container ${container} has no livenessProbe, so a launcher that is stuck is never restarted: let one ask /workloadz on port ${listen.port}`,
        }
      for (const name of PROBES) {
        if (Object.keys(asFields(langflow[name])).length === 0) continue
        if (name === 'readinessProbe' && traffic.mode === 'readiness') continue
        const asked = askedBy(langflow, name)
        const isGate = name === 'readinessProbe' && asked?.path === READY_PATH[traffic.mode]
        if (asked?.port === listen.port && (isGate || asked.path === '/workloadz')) continue
        const end =
          name === 'readinessProbe' ? 'a standby is never Ready' : 'the kubelet restarts every standby'
        yield `its container ${container} has a ${name} that asks LangFlow, which does not listen on a standby, so ${end}: ${name === 'readinessProbe' ? 'remove the probe' : `set its path to /workloadz and its port to ${listen.port}`}`
      }
    },
  },
  {
    code: 'grace-period',
    severity: 'error',
    about: 'the pod has time for a planned stop',
    breaks:
      'The kubelet kills the pod before LangFlow has stopped. The Lease is not released, so the takeover takes a lease duration, and requests that a front holds are lost.',
    fix: 'Raise terminationGracePeriodSeconds to the sum that the finding names.',
    *find({ agent, pod, langflow }) {
      const { drainTimeoutMs, stopTimeoutMs, holdTimeoutMs, traffic } = agent.options
      const seconds = asNumber(pod.terminationGracePeriodSeconds) ?? 30
      const holds = traffic.mode === 'front'
      const hookMs = hookMsOf(langflow)
      const neededMs = drainTimeoutMs + stopTimeoutMs + (holds ? holdTimeoutMs : 0) + hookMs + STOP_SPARE_MS
      if (seconds * 1000 < neededMs)
        yield `its terminationGracePeriodSeconds (${seconds}) is shorter than --drain-timeout, --stop-timeout${holds ? ', --hold-timeout' : ''}${hookMs > 0 ? ', its preStop hook' : ''} and 5 s together (${formatDuration(neededMs)}), so the kubelet kills the pod before it has released the Lease${holds ? ' and forwarded the requests that it holds' : ''}: set at least ${Math.ceil(neededMs / 1000)}`
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

/** Whether the agent runs in another container than LangFlow. */
export function isBeside({ agent }: Installed): boolean {
  return agent.place !== 'run'
}

/** Path and port of an httpGet probe; `null` if the container has no such probe. */
function askedBy(container: Fields, probe: string): { path: string; port: number | null } | null {
  const asked = asFields(asFields(container[probe]).httpGet)
  if (Object.keys(asked).length === 0) return null
  const named = asList(container.ports).find((one) => dig(one, 'name') === asked.port)
  // The query only asks for details.
  const path = asText(asked.path).replace(/\?verbose$/, '')
  return { path, port: asNumber(asked.port) ?? asNumber(dig(named, 'containerPort')) }
}

/** The duration of LangFlow's preStop hook, which is part of the grace period. Throws `Unseen`. */
function hookMsOf({ lifecycle }: Fields): number {
  const hook = asFields(dig(lifecycle, 'preStop'))
  if (Object.keys(hook).length === 0) return 0
  const words = asList(dig(hook, 'exec', 'command')).join(' ')
  const seconds = asNumber(dig(hook, 'sleep', 'seconds')) ?? Number(/\bsleep (\d+)/.exec(words)?.[1])
  if (Number.isNaN(seconds))
    throw new Unseen('its preStop hook is part of the grace period, and may take any time')
  return seconds * 1000
}
