import { randomBytes } from 'node:crypto'
import { isIP } from 'node:net'
import type { Clock } from '../../clock.ts'
import type { AgentOptions, FrontOptions } from '../../config/options.ts'
import { variableOf } from '../../config/setting.ts'
import type { Metrics } from '../../observe/prometheus.ts'
import type { FrontConfig } from '../front-messages.ts'
import { FrontProcess } from './front-process.ts'
import type { OwnFront } from './steering.ts'

interface Parts {
  readonly options: Pick<
    AgentOptions,
    'traffic' | 'target' | 'holdTimeoutMs' | 'holdLimit' | 'streamGraceMs' | 'logLevel'
  >
  readonly clock: Clock
  readonly metrics: Pick<Metrics, 'held'>
  /** The command that starts a front from this same program. */
  readonly command: readonly [string, ...string[]]
}

/** `null`: this replica has no front. */
export function ownFront({ options, clock, metrics, command }: Parts): OwnFront | null {
  const { traffic, holdTimeoutMs } = options
  if (traffic.mode === 'readiness') return null
  const config = frontConfig(options, traffic)
  const env = { [variableOf('--log-level')]: options.logLevel }
  return {
    access: { address: traffic.address, key: randomBytes(16).toString('base64url') },
    holdTimeoutMs,
    process: (changed) => new FrontProcess({ command, env, config, clock, changed, held: metrics.held }),
  }
}

function frontConfig(options: Parts['options'], { listen, from }: FrontOptions): FrontConfig {
  const { target, holdTimeoutMs, holdLimit, streamGraceMs } = options
  const host = new URL(target.origin).hostname.replace(/^\[|\]$/g, '')
  return {
    listen,
    target: { host, port: target.port },
    // An address of the other family cannot reach LangFlow.
    from: from !== null && isIP(from) === isIP(host) ? from : null,
    holdTimeoutMs,
    holdLimit,
    streamGraceMs,
  }
}
