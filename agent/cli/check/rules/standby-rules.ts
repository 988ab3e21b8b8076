import { formatDuration } from '../../../config/values.ts'
import { dig } from '../../manifests/manifest.ts'
import { whyCold } from '../cold-standby.ts'
import { HIDDEN } from '../container-environment.ts'
import { mountAt } from '../installation.ts'
import { bytesOf } from '../quantity.ts'
import { type Installed, type Rule, Unseen } from '../rule.ts'

const MEBI = 1024 ** 2
/** A held LangFlow, measured with 1.13, in bytes. */
const HELD_BYTES = 620 * MEBI
/** The least limit with which a held LangFlow becomes a leader. */
const LEADING_BYTES = 1024 * MEBI
/** From the grant to the first answer, in milliseconds, as measured with LangFlow 1.13 on 2 cores. */
const START_MS = { cold: 37_000, warm: 2_000 } as const

/** Whether a standby is as warm as requested, and takes over while clients wait. */
export const STANDBY_RULES: readonly Rule<Installed>[] = [
  {
    code: 'standby-command',
    severity: 'error',
    about: 'the launcher can keep LangFlow warm',
    breaks:
      'Each standby is cold although --standby=warm is set, so a takeover takes the time of a whole start.',
    fix: 'Let the command be "langflow run …", "python -m langflow run …", or "sh -c" with one of them after lines that only set variables. Do everything else in an init container.',
    applies: isWarm,
    *find({ launcher, langflow, env, container }) {
      if (launcher?.options == null) return
      const cold = whyCold(env)
      if (cold !== null)
        yield `the standbys of its container ${container} are cold although --standby=warm is set, because ${cold}; do everything else in an init container`
      else if (env.command.some((word) => word.includes(HIDDEN)))
        throw new Unseen('its command depends on variables that check cannot see')
      else
        whyCold(env, (directory) => {
          if (mountAt(langflow, directory)?.path !== directory)
            throw new Unseen(`its script creates ${directory}, unless the image has that directory`)
        })
    },
  },
  {
    code: 'standby-memory',
    severity: 'warning',
    about: 'the pods have the memory of a warm standby',
    breaks:
      'The kernel kills a LangFlow that is held warm, or kills it when it becomes the leader. The standby is then cold.',
    fix: "Request at least 1Gi for LangFlow's container, and set its memory limit to 3Gi.",
    applies: isWarm,
    *find({ langflow, container }) {
      const limit = bytesOf(dig(langflow, 'resources', 'limits', 'memory'))
      const request = bytesOf(dig(langflow, 'resources', 'requests', 'memory')) ?? limit
      if (limit !== null && limit < LEADING_BYTES)
        yield `the memory limit of its container ${container} is below 1Gi, so a warm standby is killed when it takes over: set it to 3Gi`
      else if (request !== null && request < HELD_BYTES)
        yield `its container ${container} requests less memory than the 620 MiB of a warm standby, so a full node evicts it: request 1Gi`
    },
  },
  {
    code: 'hold-timeout',
    severity: 'error',
    about: 'the fronts hold requests until the next leader serves',
    breaks:
      'In each takeover, the fronts answer 503 to the requests that they hold, before LangFlow has started.',
    fix: 'Use --standby=warm, or set --hold-timeout above the lease duration plus the start of LangFlow, such as 60s, and raise terminationGracePeriodSeconds by the same amount.',
    applies: ({ agent }) => agent.options.traffic.mode === 'front',
    *find({ agent }) {
      const { holdTimeoutMs, leaseDurationMs, standby } = agent.options
      const neededMs = leaseDurationMs + START_MS[standby]
      if (holdTimeoutMs < neededMs)
        yield `its --hold-timeout (${formatDuration(holdTimeoutMs)}) is shorter than the lease duration and a ${standby} start of LangFlow together (${formatDuration(neededMs)}), so held requests fail before the next leader serves: ${standby === 'cold' ? 'set LEADER_STANDBY to warm, or ' : ''}set LEADER_HOLD_TIMEOUT to at least ${formatDuration(neededMs)}`
    },
  },
  {
    code: 'start-timeout',
    severity: 'error',
    about: 'LangFlow has the time to start',
    breaks: 'The agent stops each LangFlow before it is healthy, so no replica ever serves.',
    fix: 'Remove --start-timeout, or set it to several minutes.',
    *find({ agent }) {
      const { startTimeoutMs } = agent.options
      // The first start, and each start after a failed preparation, is cold.
      if (startTimeoutMs < START_MS.cold)
        yield `its --start-timeout (${formatDuration(startTimeoutMs)}) is shorter than a start of LangFlow (${formatDuration(START_MS.cold)}), so no start succeeds: remove LEADER_START_TIMEOUT`
    },
  },
]

function isWarm({ agent }: Installed): boolean {
  return agent.options.standby === 'warm'
}
