import type { Timer } from '../../agent/clock.ts'
import type { Log } from '../../agent/observe/log.ts'
import type { Metrics } from '../../agent/observe/prometheus.ts'
import type { Member, Peers } from '../../agent/peers/peers.ts'
import { Replica as ProductReplica } from '../../agent/replica/replica.ts'
import type { HealthHandlers } from '../../agent/supervisor/health-probe.ts'
import { Supervisor } from '../../agent/supervisor/supervisor.ts'
import type { Traffic } from '../../agent/traffic/traffic.ts'
import { apiClient } from './api-client.ts'
import { AgentEnd } from './link.ts'
import { Process } from './process.ts'
import { RESPAWN_MS, type Replica } from './replica.ts'
import type { World } from './world.ts'

/** What an agent is at, for the ways in which it can be told to end. */
export const STAGES = [
  'starting',
  'following',
  'acquiring',
  'starting its workload',
  'serving',
  'in doubt',
  'draining',
  'stopping',
  'releasing',
  'ending',
] as const
export type Stage = (typeof STAGES)[number]

export const START_TIMEOUT_MS = 30_000
/** How often a leader asks the others: as `Peers` does. */
export const ASK_MS = 5_000
const RECLAIM_LOOK_MS = 5
const LEASE = { namespace: 'team', name: 'langflow-leader-lock' }
const ignore = (): void => {}
const UNCOUNTED: Metrics = {
  leading: ignore,
  slowPath: ignore,
  renewal: ignore,
  transition: ignore,
  restarted: ignore,
  doubted: ignore,
  alarm: ignore,
  late: ignore,
  takeover: ignore,
  stopped: ignore,
  held: ignore,
  apiRequest: ignore,
}

/** One agent process: the real replica, with the model's machine, network and workload around it. */
export class AgentHost {
  readonly process: Process
  private readonly product: ProductReplica

  constructor(replica: Replica, world: World, exited: (process: Process, code: 0 | 1) => void) {
    const { config, identity, kernel, behaviour, socket } = replica
    const process = new Process(kernel, world.random)
    const trace = (line: () => string) => world.trace(replica.instance, line)
    const log = logTo((line) => trace(() => `agent: ${line()}`))
    const { standby } = config
    this.process = process
    this.product = new ProductReplica({
      options: {
        ...config,
        identity,
        leaseName: LEASE.name,
        socket: '/run/launcher.sock',
        pod: { name: null, revision: config.revision, owner: config.owner, problem: null },
        onCrash: world.onCrash,
        peers: world.asks ? [] : null,
        traffic: { mode: config.gateMs === 0 ? 'readiness' : 'front' },
      },
      namespace: LEASE.namespace,
      api: apiClient(replica, world, process),
      // What traffic is to be is looked at after each turn.
      front: config.gateMs === 0 ? null : { address: '10.1.2.3:8091', key: identity },
      traffic: () => modelTraffic(process, config.gateMs, () => replica.agentMoved(this.stage)),
      supervisor: ({ tell, ...wiring }) =>
        new Supervisor({
          ...wiring,
          tell: (fact) => {
            if (fact.type !== 'workload' && fact.type !== 'tick')
              trace(() => `agent is told: ${JSON.stringify(fact)}`)
            tell(fact)
          },
          machine: {
            clock: process,
            portFree: async () => !replica.portTaken,
            connections: () => (behaviour.connected ? ['10.1.2.3'] : []),
            ...(replica.mode === 'run' ? { reclaim: () => reclaim(replica, process) } : {}),
          },
          link: (handlers) =>
            new AgentEnd(socket, process, config.leaseDurationMs, handlers, {
              standby,
              startTimeoutMs: START_TIMEOUT_MS,
            }),
          probe: (handlers) => modelProbe(process, () => replica.workload?.healthy ?? false, handlers),
          standby,
          startTimeoutMs: START_TIMEOUT_MS,
          stopTimeoutMs: config.stopTimeoutMs,
          killMarginMs: config.killMarginMs,
        }),
      peers: world.asks ? ({ asked }) => modelPeers(process, () => world.others(replica), asked) : null,
      events: () => ({ record: ignore, end: async () => {} }),
      podAgeMs: () => kernel.mono() - replica.appearedAt,
      http: async () => ({ port: 0, close: async () => {} }),
      clock: process,
      log,
      metrics: UNCOUNTED,
      salt: world.random.whole(0, 999),
    })
    void this.product.start()
    void this.product.end().then((code) => process.act(() => exited(process, code)))
  }

  get elector(): ProductReplica['elector'] {
    return this.product.elector
  }

  terminate(): void {
    this.product.terminate('SIGTERM')
  }

  /** What it tells others of itself. */
  get member(): Member {
    const { identity, couldTakeOver, standby, revision, onTrial, podAgeMs } = this.product.status()
    return {
      identity,
      ready: couldTakeOver,
      prepared: standby.mode === standby.wanted,
      warm: standby.mode !== 'cold',
      revision,
      unproven: onTrial !== null,
      podAgeMs,
      lease: `${LEASE.namespace}/${LEASE.name}`,
      leads: false,
    }
  }

  get stage(): Stage {
    const { term, ending, pending, seen } = this.elector.state
    if (ending !== null) return 'ending'
    if (term === null) return pending !== null ? 'acquiring' : seen === null ? 'starting' : 'following'
    if (term.stepDown !== null) return term.stepDown.stage
    if (term.doubt) return 'in doubt'
    return this.product.supervisor.healthy ? 'serving' : 'starting its workload'
  }

  /** Whether traffic is let through. */
  get ready(): boolean {
    return this.process.runs && this.product.ready()
  }
}

/** What either program logs, in a trace. */
export function logTo(trace: (line: () => string) => void): Log {
  const say = (text: string) => trace(() => text)
  return {
    event: (name, { epoch, reason }) =>
      say(`${name}, epoch ${epoch}${reason === undefined ? '' : `: ${reason}`}`),
    debug: ignore,
    info: ignore,
    warn: say,
    error: say,
  }
}

/** `run`: the agent kills the launcher and all that it left. Resolves once nothing of it lives. */
function reclaim(replica: Replica, agent: Process): Promise<void> {
  agent.act(() => {
    replica.crashLauncher(RESPAWN_MS)
    replica.workload?.kill()
  })
  return new Promise((resolve) => {
    const look = () => {
      if (replica.workload?.present) agent.after(RECLAIM_LOOK_MS, look)
      else resolve()
    }
    look()
  })
}

/** The other replicas, which always answer at once. */
function modelPeers(process: Process, look: () => readonly Member[], asked: (() => void) | undefined) {
  let asking = false
  let waiting = false
  const peers = {
    members: [] as readonly Member[],
    get view() {
      if (!asking) return null
      return { ready: peers.members.filter(({ ready }) => ready).length, seen: peers.members.length }
    },
    ask(yes: boolean) {
      asking = yes
      if (!yes || waiting) return
      waiting = true
      process.after(ASK_MS, () => {
        waiting = false
        if (!asking) return
        peers.members = look()
        asked?.()
        peers.ask(asking)
      })
    },
    askAgain: ignore,
    survey: async () => look(),
    rows: async () => [],
    close: () => peers.ask(false),
  }
  return peers satisfies Pick<Peers, keyof Peers>
}

/** The front acknowledges each change of the gate `gateMs` later; 0: there is none, as in readiness mode. */
function modelTraffic(process: Process, gateMs: number, looked: () => void): Traffic {
  let current: boolean | null = null
  let waiting: PromiseWithResolvers<void> | null = null
  let lastChange = 0
  return {
    view: { routedTo: null, problem: null, front: null },
    get settling() {
      return waiting?.promise ?? null
    },
    follow(open) {
      looked()
      if (gateMs === 0 || open === current) return
      current = open
      waiting ??= Promise.withResolvers<void>()
      const change = ++lastChange
      process.after(gateMs, () => {
        if (change !== lastChange) return
        waiting?.resolve()
        waiting = null
      })
    },
    close: async () => {},
  }
}

const STARTING_INTERVAL_MS = 100
const PROBE_INTERVAL_MS = 1_000
const FAILURES = 3

/** Asks the model's workload how it is, in the rhythm of the real probe and without HTTP. */
function modelProbe(agent: Process, healthy: () => boolean, handlers: HealthHandlers) {
  let timer: Timer | null = null
  const next = (ms: number, ask: () => void) => {
    timer = agent.after(ms, ask)
  }
  const awaitHealthy = () => {
    if (!healthy()) {
      next(STARTING_INTERVAL_MS, awaitHealthy)
      return
    }
    next(PROBE_INTERVAL_MS, () => watch(0))
    handlers.healthy()
  }
  const watch = (failed: number) => {
    const failures = healthy() ? 0 : failed + 1
    next(PROBE_INTERVAL_MS, failures >= FAILURES ? awaitHealthy : () => watch(failures))
    if (failures >= FAILURES) handlers.unhealthy('/health: no answer')
  }
  const stop = () => timer?.cancel()
  return {
    stop,
    start() {
      stop()
      next(1, awaitHealthy)
    },
  }
}
