import type { Exit } from '../../agent/processes/process-tree.ts'
import { AgentHost } from './agent-host.ts'
import { ApiClient } from './api-client.ts'
import { LauncherHost } from './launcher-host.ts'
import { AgentEnd } from './link.ts'
import { ModelProbe } from './probe.ts'
import { Process } from './process.ts'
import { RESPAWN_MS, type Replica, type ReplicaWorld } from './replica.ts'
import { type Start, Workload } from './workload.ts'

export const START_TIMEOUT_MS = 30_000
const RECLAIM_LOOK_MS = 5

export interface Running<Host> {
  readonly process: Process
  readonly host: Host
}

/** An agent process of a replica, on its machine and its network. */
export function startAgent(
  replica: Replica,
  world: ReplicaWorld,
  exited: (process: Process, code: 0 | 1) => void,
): Running<AgentHost> {
  const { identity, instance, config, kernel, network, behaviour } = replica
  const process = new Process(kernel, world.random)
  const api = new ApiClient({
    instance,
    server: world.server,
    network,
    process,
    random: world.random,
    sends: (lease) => world.sends(replica, lease),
    heard: () => replica.knowledge.heard(),
    shown: (lease) => world.shown(replica, lease),
  })
  const host = new AgentHost({
    config: { ...config, identity, salt: world.random.whole(0, 999) },
    api,
    process,
    standby: config.standby,
    gateMs: config.gateMs,
    revision: config.revision,
    podAgeMs: () => kernel.mono() - replica.appearedAt,
    peers: world.peers === null ? null : () => world.peers?.(replica) ?? [],
    startTimeoutMs: START_TIMEOUT_MS,
    onCrash: world.onCrash,
    machine: {
      portFree: async () => !replica.portTaken,
      connections: () => (behaviour.connected ? ['10.1.2.3'] : []),
      ...(replica.mode === 'run' ? { reclaim: () => reclaim(replica, process) } : {}),
    },
    link: (handlers) =>
      new AgentEnd(
        replica.socket,
        process,
        replica.keys,
        {
          grantLifeMs: config.leaseDurationMs,
          standby: config.standby,
          spare: config.spare,
          startTimeoutMs: START_TIMEOUT_MS,
        },
        handlers,
      ),
    probe: (handlers) => new ModelProbe(process, () => replica.workload?.healthy ?? false, handlers),
    trace: (line) => world.trace(instance, line),
    moved: (stage) => replica.agentMoved(stage),
    exited: (code) => exited(process, code),
  })
  return { process, host }
}

/** A launcher process of a replica. */
export function startLauncher(
  replica: Replica,
  world: ReplicaWorld,
  exited: (process: Process) => void,
): Running<LauncherHost> {
  const process = new Process(replica.kernel, world.random)
  process.bootAhead = replica.bootAhead
  const host = new LauncherHost({
    process,
    socket: replica.socket,
    alone: replica.mode === 'pod',
    langflow: replica.config.langflow,
    stopTimeoutMs: replica.config.stopTimeoutMs,
    portTaken: () => replica.portTaken,
    spawn: (start, workloadExited) => spawn(replica, world, process, start, workloadExited),
    random: world.random,
    preparing: replica.preparing,
    beside: () => spareOf(replica, world, process),
    spare: () => replica.spare,
    remains: () => replica.workload,
    trace: (line) => world.trace(replica.instance, line),
    exited: () => exited(process),
  })
  return { process, host }
}

function spawn(
  replica: Replica,
  world: ReplicaWorld,
  launcher: Process,
  start: Start,
  exited: (exit: Exit) => void,
): Workload {
  const { name, behaviour, kernel, workload: earlier } = replica
  const process = new Process(kernel, world.random)
  const workload = new Workload(name, start, process, launcher, world.random, behaviour, exited)
  replica.workload = workload
  if (behaviour.diesAtStart) process.after(world.random.between(10, 500), () => workload.exit(false))
  world.started(replica, workload, earlier)
  return workload
}

/** What waits beside the workload that runs now, for as long as it is kept: flows may have reached it. */
function spareOf(replica: Replica, world: ReplicaWorld, launcher: Process): Workload | null {
  const { name, behaviour, kernel, workload } = replica
  if (!workload?.present) return null
  const process = new Process(kernel, world.random)
  const start = { epoch: workload.epoch, prepared: false }
  const spare = new Workload(name, start, process, launcher, world.random, behaviour, () => {})
  launcher.onDeath(() => spare.kill())
  replica.spare = spare
  return spare
}

/** `run`: the agent kills the launcher and all that it left. Resolves once nothing of it lives. */
function reclaim(replica: Replica, agent: Process): Promise<void> {
  agent.act(() => {
    replica.crashLauncher(RESPAWN_MS)
    replica.workload?.kill()
    replica.spare?.kill()
  })
  return new Promise((resolve) => {
    const look = () => {
      if (replica.workload?.present || replica.spare?.present) agent.after(RECLAIM_LOOK_MS, look)
      else resolve()
    }
    look()
  })
}
