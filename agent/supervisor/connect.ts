import type { Clock } from '../clock.ts'
import type { AgentOptions } from '../config/options.ts'
import type { LauncherKeys } from '../link/keys.ts'
import { LinkServer, type LinkServerOptions } from '../link/server.ts'
import { HealthProbe } from './health-probe.ts'
import { Supervisor, type SupervisorOptions } from './supervisor.ts'

type Needs = 'machine' | 'log' | 'repeats' | 'metrics' | 'remedy' | 'tell' | 'changed'

export interface SupervisorParts extends Pick<SupervisorOptions, Needs> {
  readonly options: Pick<
    AgentOptions,
    | 'socket'
    | 'target'
    | 'standby'
    | 'spare'
    | 'startTimeoutMs'
    | 'stopTimeoutMs'
    | 'killMarginMs'
    | 'healthIntervalMs'
    | 'healthTimeoutMs'
    | 'healthFailures'
  >
  readonly clock: Clock
  readonly keys: LauncherKeys
  readonly alarm: LinkServerOptions['alarm']
}

/** A supervisor whose launcher comes to the socket of the options, and whose LangFlow is asked at their target. */
export function connectSupervisor({ options, clock, keys, alarm, ...others }: SupervisorParts): Supervisor {
  return new Supervisor({
    ...others,
    link: (handlers) =>
      new LinkServer({
        path: options.socket,
        port: options.target.port,
        standby: options.standby,
        spare: options.spare,
        patienceMs: options.startTimeoutMs,
        keys,
        clock,
        handlers,
        alarm,
      }),
    probe: (handlers) =>
      new HealthProbe(
        {
          origin: options.target.origin,
          intervalMs: options.healthIntervalMs,
          timeoutMs: options.healthTimeoutMs,
          failures: options.healthFailures,
          clock,
        },
        handlers,
      ),
    standby: options.standby,
    startTimeoutMs: options.startTimeoutMs,
    stopTimeoutMs: options.stopTimeoutMs,
    killMarginMs: options.killMarginMs,
  })
}
