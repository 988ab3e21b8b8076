import type { Timer } from '../../agent/clock.ts'
import type { OwnFront } from '../../agent/front/agent-side/steering.ts'
import { NO_COUNTS } from '../../agent/front/front-messages.ts'
import type { Log } from '../../agent/observe/log.ts'
import type { Metrics } from '../../agent/observe/prometheus.ts'
import { type Member, memberOf, type Peers } from '../../agent/peers/peers.ts'
import { Replica as ProductReplica } from '../../agent/replica/replica.ts'
import type { HealthHandlers, ProbedState } from '../../agent/supervisor/health-probe.ts'
import { Supervisor } from '../../agent/supervisor/supervisor.ts'
import { apiClient } from './api-client.ts'
import { AgentEnd } from './link.ts'
import { Process } from './process.ts'
import type { Random } from './random.ts'
import { RESPAWN_MS, type Replica } from './replica.ts'
import { LONGEST_QUIET_MS } from './timings.ts'
import type { World } from './world.ts'

/** The stages of an agent. A test run must terminate agents at each of them. */
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
/** Interval at which a leader asks its peers, as in `Peers`. */
export const ASK_MS = 5_000
const RECLAIM_LOOK_MS = 5
let keys = 0
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
  apiRequest: ignore,
}

/** One agent process: the product's replica on the model's machine, network and workload. */
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
        pod: { name: null, revision: config.revision, owner: config.owner },
        onCrash: world.onCrash,
        peers: world.asksPeers ? [] : null,
        traffic: { mode: config.gateMs === 0 ? 'readiness' : 'front' },
      },
      namespace: LEASE.namespace,
      api: apiClient(replica, world, process),
      // 0: no front, as with `--traffic=readiness`.
      front:
        config.gateMs === 0
          ? null
          : {
              access: { address: '10.1.2.3:8091', key: identity },
              holdTimeoutMs: 0,
              probe: async () => null,
              process: (changed) =>
                modelFront(process, config.gateMs, () => quietAfter(world.random), changed),
            },
      supervisor: ({ dispatch, ...wiring }) =>
        new Supervisor({
          ...wiring,
          dispatch: (fact) => {
            if (fact.type !== 'workload' && fact.type !== 'tick')
              trace(() => `agent receives: ${JSON.stringify(fact)}`)
            dispatch(fact)
          },
          machine: {
            clock: process,
            portFree: async () => !replica.portTaken,
            connections: () => (behaviour.connected ? 1 : 0),
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
          busyTimeoutMs: BUSY_TIMEOUT_MS,
          killMarginMs: config.killMarginMs,
        }),
      peers: world.asksPeers
        ? ({ asked }) =>
            modelPeers(
              process,
              () => world.others(replica),
              () => world.addresses(replica),
              asked,
            )
        : null,
      failsafe:
        config.failsafe === 'peers'
          ? {
              key: `key-of-${replica.instance}-${++keys}`.padEnd(24, '-'),
              send: world.agents.sender(replica, process),
            }
          : null,
      lostPods: null,
      events: () => ({ record: ignore, end: async () => {} }),
      podAgeMs: () => {
        // The product asks after each turn. A new stage is noticed here.
        replica.agentMoved(this.stage)
        return kernel.mono() - replica.appearedAt
      },
      http: async () => ({ port: 0, close: async () => {} }),
      clock: process,
      log,
      metrics: UNCOUNTED,
      salt: world.random.whole(0, 999),
    })
    void this.product.start()
    void this.product.end().then((code) => process.act(() => exited(process, code)))
  }

  consent(sealed: string): string | null {
    return this.product.consent(sealed)
  }

  get elector(): ProductReplica['elector'] {
    return this.product.elector
  }

  terminate(): void {
    this.product.terminate('SIGTERM')
  }

  get member(): Member {
    return memberOf(this.product.status())
  }

  get stage(): Stage {
    const { term, ending, pending, seen } = this.elector.state
    if (ending !== null) return 'ending'
    if (term === null) return pending !== null ? 'acquiring' : seen === null ? 'starting' : 'following'
    if (term.stepDown !== null) return term.stepDown.stage
    if (term.doubt) return 'in doubt'
    return this.product.supervisor.status.healthy ? 'serving' : 'starting its workload'
  }

  get ready(): boolean {
    return this.process.runs && this.product.ready()
  }
}

export function logTo(trace: (line: () => string) => void): Log {
  const say = (text: string) => trace(() => text)
  return {
    event: (name, { epoch, reason }) =>
      say(`${name}, epoch ${epoch}${reason === undefined ? '' : `: ${reason}`}`),
    info: ignore,
    warn: say,
    error: say,
  }
}

/** In `run`, the agent kills the launcher and its workload. Resolves when no process of the workload exists. */
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

/** The model's counterpart of `Peers`: the other replicas answer immediately. */
function modelPeers(
  process: Process,
  look: () => readonly Member[],
  addresses: () => Peers['answered'],
  asked: (() => void) | undefined,
) {
  let asking = false
  let waiting = false
  const peers = {
    members: [] as readonly Member[],
    answered: [] as Peers['answered'],
    get present() {
      return peers.members
    },
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
        peers.answered = addresses()
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

/** Milliseconds until the front has no request in flight: often none, and at times longer than any quiet timeout. */
function quietAfter(random: Random): number {
  return random.chance(0.5) ? 0 : random.between(0, 2 * LONGEST_QUIET_MS)
}

/** The process of the model's front. It acknowledges each change of the gate after `gateMs`. */
function modelFront(
  process: Process,
  gateMs: number,
  quietMs: () => number,
  changed: () => void,
): ReturnType<OwnFront['process']> {
  let looking: Timer | null = null
  let current: boolean | null = null
  let waiting: PromiseWithResolvers<void> | null = null
  let lastChange = 0
  return {
    listening: true,
    problem: null,
    counts: NO_COUNTS,
    quiet: false,
    follow(route) {
      const untilQuiet = route.to === 'langflow' && route.untilQuiet
      if (!untilQuiet) {
        looking?.cancel()
        looking = null
        this.quiet = false
      } else {
        looking ??= process.after(gateMs + quietMs(), () => {
          this.quiet = true
          changed()
        })
      }
      const open = route.to === 'langflow' && route.closing === null
      if (open !== current) {
        current = open
        waiting ??= Promise.withResolvers<void>()
        const change = ++lastChange
        process.after(gateMs, () => {
          if (change !== lastChange) return
          waiting?.resolve()
          waiting = null
        })
      }
      return waiting?.promise ?? Promise.resolve()
    },
    end: async () => {},
  }
}

const STARTING_INTERVAL_MS = 100
const PROBE_INTERVAL_MS = 1_000
const FAILURES = 3
const BUSY_TIMEOUT_MS = 8_000

/** Checks the health of the model's workload at the intervals of the real probe, without HTTP. */
function modelProbe(agent: Process, healthy: () => boolean, handlers: HealthHandlers) {
  let timer: Timer | null = null
  const ask = (state: ProbedState, failed: number) => {
    const answers = healthy()
    const failures = answers || state === 'starting' ? 0 : failed + 1
    const next = answers ? 'healthy' : state
    // A handler may stop the probe, or start another one.
    timer = agent.after(next === 'starting' ? STARTING_INTERVAL_MS : PROBE_INTERVAL_MS, () =>
      ask(next, failures),
    )
    if (failures > 0 || (answers && failed > 0)) handlers.silence(!answers)
    if (answers && state !== 'healthy') handlers.healthy()
    if (failures > 0 && failures % FAILURES === 0) handlers.unhealthy('/health: no answer', true)
  }
  const stop = () => timer?.cancel()
  return {
    last: null,
    stop,
    start(state: ProbedState) {
      stop()
      timer = agent.after(1, () => ask(state, 0))
    },
  }
}
