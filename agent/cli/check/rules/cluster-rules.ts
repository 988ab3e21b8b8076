import { listed, seconds } from '../../../config/values.ts'
import type { AgentStatus } from '../../../observe/agent-status.ts'
import { asList, asText, dig, type Fields } from '../../manifests/manifest.ts'
import { PROXY, type Replicas } from '../cluster-facts.ts'
import { isAbsent } from '../container-environment.ts'
import { podsOf } from '../label-selector.ts'
import type { AgentRule, ClusterRule, Facts, Installed, Said } from '../rule.ts'

/** The first with native sidecars. */
const LEAST_MINOR = 29
/** Clocks that differ by more make a pause end early or late, and logs of two machines hard to read. */
const LARGEST_SKEW_MS = 3_000
/** A quarter of the renew deadline leaves time for three tries. */
const SLOW_PART = 4

/** About the API server. */
export const SERVER_RULES = {
  'kubernetes-version': {
    severity: 'error',
    about: 'Kubernetes has native sidecars (1.29 or newer)',
    *find({ version }, { installations }) {
      const [, minor] = /^1\.(\d+)$/.exec(version ?? '') ?? []
      const sidecars = installations.length === 0 || installations.some(({ agent }) => agent?.place !== 'run')
      if (minor !== undefined && Number(minor) < LEAST_MINOR && sidecars)
        yield `Kubernetes ${version} has no native sidecars, so that LangFlow never starts: upgrade to 1.29, or use deploy/examples/single-container`
      else if (minor !== undefined) yield { detail: version! }
    },
  },
  'api-latency': {
    severity: 'error',
    about: 'the API server answers well within the renew deadline',
    *find({ latency }, { installations }) {
      const { requests, medianMs, slowestMs } = latency
      const deadlines = installations.flatMap(({ agent }) => agent?.options?.renewDeadlineMs ?? [])
      const deadlineMs = Math.min(...deadlines, 10_000)
      const measured = `${requests} requests, median ${medianMs} ms, slowest ${slowestMs} ms`
      if (medianMs > deadlineMs / SLOW_PART)
        yield `the API server is too slow for a renew deadline of ${deadlineMs} ms (${measured}): raise --lease-duration and --renew-deadline, or find out what slows it down`
      else if (slowestMs > deadlineMs / SLOW_PART)
        yield {
          warning: `the API server is slow at times for a renew deadline of ${deadlineMs} ms (${measured}): raise --lease-duration and --renew-deadline where that stays so`,
        }
      else yield { detail: measured }
    },
  },
  'clock-server': {
    severity: 'warning',
    about: "this machine's clock agrees with the API server's",
    *find({ clock }) {
      const { aheadMs } = clock
      if (aheadMs === null) yield { unknown: `whether clocks agree is not to be seen: ${clock.why}` }
      else if (Math.abs(aheadMs) > LARGEST_SKEW_MS + clock.withinMs)
        yield `this machine's clock is ${seconds(Math.abs(aheadMs))} ${aheadMs > 0 ? 'ahead of' : 'behind'} the API server's, so that pauses end at another time than you say: set it by NTP`
    },
  },
  'objects-visible': {
    severity: 'warning',
    about: 'all that matters may be read',
    *find({ hidden }) {
      for (const [what, why] of hidden)
        yield { unknown: `${what} ${what.includes('/') ? 'was' : 'objects were'} not looked at: ${why}` }
    },
  },
} as const satisfies Record<string, ClusterRule>

/** About the one object that all share. */
export const LEASE_RULES = {
  'lease-object': {
    severity: 'warning',
    about: 'the Lease exists',
    sees: ['Lease'],
    *find({ agent, manifest }, { manifests, cluster }) {
      const { leaseName } = agent.options
      const exists =
        cluster === null
          ? manifests.some(
              (one) => one.kind === 'Lease' && one.name === leaseName && one.namespace === manifest.namespace,
            )
          : cluster.leases.get(leaseName)
      if (exists === false)
        yield `there is no Lease ${leaseName}${cluster === null ? ' in this stream' : ''}, so that the first start waits for a lease duration: apply one, without a spec`
    },
  },
} as const satisfies Record<string, AgentRule>

/** About the pods that run. */
export const RUNNING_RULES = {
  'image-pull': {
    severity: 'error',
    about: 'every image can be pulled',
    sees: ['Pod'],
    *find(one, { cluster }) {
      for (const pod of podsOf(one, cluster?.pods))
        for (const { image, reason } of waiting(pod))
          if (/^(ErrImage|ImagePull|InvalidImageName|ErrImageNeverPull)/.test(reason))
            yield `Pod/${nameOf(pod)} cannot pull the image ${image} (${reason}): name one that its node can pull, or give it imagePullSecrets`
    },
  },
  'pod-starts': {
    severity: 'error',
    about: 'every container starts',
    sees: ['Pod'],
    *find(one, { cluster }) {
      for (const pod of podsOf(one, cluster?.pods))
        for (const { name, reason, message } of waiting(pod))
          if (/^(CreateContainer|RunContainerError|CrashLoopBackOff)/.test(reason))
            yield `the container ${name} of Pod/${nameOf(pod)} does not start (${reason}${message}): read kubectl logs ${nameOf(pod)} -c ${name} --previous`
    },
  },
  'replica-answers': {
    severity: 'warning',
    about: 'every agent answers',
    sees: ['Pod', PROXY],
    *find(one, { cluster }) {
      for (const { pod, problem } of rowsOf(one, cluster))
        if (problem !== null) yield `Pod/${pod} does not answer: ${problem}`
    },
  },
  'replica-problem': {
    severity: 'error',
    about: 'no agent reports a problem',
    sees: ['Pod', PROXY],
    *find(one, { cluster }) {
      for (const { pod, status } of rowsOf(one, cluster))
        if (status?.problem) yield `Pod/${pod} says: ${status.problem}`
    },
  },
  'clock-replicas': {
    severity: 'warning',
    about: "the replicas' clocks agree",
    sees: ['Pod', PROXY],
    *find({ agent }, { cluster }) {
      const replicas = cluster?.replicas(agent.options.leaseName) ?? null
      if (replicas === null) return
      const clocks = clocksOf(replicas)
      const [first, last] = [clocks[0], clocks.at(-1)]
      if (first === undefined || last === undefined) return
      const apartMs = last.atMs - first.atMs
      // All were asked at once, and each answered at some time until the last one did.
      if (apartMs > LARGEST_SKEW_MS + replicas.tookMs)
        yield `the clocks of Pod/${first.pod} and Pod/${last.pod} are ${seconds(apartMs)} apart, so that times in their logs and in history do not compare: set their nodes by NTP`
    },
  },
  'secret-key-same': {
    severity: 'error',
    about: 'all replicas have one LANGFLOW_SECRET_KEY',
    sees: ['Pod', PROXY],
    *find(one, { cluster }) {
      yield* differing(
        one,
        cluster,
        'all replicas have one LANGFLOW_SECRET_KEY',
        ({ secretKeyDigest }) => secretKeyDigest,
        (pods) =>
          `${pods} have different LANGFLOW_SECRET_KEYs, so that after a takeover no stored API key and no credential can be read: give all replicas one Secret, and restart them`,
      )
    },
  },
  'timings-same': {
    severity: 'warning',
    about: 'all replicas have the same timings',
    sees: ['Pod', PROXY],
    *find(one, { cluster }) {
      yield* differing(
        one,
        cluster,
        'all replicas have the same timings',
        ({ timings }) => timings && JSON.stringify(timings),
        (pods) =>
          `${pods} have different timings (--lease-duration, --renew-deadline, --retry-period, --kill-margin): wait for the rollout, or give all replicas the same`,
      )
    },
  },
  'flows-same': {
    severity: 'warning',
    about: 'all replicas load the same flows from files',
    sees: ['Pod', PROXY],
    *find(one, { cluster }) {
      // A digest that is not told may as well be that of no flows.
      const loadsNone = isAbsent(one.env, 'LANGFLOW_LOAD_FLOWS_PATH') === true
      const rows = rowsOf(one, cluster)
      if (loadsNone && rows.every(({ status }) => !status?.flowsDigest)) return
      yield* differing(
        one,
        cluster,
        'all replicas load the same flows from files',
        ({ flowsDigest }) => flowsDigest,
        (pods) =>
          `${pods} load different flows from files (LANGFLOW_LOAD_FLOWS_PATH), so that a takeover changes flows: wait for the rollout, or give all replicas the same files`,
      )
    },
  },
} as const satisfies Record<string, AgentRule>

function rowsOf({ agent }: Installed, cluster: Facts['cluster']) {
  return cluster?.replicas(agent.options.leaseName)?.rows ?? []
}

function nameOf(pod: Fields): string {
  return asText(dig(pod, 'metadata', 'name'))
}

function waiting(pod: Fields) {
  const statuses = ['initContainerStatuses', 'containerStatuses'].flatMap((key) =>
    asList(dig(pod, 'status', key)),
  )
  return statuses.map((status) => {
    const said = asText(dig(status, 'state', 'waiting', 'message'))
    return {
      name: asText(dig(status, 'name')),
      image: asText(dig(status, 'image')),
      reason: asText(dig(status, 'state', 'waiting', 'reason')),
      message: said === '' ? '' : `: ${said.slice(0, 200)}`,
    }
  })
}

function clocksOf({ rows }: Replicas): { pod: string; atMs: number }[] {
  const clocks = rows.map(({ pod, status }) => ({ pod, atMs: Date.parse(status?.now ?? '') }))
  return clocks.filter(({ atMs }) => !Number.isNaN(atMs)).sort((a, b) => a.atMs - b.atMs)
}

/** @param what is to be the same, as the rest of a sentence that begins with "whether" */
function* differing(
  one: Installed,
  cluster: Facts['cluster'],
  what: string,
  pick: (status: Partial<AgentStatus>) => string | null | undefined,
  sentence: (pods: string) => string,
): Generator<Said> {
  const told = rowsOf(one, cluster).map(({ pod, status }) => ({
    pod: `Pod/${pod}`,
    value: status === null ? null : (pick(status) ?? null),
  }))
  const known = told.filter(({ value }) => value !== null)
  const other = known.find(({ value }) => value !== known[0]?.value)
  const silent = told.filter(({ value }) => value === null).map(({ pod }) => pod)
  if (other !== undefined) yield sentence(`${known[0]!.pod} and ${other.pod}`)
  else if (silent.length > 0)
    yield {
      unknown: `whether ${what} is not to be seen: ${listed(silent)} ${silent.length === 1 ? 'does' : 'do'} not tell`,
    }
}
