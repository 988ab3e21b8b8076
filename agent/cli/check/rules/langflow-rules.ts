import { faultOfSecretKey } from '../../../launcher/workload-environment.ts'
import { asList, asText, dig, type Fields } from '../../manifests/manifest.ts'
import { inOneNamespace, looksLikeLangflow, repositoryOf } from '../../manifests/workload.ts'
import {
  type Environment,
  isOfPod,
  isSet,
  isTruth,
  LOG_ENV,
  lacksLogEnv,
  valueIn,
} from '../container-environment.ts'
import type { Installation } from '../installation.ts'
import { type Facts, type Rule, Unseen } from '../rule.ts'

/** Images that charts run beside LangFlow, and that an earlier search mistook for LangFlow. */
const OTHERS =
  /(^|\/)(nginx(-unprivileged)?|httpd|caddy|haproxy|traefik|envoy|postgres(ql)?|pgbouncer|redis|valkey|langflow-frontend)$/

/** A shorter secret key can be guessed. */
const GUESSED_BELOW = 16

export const FOUND_RULES: readonly Rule<Facts>[] = [
  {
    code: 'langflow-found',
    severity: 'error',
    about: 'a workload runs LangFlow',
    breaks:
      'Nothing can be checked. A LangFlow in a bare Pod, a Job or a DaemonSet has no agent, so it acts beside the leader.',
    fix: "Check the manifests that contain LangFlow, and set the name of LangFlow's container with --container. Run LangFlow in a Deployment, a StatefulSet or a Rollout.",
    *find({ unfound, cluster }) {
      if (unfound === null) return
      const isHidden = cluster?.hidden.has('Deployment') || cluster?.hidden.has('StatefulSet')
      yield isHidden ? { unknown: unfound } : unfound
    },
  },
]

/** About LangFlow itself, with or without an agent. */
export const LANGFLOW_RULES: readonly Rule<Installation>[] = [
  {
    code: 'langflow-image',
    severity: 'error',
    about: 'the container that check found runs LangFlow',
    breaks: 'The rules would judge another program, and LangFlow itself would stay unchecked.',
    fix: "Set the name of LangFlow's container with --container.",
    *find({ langflow, container }) {
      const image = asText(langflow.image)
      if (OTHERS.test(repositoryOf(langflow)))
        yield `its container ${container} runs ${image}, which is not LangFlow: set the name of LangFlow's container with --container`
      else if (!looksLikeLangflow(langflow))
        yield {
          warning: `its container ${container} (${image}) counts as LangFlow's, because the pod has no other container: if this is wrong, set the name of LangFlow's container with --container`,
        }
    },
  },
  {
    code: 'secret-key',
    severity: 'error',
    about: 'LANGFLOW_SECRET_KEY is a valid key for encryption',
    breaks:
      'Without a key, each replica generates its own, and no new leader can read the API keys and credentials that another one stored. With an invalid key, LangFlow cannot store any.',
    fix: "Set LANGFLOW_SECRET_KEY on all replicas to the same output of `openssl rand -base64 32 | tr '+/' '-_'`.",
    *find({ env, scale }) {
      const key = valueIn(env, 'LANGFLOW_SECRET_KEY')
      if (key !== null && isOfPod(key))
        yield 'each pod has its own LANGFLOW_SECRET_KEY, so no new leader can read stored keys and credentials: set one key for all replicas from a Secret'
      const given = key === null ? {} : { LANGFLOW_SECRET_KEY: key }
      const fault = faultOfSecretKey(['langflow run'], given)
      if (fault !== null) yield key === null && scale.most < 2 ? { warning: fault } : fault
      else if (key !== null && key.length < GUESSED_BELOW)
        yield {
          warning: `LANGFLOW_SECRET_KEY has only ${key.length} characters, so it can be guessed: set it to the output of \`openssl rand -base64 32 | tr '+/' '-_'\``,
        }
    },
  },
  {
    code: 'superuser-password',
    severity: 'error',
    about: 'LangFlow has a password for its first user',
    breaks: 'LangFlow exits at its start, so no replica ever serves.',
    fix: 'Set LANGFLOW_SUPERUSER_PASSWORD from a Secret, to another value than langflow.',
    *find({ env, langflow }) {
      if (logsInAutomatically(valueIn(env, 'LANGFLOW_AUTO_LOGIN'), langflow)) return
      const name = 'LANGFLOW_SUPERUSER_PASSWORD'
      const password = valueIn(env, name)
      if (password === null)
        yield `without ${name}, LangFlow exits at its start: set it from a Secret, to the password of LangFlow's first user`
      else if (password === 'langflow')
        yield `LangFlow exits at its start if ${name} has the old default value: set another password`
    },
  },
  {
    code: 'auto-login',
    severity: 'warning',
    about: 'LangFlow requires users to log in',
    breaks: 'Every client that reaches LangFlow is a superuser, and can run any code in its container.',
    fix: 'Set LANGFLOW_AUTO_LOGIN to false, and set LANGFLOW_SUPERUSER_PASSWORD.',
    *find({ env, langflow }) {
      const value = valueIn(env, 'LANGFLOW_AUTO_LOGIN')
      if (logsInAutomatically(value, langflow))
        yield `with ${value === null ? 'the default of LangFlow before 1.13' : 'LANGFLOW_AUTO_LOGIN'}, every client is a superuser and can run any code: set LANGFLOW_AUTO_LOGIN to false, and set LANGFLOW_SUPERUSER_PASSWORD`
    },
  },
  {
    code: 'variable-sources',
    severity: 'error',
    about: 'every Secret and ConfigMap that sets a variable exists, with the key',
    breaks: 'The kubelet does not start a container whose variables refer to a missing object or key.',
    fix: 'Create the object, or add the key.',
    *find({ env, agent }) {
      const all = [...env.missing, ...(agent?.env.missing ?? [])]
      const byName = Map.groupBy(all, ({ kind, name, key }) => JSON.stringify([kind, name, key]))
      for (const missing of byName.values()) {
        const { kind, name, key } = missing[0]!
        const wanting = [...new Set(missing.map(({ variable }) => variable ?? 'envFrom'))].join(', ')
        yield key === null
          ? `${kind} "${name}" does not exist (${wanting}), so no pod starts: create it`
          : `${kind} "${name}" lacks the key ${key} (${wanting}), so no pod starts: add the key`
      }
      const unseen = new Set([...env.unseen, ...(agent?.env.unseen ?? [])])
      if (unseen.size > 0) throw new Unseen(`check does not see ${[...unseen].join(' and ')}`)
    },
  },
  {
    code: 'variable-references',
    severity: 'error',
    about: 'each $(NAME) in a variable refers to a variable before it',
    breaks:
      'Kubernetes leaves the text $(NAME) in the value, so LangFlow or the agent gets a wrong address or password.',
    fix: 'Define NAME in the same container, before the variable that refers to it. Write $$(NAME) for the text itself.',
    *find(one) {
      yield* unresolvedIn(one, one.langflow, one.env)
      if (one.agent !== null && one.agent.place !== 'run')
        yield* unresolvedIn(one, one.agent.container, one.agent.env)
    },
  },
  {
    code: 'service-links',
    severity: 'warning',
    about: "no Service's variables override LangFlow's settings",
    breaks:
      'Kubernetes gives each pod variables for the Services of its namespace. For a Service named langflow, LANGFLOW_PORT is tcp://…, which LangFlow refuses: every start fails.',
    fix: 'Set enableServiceLinks to false in the pod.',
    sees: 'Service',
    *find({ pod, env, manifest }, { manifests }) {
      if (pod.enableServiceLinks === false) return
      for (const { name, value } of manifests.filter(
        (one) => one.kind === 'Service' && inOneNamespace(one, manifest),
      )) {
        const variable = LINKED[name]
        const clusterIP = dig(value, 'spec', 'clusterIP')
        if (variable === undefined || clusterIP === 'None' || dig(value, 'spec', 'type') === 'ExternalName')
          continue
        if (!isSet(env, variable))
          yield `Service/${name} sets ${variable} to a text that LangFlow refuses, so LangFlow exits at its start: set enableServiceLinks: false in the pod`
      }
    },
  },
  {
    code: 'log-env',
    severity: 'warning',
    about: 'LangFlow answers while its database is unavailable',
    breaks:
      "While the database is unavailable, LangFlow's default log blocks its answers for minutes, so the agent counts LangFlow as failed and restarts it.",
    fix: `Set ${LOG_ENV.name} to ${LOG_ENV.value}.`,
    *find({ env }) {
      if (lacksLogEnv(env))
        yield `while its database is unavailable, LangFlow's default log blocks its answers for minutes, so the agent counts it as failed: set ${LOG_ENV.name} to ${LOG_ENV.value}`
      else isSet(env, LOG_ENV.name)
    },
  },
]

/** The variables of Services, which Kubernetes also defines. */
const OF_SERVICE = /_SERVICE_(HOST|PORT)|_PORT(_|$)/

function* unresolvedIn(
  { pod }: Installation,
  container: Fields,
  { unresolved }: Environment,
): Generator<string> {
  for (const { variable, name } of unresolved) {
    const mayBeService = name.startsWith('KUBERNETES_') || pod.enableServiceLinks !== false
    if (!/^(LANGFLOW|LEADER)_/.test(variable) || (mayBeService && OF_SERVICE.test(name))) continue
    const isLater = asList(container.env).some((one) => dig(one, 'name') === name)
    yield isLater
      ? `${variable} contains $(${name}), which is defined after it, so Kubernetes leaves that text in the value: move ${name} before ${variable}`
      : `${variable} contains $(${name}), but its container has no variable ${name}, so Kubernetes leaves that text in the value: define ${name} before ${variable}`
  }
}

/** Names of Services, each with the variable that Kubernetes makes of it and that LangFlow reads as a number. */
const LINKED: Readonly<Record<string, string>> = {
  langflow: 'LANGFLOW_PORT',
  'langflow-redis': 'LANGFLOW_REDIS_PORT',
  'langflow-redis-queue': 'LANGFLOW_REDIS_QUEUE_PORT',
  'langflow-prometheus': 'LANGFLOW_PROMETHEUS_PORT',
}

/** `value`: LANGFLOW_AUTO_LOGIN, or `null`. Throws `Unseen` if the version of LangFlow decides, and the image's tag does not name it. */
function logsInAutomatically(value: string | null, langflow: Fields): boolean {
  if (value !== null) return isTruth(value)
  const image = asText(langflow.image)
  // The tag of an image of one's own is not LangFlow's version.
  const isOfficial = /(^|\/)langflowai\/langflow(-\w+)?$/.test(repositoryOf(langflow))
  const [, major, minor] = /:v?(\d+)\.(\d+)[^/]*$/.exec(image.replace(/@.*$/, '')) ?? []
  if (!isOfficial || major === undefined)
    throw new Unseen(
      `the image ${image} names no version of LangFlow, and the default of LANGFLOW_AUTO_LOGIN is true before LangFlow 1.13`,
    )
  return Number(major) < 1 || (Number(major) === 1 && Number(minor) < 13)
}
