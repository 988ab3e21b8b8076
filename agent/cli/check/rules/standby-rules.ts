import { formatDuration } from '../../../config/values.ts'
import type { Installed, Rule } from '../rule.ts'

/** From the grant to the first answer, in milliseconds, as measured with LangFlow 1.13 on 2 cores. */
const START_MS = { cold: 37_000, warm: 2_000 } as const

export const STANDBY_RULES: readonly Rule<Installed>[] = [
  {
    code: 'standby-command',
    severity: 'error',
    about: 'The launcher can keep LangFlow warm. If not, a takeover takes a whole start.',
    fix: 'Let the command be "langflow run …", or "sh -c" with it after lines that only set variables. Do everything else in an init container.',
    *find({ options, env, launcher, container }) {
      const cold = launcher !== null && options.standby === 'warm' ? env.whyCold : null
      if (cold !== null) yield `the standbys of its container ${container} are cold: ${cold}`
    },
  },
  {
    code: 'hold-timeout',
    severity: 'error',
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
