import { basename } from 'node:path'
import { programOf } from '../../manifests/agent-container.ts'
import { asFields, asList, asText, dig, type Fields } from '../../manifests/manifest.ts'
import {
  containersIn,
  hasCommand,
  inOneNamespace,
  isOfWorkload,
  looksLikeLangflow,
} from '../../manifests/workload.ts'
import { containersOf, mountsOf, objectsOf, volumeOf } from '../facts.ts'
import { type Installation, type Rule, warning } from '../rule.ts'

/** Capabilities with which a process can trace or kill others, or leave its container. */
const HARMFUL = ['ALL', 'SYS_PTRACE', 'SYS_ADMIN', 'KILL', 'SYS_MODULE', 'SYS_RAWIO']
/** Directories of a node from which a process can stop or trace the containers. */
const OF_NODE = /^\/(proc|var|(var\/)?(run|lib)(\/(containerd|crio|docker|kubelet).*)?)?\/?$/
/** LangFlow's own images, which set a user other than root. */
const OFFICIAL = /(^|\/)langflowai\/langflow(-backend)?[:@]/
/** Commands that use LangFlow's database. */
const ACTS = /\b(langflow(\.__main__)?\s+(run|migration|superuser)|alembic\s+(upgrade|downgrade|stamp))\b/

/** Whether LangFlow runs only by a grant, and cannot escape from its launcher. */
export const POD_RULES: readonly Rule<Installation>[] = [
  {
    code: 'pod-namespaces',
    about: 'Each pod has its own processes and network. If not, LangFlow outlives its launcher.',
    fix: 'Remove the field from the pod.',
    *find({ pod }) {
      for (const name of ['hostPID', 'shareProcessNamespace', 'hostNetwork'])
        if (pod[name] === true) yield `it sets ${name}`
    },
  },
  {
    code: 'agent-sidecar',
    about: 'The agent is a native sidecar. If not, every replica runs LangFlow.',
    fix: 'Pipe the manifest through langflow-leader inject, which adds the agent to initContainers with restartPolicy: Always.',
    *find({ agent, pod }) {
      const install = containersOf(pod).find((own) => programOf(own)?.name === 'install')
      if (agent && install && install.image !== agent.container.image)
        yield warning(`its containers ${install.name} and ${agent.container.name} have different images`)
      if (agent === null) yield 'its pods have no agent, so every replica runs LangFlow'
      if (agent?.place === 'init container')
        yield `its init container ${agent.container.name} never ends, so LangFlow never starts`
      if (agent?.place === 'container')
        yield warning(`its agent ${agent.container.name} stops together with LangFlow`)
      if (agent?.place === 'run')
        yield warning("agent and LangFlow run in one container, so flows can use the agent's token")
    },
  },
  {
    code: 'launcher-first',
    about: "The launcher is the container's first process. If not, LangFlow runs without a grant.",
    fix: 'Pipe the manifest through langflow-leader inject, and find out which tool changed the command.',
    *find({ agent, langflow, container }) {
      if (agent === null || agent.place === 'run') return
      const [first = '', ...more] = [...asList(langflow.command), ...asList(langflow.args)].map(asText)
      const program = programOf(langflow)
      if (program === null && [first, ...more].join(' ').includes('langflow-leader'))
        yield { unknown: `the command of ${container} is in a form that check cannot read` }
      else if (program?.name !== 'launch')
        yield `its container ${container} starts LangFlow without the launcher`
      else if (!/^(node|env|langflow-leader(\.mjs)?)$/.test(basename(first)))
        yield `the command of its container ${container} begins with ${basename(first)}`
    },
  },
  {
    code: 'langflow-privileges',
    about: 'LangFlow has no privileges. With them, a flow can stop its launcher, and two replicas act.',
    fix: "Remove privileged, the capabilities and the node's directories from LangFlow's container, and run it as another user than root.",
    *find({ agent, pod, langflow, container }) {
      if (agent === null) return
      const own = { ...asFields(pod.securityContext), ...asFields(langflow.securityContext) }
      const { privileged, capabilities, runAsUser, runAsNonRoot } = own
      const added = asList(dig(capabilities, 'add')).map((one) => asText(one).replace(/^CAP_/, ''))
      const harmful = added.filter((one) => HARMFUL.includes(one)).join(', ')
      // Without capabilities, root has no more rights than the launcher.
      const isBare = added.length === 0 && asList(dig(capabilities, 'drop')).includes('ALL')
      for (const { volume } of mountsOf(langflow)) {
        const path = asText(dig(volumeOf(pod, volume), 'hostPath', 'path'))
        if (OF_NODE.test(path)) yield `its container ${container} mounts ${path} of the node`
      }
      if (privileged === true) yield `its container ${container} is privileged`
      else if (harmful !== '')
        yield {
          message: `its container ${container} has the capabilities ${harmful}`,
          severity: (runAsUser ?? 0) === 0 ? 'error' : 'warning',
        }
      else if (runAsUser === 0 && !isBare) yield warning(`its container ${container} runs as root`)
      else if (!(isBare || runAsUser || runAsNonRoot || OFFICIAL.test(asText(langflow.image))))
        yield { unknown: `only the image of the container ${container} sets its user` }
    },
  },
  {
    code: 'other-containers',
    about: 'No other container acts as LangFlow. It would use the database beside the leader.',
    fix: 'Remove that container: LangFlow migrates its database when it starts.',
    *find({ pod, langflow, manifest }, { manifests }) {
      for (const one of containersOf(pod)) {
        const act = actIn(one) ?? (!hasCommand(one) && looksLikeLangflow(one) ? 'LangFlow' : null)
        if (one !== langflow && one.name !== langflow.name && programOf(one) === null && act !== null)
          yield `its container ${one.name} runs ${act} in every pod`
      }
      for (const job of manifests) {
        if (!inOneNamespace(job, manifest) || !/^(CronJob|Job|Pod|DaemonSet)$/.test(job.kind)) continue
        const [act] = containersIn(job).flatMap((one) => actIn(one) ?? [])
        if (act !== undefined && !isOfWorkload(job))
          yield { message: `it runs ${act} beside the leader`, of: job }
      }
    },
  },
  {
    code: 'agent-settings',
    about: 'Flags and variables are valid. If not, agent or launcher exits, and never leads.',
    fix: 'Correct the flag or the variable, or change the port of the other container.',
    *find({ agent, launcher, pod, container }) {
      const started = [agent?.started ?? [], launcher ?? []].flat()
      yield* new Set(started.flatMap((one) => ('fault' in one ? one.fault : [])))
      for (const one of started) if ('unknown' in one) yield one
      if (agent === null || !('options' in agent.started)) return
      const { listen, traffic } = agent.started.options
      for (const other of containersOf(pod).filter(
        (own) => !/^(agent|run)$/.test(programOf(own)?.name ?? ''),
      ))
        for (const port of asList(other.ports).map((one) => dig(one, 'containerPort'))) {
          // LangFlow's container declares the port of the front.
          const isFront = traffic.mode === 'front' && port === traffic.listen.port && other.name !== container
          if (port === listen.port || isFront)
            yield `its container ${other.name} has the agent's port ${port}`
        }
    },
  },
  {
    code: 'langflow-settings',
    about: 'LangFlow accepts its settings. If not, it exits at its start.',
    fix: 'Set LANGFLOW_WORKERS to 1, or LANGFLOW_JOB_QUEUE_TYPE to redis, and enableServiceLinks to false in the pod.',
    *find(one, facts) {
      const { env, pod } = one
      for (const of of pod.enableServiceLinks === false ? [] : objectsOf('Service', one, facts)) {
        const variable = `${of.name.toUpperCase().replaceAll('-', '_')}_PORT`
        const { clusterIP, type } = asFields(of.value.spec)
        if (!PORTS.includes(variable) || clusterIP === 'None' || type === 'ExternalName') continue
        if (!env.isSet(variable))
          yield { message: `Kubernetes sets ${variable} to its URL, so LangFlow exits at its start`, of }
      }
      // Sources of which check cannot read the names of variables rarely set this one.
      const isNamed = 'LANGFLOW_WORKERS' in env.texts('')
      const workers = env.flag('workers') ?? (isNamed && env.value('LANGFLOW_WORKERS'))
      // LangFlow starts two workers for each CPU, and one more, if the number is -1.
      const isMany = Number(workers) > 1 || workers === '-1'
      if (!isMany || env.value('LANGFLOW_JOB_QUEUE_TYPE') === 'redis') return
      if (!/^(1|t|true|y|yes|on)$/i.test(env.value(BYPASS) ?? ''))
        yield `with ${workers} workers and no LANGFLOW_JOB_QUEUE_TYPE=redis, LangFlow exits at its start`
    },
  },
]

/** The integers among LangFlow's settings that a Service of this name sets to a URL. */
const PORTS = ['LANGFLOW_PORT', 'LANGFLOW_REDIS_PORT', 'LANGFLOW_PROMETHEUS_PORT']
const BYPASS = 'LANGFLOW_DANGEROUSLY_ALLOW_MULTI_WORKER_WITHOUT_SHARED_QUEUE'

/** The command of a container that uses LangFlow's database; `null` for other commands. */
function actIn({ command, args }: Fields): string | null {
  return ACTS.exec([...asList(command), ...asList(args)].join(' '))?.[0] ?? null
}
