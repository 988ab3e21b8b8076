import { Unknown } from '../environment.ts'
import type { Facts, Rule } from '../rule.ts'

/** A request that takes a quarter of the renew deadline leaves time for three retries. */
const SLOW_PART = 4

export const SERVER_RULES: readonly Rule<Facts>[] = [
  {
    code: 'api-latency',
    severity: 'error',
    about: 'The API server answers in time. If not, LangFlow is frozen or killed without a fault.',
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
    about: 'The API server accepts the objects. If not, a rollout stops.',
    fix: 'Correct the field that the API server names.',
    find: ({ refusals }) => refusals ?? [],
  },
  {
    code: 'langflow-found',
    severity: 'error',
    about: 'A Deployment or StatefulSet runs LangFlow. Elsewhere it acts beside the leader.',
    fix: "Check the manifests that contain LangFlow, and set the name of LangFlow's container with --container.",
    *find({ unfound, hidden }) {
      if (unfound === null) return
      const cause = hidden.get('Deployment') ?? hidden.get('StatefulSet')
      if (cause !== undefined) throw new Unknown(cause)
      yield unfound
    },
  },
]
