import type { ClusterFacts, Rule } from '../rule.ts'

/** The first minor version with native sidecars. */
const LEAST_MINOR = 29
/** A request that takes a quarter of the renew deadline leaves time for three retries. */
const SLOW_PART = 4

/** About the API server. */
export const SERVER_RULES: readonly Rule<ClusterFacts>[] = [
  {
    code: 'kubernetes-version',
    severity: 'error',
    about: 'Kubernetes has native sidecars (1.29 or newer)',
    breaks: 'Before 1.29, the agent is an init container that never ends, so LangFlow never starts.',
    fix: 'Upgrade Kubernetes to 1.29, or start LangFlow by langflow-leader run, which needs no sidecar.',
    *find({ version }, { installations }) {
      const [, minor] = /^1\.(\d+)$/.exec(version ?? '') ?? []
      const sidecars = installations.length === 0 || installations.some(({ agent }) => agent?.place !== 'run')
      if (minor !== undefined && Number(minor) < LEAST_MINOR && sidecars)
        yield `Kubernetes ${version} has no native sidecars, so LangFlow never starts: upgrade Kubernetes to 1.29, or start LangFlow by langflow-leader run, which needs no sidecar`
      else yield minor === undefined ? { unknown: 'the API server does not report it' } : { detail: version! }
    },
  },
  {
    code: 'api-latency',
    severity: 'error',
    about: 'the API server answers within a quarter of the renew deadline',
    breaks: 'The leader cannot renew in time, so LangFlow is frozen or killed although nothing has failed.',
    fix: 'Raise --lease-duration and --renew-deadline, or make the API server faster.',
    *find({ latency }, { installations }) {
      const { requests, medianMs, slowestMs } = latency
      const deadlines = installations.flatMap(({ agent }) => agent?.options?.renewDeadlineMs ?? [])
      const deadlineMs = Math.min(...deadlines, 10_000)
      const measured = `${requests} requests, median ${medianMs} ms, slowest ${slowestMs} ms`
      if (medianMs > deadlineMs / SLOW_PART)
        yield `the API server is too slow for a renew deadline of ${deadlineMs} ms (${measured}): raise --lease-duration and --renew-deadline, or make the API server faster`
      else if (slowestMs > deadlineMs / SLOW_PART)
        yield {
          warning: `some requests to the API server are too slow for a renew deadline of ${deadlineMs} ms (${measured}): if this continues, raise --lease-duration and --renew-deadline`,
        }
      else yield { detail: measured }
    },
  },
  {
    code: 'objects-visible',
    severity: 'warning',
    about: 'you may read all objects that the rules check',
    breaks: 'The rules that read these objects are unknown.',
    fix: 'Run check as a user who may list them, such as an admin of the namespace.',
    *find({ hidden }) {
      for (const [what, why] of hidden) yield { unknown: `${what}: ${why}` }
    },
  },
]
