import { isIP } from 'node:net'
import { formatDuration } from '../../../config/values.ts'
import { asFields, asList, asNumber, asText, dig, type Fields } from '../../manifests/manifest.ts'
import { READY_PATH } from '../../manifests/pod-spec.ts'
import { isOfPod, POD_FIELDS, Unknown } from '../environment.ts'
import { mountAt } from '../facts.ts'
import { type Installed, type Rule, warning } from '../rule.ts'

/** The longest time from a closed gate to a pod that is not Ready, in seconds. */
const SLOWEST_GATE_S = 3
/** The duration of a planned stop beyond its timeouts. */
const STOP_SPARE_MS = 5_000
/** From the grant to the first answer, in milliseconds, as measured with LangFlow 1.13 on 2 cores. */
const START_MS = { cold: 37_000, warm: 2_000 } as const

export const AGENT_RULES: readonly Rule<Installed>[] = [
  {
    code: 'agent-identity',
    about: "The agent can read its pod's name and revision. If not, a rollout does not end.",
    fix: "Set POD_NAME, POD_UID, POD_TEMPLATE_HASH and CONTROLLER_REVISION_HASH in the agent's env with valueFrom.fieldRef.",
    *find({ agent, options, manifest }) {
      const { peers, identity } = options
      const own = agent.env.texts()
      const isConfigured =
        own.LEADER_IDENTITY !== undefined || agent.args.some((word) => /^--identity/.test(word))
      const hash = manifest.kind === 'StatefulSet' ? 'CONTROLLER_REVISION_HASH' : 'POD_TEMPLATE_HASH'
      const required = [isConfigured ? [] : 'POD_NAME', peers === null ? [] : hash].flat()
      for (const name of required) if (own[name] === undefined) yield `its agent has no variable ${name}`
      for (const { variable, path, text } of POD_FIELDS)
        if (own[variable] !== undefined && own[variable] !== text)
          yield `${variable} is not ${path} of the pod`
      if (isConfigured && !isOfPod(identity)) yield `all its agents have the identity ${identity}`
    },
  },
  {
    code: 'agent-target',
    about: 'The agent asks LangFlow where it listens. If not, no replica ever serves.',
    fix: "Set --target to LangFlow's port, and LangFlow's --host to 127.0.0.1, or 0.0.0.0 with --traffic=readiness.",
    *find({ env, options: { target, traffic }, port, container }) {
      const isPort = target.port === port || env.value('LANGFLOW_PORT') === String(target.port)
      if (!isPort) yield `its agent asks port ${target.port} (--target), but ${container} listens on ${port}`
      const host = env.flag('host') ?? env.texts().LANGFLOW_HOST ?? ''
      const asked = new URL(target.origin).hostname.replace('localhost', '127.0.0.1').replace(/[[\]]/g, '')
      if (['0.0.0.0', '::'].includes(host) && traffic.mode === 'front')
        yield warning(`clients can bypass the fronts, because ${container} listens on ${host}`)
      else if (isIP(host) !== 0 && !['0.0.0.0', '::', asked].includes(host))
        yield `its agent asks ${asked} (--target), but ${container} listens on ${host}`
    },
  },
  {
    code: 'agent-cpu-limit',
    severity: 'warning',
    about: 'The agent has no CPU limit. A throttled agent renews late.',
    fix: "Remove limits.cpu from the agent's container. Its request is enough.",
    *find({ agent }) {
      const limit = dig(agent.container, 'resources', 'limits', 'cpu')
      if (limit != null) yield `its agent has the CPU limit ${limit}`
    },
  },
  {
    code: 'agent-probes',
    about: "Its probes ask the agent's gate. If not, a pod is Ready that does not lead.",
    fix: 'Let the readinessProbe ask /readyz (periodSeconds 1, failureThreshold 1), or /frontz with --traffic=front, and the livenessProbe /livez.',
    *find({ agent: { container }, options: { listen, traffic } }) {
      const gate = READY_PATH[traffic.mode]
      const paths = { readinessProbe: gate, livenessProbe: '/livez', startupProbe: '/livez' }
      for (const [probe, path] of Object.entries(paths)) {
        const asked = askedBy(container, probe)
        if (asked === null && probe === 'readinessProbe') yield 'its agent has no readinessProbe'
        if (asked !== null && (asked.path !== path || asked.port !== listen.port))
          yield `its agent's ${probe} asks ${asked.path} on port ${asked.port}`
      }
      const { periodSeconds = 10, failureThreshold = 3 } = asFields(
        container.readinessProbe ?? { periodSeconds: 1 },
      )
      const seconds = Number(periodSeconds) * Number(failureThreshold)
      if (traffic.mode === 'readiness' && seconds > SLOWEST_GATE_S)
        yield warning(`its agent's readinessProbe closes the gate only after ${seconds} s`)
    },
  },
  {
    code: 'langflow-probes',
    about: "LangFlow's probes ask the agent. If not, the kubelet restarts every standby.",
    fix: "Let the probes of LangFlow's container ask /workloadz on the agent's port, and remove its readinessProbe and postStart hook.",
    *find({ langflow, container, port, options: { listen, traffic } }) {
      if (askedBy(langflow, 'livenessProbe') === null)
        yield warning(`its container ${container} has no livenessProbe`)
      for (const probe of ['livenessProbe', 'startupProbe', 'readinessProbe']) {
        const asked = askedBy(langflow, probe)
        if (asked === null || (probe === 'readinessProbe' && traffic.mode === 'readiness')) continue
        const paths = probe === 'readinessProbe' ? ['/workloadz', READY_PATH[traffic.mode]] : ['/workloadz']
        if (asked.port !== listen.port || !paths.includes(asked.path))
          yield `the ${probe} of its container ${container} asks ${asked.path || 'LangFlow'} on port ${asked.port}`
      }
      const asked = askedBy({ ports: langflow.ports, ...asFields(langflow.lifecycle) }, 'postStart')
      const words = asList(dig(langflow.lifecycle, 'postStart', 'exec', 'command')).join(' ')
      // A loop with a limit, or in the background, ends or does not matter.
      const waits = /\b(until|while)\b/.test(words) && !/\btimeout\b|-[lg][te]\b|&\)?\s*$/.test(words)
      if (asked?.port === port || (waits && RegExp(`\\b${port}\\b|LANGFLOW_PORT`).test(words)))
        yield `the postStart hook of its container ${container} waits for LangFlow, which a standby does not start`
    },
  },
  {
    code: 'grace-period',
    about: 'The pod has time for a planned stop. If not, it is killed before it releases the Lease.',
    fix: 'Raise terminationGracePeriodSeconds.',
    *find({ pod, langflow, options }) {
      const { drainTimeoutMs, stopTimeoutMs, quietTimeoutMs, holdTimeoutMs, traffic } = options
      const seconds = asNumber(pod.terminationGracePeriodSeconds) ?? 30
      const ofFront = traffic.mode === 'front' ? quietTimeoutMs + holdTimeoutMs : 0
      const neededMs = drainTimeoutMs + stopTimeoutMs + ofFront + hookMsOf(langflow) + STOP_SPARE_MS
      if (seconds * 1000 < neededMs)
        yield `terminationGracePeriodSeconds is ${seconds}, and a planned stop needs up to ${Math.ceil(neededMs / 1000)}`
    },
  },
  {
    code: 'standby-command',
    about: 'The launcher can keep LangFlow warm. If not, a takeover takes a whole start.',
    fix: 'Let the command be "langflow run …", or "sh -c" with it after lines that only set variables. Do everything else in an init container.',
    *find({ options, env, launcher, langflow, container }) {
      const cold = launcher !== null && options.standby === 'warm' ? env.whyCold : null
      if (cold !== null) yield `the standbys of its container ${container} are cold: ${cold}`
      if (options.standby === 'warm' && mountAt(langflow, env.texts().LANGFLOW_CONFIG_DIR ?? '')?.readOnly)
        yield warning('LANGFLOW_CONFIG_DIR is read-only, so the standby is ready too early')
    },
  },
  {
    code: 'hold-timeout',
    about: 'The timeouts exceed a start of LangFlow. If not, held requests or starts fail.',
    fix: 'Set --hold-timeout to at least the time in the finding, which is shorter with a warm standby. Remove --start-timeout.',
    *find({ options }) {
      const { traffic, holdTimeoutMs, leaseDurationMs, standby, startTimeoutMs } = options
      const neededMs = leaseDurationMs + START_MS[standby]
      if (traffic.mode === 'front' && holdTimeoutMs < neededMs)
        yield `--hold-timeout is ${formatDuration(holdTimeoutMs)}, and a takeover with a ${standby} standby takes ${formatDuration(neededMs)}`
      // The first start, and each start after a failed preparation, is cold.
      if (startTimeoutMs < START_MS.cold)
        yield `--start-timeout is ${formatDuration(startTimeoutMs)}, and a start of LangFlow takes ${formatDuration(START_MS.cold)}`
    },
  },
]

/** An httpGet probe; `null` if the container has no such probe. */
function askedBy(container: Fields, probe: string) {
  const all = asFields(container[probe])
  if (Object.keys(all).length === 0) return null
  const { path, port } = asFields(all.httpGet)
  const named = asList(container.ports).find((one) => dig(one, 'name') === port)
  return {
    // The query only asks for details.
    path: asText(path).replace(/\?verbose$/, ''),
    port: asNumber(port) ?? asNumber(dig(named, 'containerPort')),
  }
}

/** The duration of LangFlow's preStop hook, which is part of the grace period. Throws `Unknown`. */
function hookMsOf({ lifecycle }: Fields): number {
  if (dig(lifecycle, 'preStop') === undefined) return 0
  const seconds = asNumber(dig(lifecycle, 'preStop', 'sleep', 'seconds'))
  if (seconds === null) throw new Unknown('the duration of the preStop hook is not in the manifest')
  return seconds * 1000
}
