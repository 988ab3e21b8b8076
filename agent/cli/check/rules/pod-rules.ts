import { basename } from 'node:path'
import { asFields, asList, asText, dig, type Fields, titleOf } from '../../manifests/manifest.ts'
import { containersIn, inOneNamespace, looksLikeLangflow } from '../../manifests/workload.ts'
import {
  accountOf,
  containersOf,
  type Installation,
  labelsOf,
  matches,
  mountsOf,
  programOf,
} from '../installation.ts'
import type { Rule } from '../rule.ts'

/** Capabilities with which a process can trace or kill others, or leave its container. */
const HARMFUL = ['ALL', 'SYS_PTRACE', 'SYS_ADMIN', 'KILL', 'SYS_MODULE', 'SYS_RAWIO']
/** Commands that use LangFlow's database. */
const ACTS = /\b(langflow(\.__main__)?\s+(run|migration|superuser)|alembic\s+(upgrade|downgrade|stamp))\b/

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
    code: 'pod-valid',
    severity: 'error',
    about: 'Kubernetes accepts the pods',
    breaks: 'The API server refuses the manifest, or the kubelet does not start a container.',
    fix: 'Correct the field that the finding names.',
    *find({ manifest, spec, pod, ...one }) {
      if ('selector' in spec && !matches(spec.selector, labelsOf(one)))
        yield `the selector of ${titleOf(manifest)} does not match the labels of its pods, so the API server refuses it: use the same labels in spec.selector and in spec.template.metadata`
      const claims = asList(spec.volumeClaimTemplates).map((claim) => dig(claim, 'metadata'))
      const volumes = [...asList(pod.volumes), ...claims]
      for (const container of containersOf(pod)) {
        for (const { volume } of mountsOf(container))
          if (!volumes.some((other) => dig(other, 'name') === volume))
            yield `its container ${container.name} mounts the volume ${volume}, which the pod does not have, so the API server refuses it: add the volume`
        const security = { ...asFields(pod.securityContext), ...asFields(container.securityContext) }
        if (security.runAsNonRoot === true && security.runAsUser === 0)
          yield `its container ${container.name} has runAsNonRoot and runAsUser 0, so the kubelet does not start it: set another runAsUser, such as 1000`
      }
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
      // A shell replaces itself by its last command, at least after exec.
      const unquoted = words.replace(/'[^']*'|"[^"]*"/g, '')
      if (/langflow-leader(\.mjs)?\s+launch\s.*[;&|\n]\s*\S/s.test(unquoted) && !/\bexec\s/.test(words))
        yield `a shell of its container ${container} starts the launcher and stays the first process, so a flow can kill the launcher: start it without a shell, with the command /opt/langflow-leader/node --disable-sigusr1 /opt/langflow-leader/langflow-leader.mjs launch --`
      else if (words.includes('langflow-leader'))
        yield {
          unknown: `the command of its container ${container} contains langflow-leader in a form that check cannot read`,
        }
      else
        yield `its container ${container} starts LangFlow without the launcher, so every replica runs LangFlow: pipe the manifest through langflow-leader inject, and find out which tool replaced the command`
    },
  },
  {
    code: 'launcher-first',
    severity: 'error',
    about: "the launcher is the first process of LangFlow's container",
    breaks: 'A flow can kill the launcher, and its processes then act without a deadman.',
    fix: 'Let the command begin with the node of the program, and remove tini, shells and other programs before it.',
    applies: hasAgent,
    *find({ langflow, container }) {
      if (programOf(langflow)?.command !== 'launch') return
      const [first = ''] = [...asList(langflow.command), ...asList(langflow.args)].map(asText)
      if (!/^(node|env|langflow-leader(\.mjs)?|launch)$/.test(basename(first)))
        yield `the command of its container ${container} begins with ${basename(first)}, so the launcher is not PID 1 and a flow can kill it: remove ${basename(first)} from the command`
    },
  },
  {
    code: 'langflow-privileges',
    severity: 'error',
    about: 'no flow may trace or kill its launcher',
    breaks: 'A flow can stop the launcher or act in its name, so two replicas may act at the same time.',
    fix: "Remove privileged and added capabilities from LangFlow's container, and run it as another user than root.",
    applies: hasAgent,
    *find({ pod, langflow, container }) {
      const own = { ...asFields(pod.securityContext), ...asFields(langflow.securityContext) }
      const { privileged, capabilities, runAsUser = 0 } = own
      const added = asList(dig(capabilities, 'add')).map((one) => asText(one).replace(/^CAP_/, ''))
      const harmful = added.filter((one) => HARMFUL.includes(one))
      if (privileged === true)
        yield `its container ${container} is privileged, so a flow can trace and stop the launcher: remove privileged`
      else if (harmful.length > 0 && runAsUser === 0)
        yield `its container ${container} has the capabilities ${harmful.join(', ')}, so a flow can trace or stop the launcher: remove them`
      else if (harmful.length > 0)
        yield {
          warning: `its container ${container} may get the capabilities ${harmful.join(', ')}, with which a flow can trace or stop the launcher: remove them`,
        }
    },
  },
  {
    code: 'other-containers',
    severity: 'error',
    about: 'no other container acts as LangFlow',
    breaks: 'That container uses the database beside the leader, because no grant holds it back.',
    fix: 'Remove the container. LangFlow migrates its database when it starts.',
    *find({ pod, langflow, manifest }, { manifests }) {
      for (const one of containersOf(pod)) {
        const isWhole = !hasWords(one) && looksLikeLangflow(one)
        if (one !== langflow && programOf(one) === null && (actIn(one) !== null || isWhole))
          yield `its container ${one.name} runs ${actIn(one) ?? 'LangFlow'} in every pod, whether it leads or not: remove that container, because LangFlow migrates its database at its start`
      }
      for (const job of manifests) {
        if (!inOneNamespace(job, manifest) || !/^(CronJob|Job|Pod|DaemonSet)$/.test(job.kind)) continue
        // The pods of a workload are judged by its template.
        const owners = asList(dig(job.value, 'metadata', 'ownerReferences')).map((owner) =>
          dig(owner, 'kind'),
        )
        if (owners.some((kind) => kind === 'ReplicaSet' || kind === 'StatefulSet')) continue
        const act = containersIn(job)
          .map(actIn)
          .find((one) => one !== null)
        if (act !== undefined)
          yield `${titleOf(job)} runs ${act} beside the leader: remove it, because LangFlow migrates its database at its start`
      }
    },
  },
  {
    code: 'agent-account',
    severity: 'error',
    about: 'the ServiceAccount of the pods exists',
    breaks: 'Kubernetes creates no pod.',
    fix: 'Create the ServiceAccount, or correct serviceAccountName.',
    sees: 'ServiceAccount',
    *find(one, { manifests, cluster }) {
      const name = accountOf(one)
      const isThere = manifests.some(
        (other) =>
          other.kind === 'ServiceAccount' && other.name === name && inOneNamespace(other, one.manifest),
      )
      if (name === 'default' || isThere) return
      if (cluster === null) yield { unknown: `the ServiceAccount ${name} is not in this stream` }
      else if (!cluster.hidden.has('ServiceAccount'))
        yield `its ServiceAccount/${name} does not exist, so Kubernetes creates no pod: create it, or correct serviceAccountName`
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

function hasAgent({ agent }: Installation): boolean {
  return agent !== null
}

function hasWords({ command, args }: Fields): boolean {
  return asList(command).length + asList(args).length > 0
}

/** The command of a container that uses LangFlow's database; `null` if there is none. */
function actIn({ command, args }: Fields): string | null {
  return ACTS.exec([...asList(command), ...asList(args)].join(' '))?.[0] ?? null
}
