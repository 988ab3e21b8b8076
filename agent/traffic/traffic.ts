import { randomBytes } from 'node:crypto'
import { isIP } from 'node:net'
import type { Clock } from '../clock.ts'
import type { AgentOptions, FrontOptions } from '../config/options.ts'
import { variableOf } from '../config/setting.ts'
import type { ElectionState } from '../election/state.ts'
import type { FrontConfig } from '../front/front-messages.ts'
import type { FrontAccess } from '../lease/lease.ts'
import type { FrontView } from '../observe/agent-status.ts'
import type { Metrics } from '../observe/prometheus.ts'
import { GATE_KNOWN_MS } from '../supervisor/drain.ts'
import { FrontProcess } from './front-process.ts'
import { FrontTraffic } from './front-traffic.ts'

export interface TrafficView {
  /** The pod to which the front forwards. Empty: requests wait. `null`: unknown, or mode `readiness`. */
  readonly routedTo: string | null
  /** Why traffic does not follow the gate, in one sentence. `null`: it does. */
  readonly problem: string | null
  /** `null`: no front. */
  readonly front: FrontView | null
}

/** The mechanism that sends clients only to the leader. */
export interface Traffic {
  readonly view: TrafficView
  /** Resolves when the front follows the last route. `null`: it does, or this replica has no front. */
  readonly settling: Promise<void> | null
  /** Must be called whenever the election or the gate may have moved. */
  follow(gateOpen: boolean): void
  /** Ends the traffic, without a wait after `hurry` resolves. */
  close(hurry: Promise<void>): Promise<void>
}

/** The replica whose traffic this is. */
export interface TrafficListener {
  state(): ElectionState
  /** A value that the view shows may have changed. */
  changed(): void
}

/** The kubelet reads `/readyz`, so there is nothing to do. */
export const READINESS: Traffic = {
  view: { routedTo: null, problem: null, front: null },
  settling: null,
  follow: () => {},
  close: async () => {},
}

export interface TrafficParts {
  readonly options: FrontParts & Pick<AgentOptions, 'traffic'>
  readonly clock: Clock
  readonly metrics: Pick<Metrics, 'held'>
  /** The command that starts a front from this same program. */
  readonly frontCommand: readonly [string, ...string[]]
}

export interface ConnectedTraffic {
  /** Called once. */
  readonly traffic: (listener: TrafficListener) => Traffic
  /** The address and key that this replica publishes while it leads. `null`: it has no front. */
  readonly front: FrontAccess | null
}

export function connectTraffic({
  options,
  clock,
  metrics,
  frontCommand: command,
}: TrafficParts): ConnectedTraffic {
  const { traffic } = options
  if (traffic.mode === 'readiness') return { traffic: () => READINESS, front: null }
  const front = { address: traffic.address, key: randomBytes(16).toString('base64url') }
  const config = frontConfig(options, traffic)
  const env = { [variableOf('--log-level')]: options.logLevel }
  const lingerMs = options.pod.name === null ? 0 : GATE_KNOWN_MS
  const shared = { own: front, config: options, lingerMs, endMs: lingerMs + options.holdTimeoutMs, clock }
  return {
    front,
    traffic: (listener) =>
      new FrontTraffic({
        ...shared,
        listener,
        process: (changed) => new FrontProcess({ command, env, config, clock, changed, held: metrics.held }),
      }),
  }
}

type FrontParts = Pick<
  AgentOptions,
  | 'identity'
  | 'pod'
  | 'target'
  | 'renewDeadlineMs'
  | 'drainTimeoutMs'
  | 'holdTimeoutMs'
  | 'holdLimit'
  | 'streamGraceMs'
  | 'logLevel'
>

function frontConfig(options: FrontParts, { listen, from }: FrontOptions): FrontConfig {
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
