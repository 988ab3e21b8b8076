import { Unknown } from '../environment.ts'
import type { Facts, Rule } from '../rule.ts'

/** The first minor version with native sidecars. */
const LEAST_MINOR = 29
/** A request that takes a quarter of the renew deadline leaves time for three retries. */
const SLOW_PART = 4

/** About the API server, and the input as a whole. */
export const SERVER_RULES: readonly Rule<Facts>[] = [
  {
    code: 'kubernetes-version',
    severity: 'error',
    about: 'Kubernetes is 1.29 or newer. An older one has no native sidecars, so LangFlow never starts.',
    fix: 'Upgrade Kubernetes, or start LangFlow by langflow-leader run.',
    *find({ cluster, installations }) {
      if (cluster === null) return
      const minor = /^1\.(\d+)$/.exec(cluster.version ?? '')?.[1]
      if (minor === undefined) throw new Unknown('the API server does not report its version')
      const needsSidecars = installations.some(({ agent }) => agent?.place !== 'run')
      if (Number(minor) < LEAST_MINOR && needsSidecars)
        yield `Kubernetes ${cluster.version} has no native sidecars, so LangFlow never starts`
    },
  },
  {
    code: 'api-latency',
    severity: 'error',
    about:
      'The API server answers within a quarter of the renew deadline. Otherwise LangFlow is frozen or killed although nothing has failed.',
    fix: 'Raise --lease-duration and --renew-deadline, or make the API server faster.',
    *find({ cluster, installations }) {
      if (cluster === null) return
      const { medianMs, slowestMs } = cluster.latency
      const deadlines = installations.flatMap(({ agent }) =>
        agent !== null && 'options' in agent.started ? agent.started.options.renewDeadlineMs : [],
      )
      const deadlineMs = Math.min(...deadlines, 10_000)
      if (slowestMs <= deadlineMs / SLOW_PART) return
      const severity = medianMs > deadlineMs / SLOW_PART ? 'error' : 'warning'
      const message = `the API server is slow for a renew deadline of ${deadlineMs} ms: median ${medianMs} ms, slowest ${slowestMs} ms`
      yield { message, severity }
    },
  },
  {
    code: 'objects-valid',
    severity: 'error',
    about: 'The API server accepts the objects. Otherwise a rollout stops.',
    fix: 'Correct the field that the API server names.',
    find: ({ refusals }) => refusals ?? [],
  },
  {
    code: 'langflow-found',
    severity: 'error',
    about:
      'A Deployment, StatefulSet or Rollout runs LangFlow. In a bare Pod, a Job or a DaemonSet, LangFlow acts beside the leader.',
    fix: "Check the manifests that contain LangFlow, and set the name of LangFlow's container with --container.",
    *find({ unfound, hidden }) {
      if (unfound === null) return
      const cause = hidden.get('Deployment') ?? hidden.get('StatefulSet')
      if (cause !== undefined) throw new Unknown(cause)
      yield unfound
    },
  },
]
