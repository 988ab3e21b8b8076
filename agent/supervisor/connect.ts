import type { AgentOptions } from '../config/options.ts'
import type { LauncherKeys } from '../link/keys.ts'
import { LinkServer, type LinkServerOptions } from '../link/server.ts'
import { HealthProbe } from './health.ts'
import { Supervisor, type SupervisorOptions } from './supervisor.ts'

type FromOptions = 'standby' | 'startTimeoutMs' | 'stopTimeoutMs' | 'killMarginMs'

export interface SupervisorParts extends Omit<SupervisorOptions, FromOptions | 'link' | 'probe'> {
  readonly options: AgentOptions
  readonly keys: LauncherKeys
  readonly alarm: LinkServerOptions['alarm']
}

/** A supervisor whose launcher comes to the socket of the options, and whose LangFlow is asked at their target. */
export function connectSupervisor({ options, keys, alarm, ...others }: SupervisorParts): Supervisor {
  const { socket: path, target, standby, spare, startTimeoutMs, stopTimeoutMs, killMarginMs } = options
  const { healthIntervalMs: intervalMs, healthTimeoutMs: timeoutMs, healthFailures: failures } = options
  const { origin, port } = target
  const { clock } = others.machine
  const welcome = { port, standby, spare, startTimeoutMs }
  return new Supervisor({
    ...others,
    standby,
    startTimeoutMs,
    stopTimeoutMs,
    killMarginMs,
    link: (handlers) => new LinkServer({ path, welcome, keys, clock, handlers, alarm }),
    probe: (handlers) => new HealthProbe({ origin, intervalMs, timeoutMs, failures, clock }, handlers),
  })
}
