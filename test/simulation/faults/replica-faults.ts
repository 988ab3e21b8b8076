import type { Stage } from '../agent-host.ts'
import { poseAsLauncher } from '../link.ts'
import type { Process } from '../process.ts'
import type { Replica } from '../replica.ts'
import { type Behaviour, GOOD_BEHAVIOUR, type Workload } from '../workload.ts'
import { type Kind, MISSED, once, type Row, repeated, type Strike } from './fault.ts'

/** The length of a block of the event loop, as in T12. */
const BLOCKED_MS = 20_000
const HOUR_MS = 3_600_000
/** The part of a fault's duration after which an ended process is started again. */
const BACK_AFTER = 1 / 4
const POSES_EACH_MS = 20
/** Below this degree, an evicted replica first names a successor, which may be dead. */
const NAMES_A_SUCCESSOR = 1 / 2
/** Below this degree, it only steps down instead of being evicted. */
const STEPS_DOWN = 1 / 4

type Program = (replica: Replica) => { readonly process: Process } | null
const agent: Program = (replica) => replica.agent
const launcher: Program = (replica) => replica.launcher

function program(
  rows: readonly Row[],
  which: Program,
  strike: (process: Process, ms: number) => unknown,
): Kind {
  return {
    rows,
    strike: (_world, { ms }, replica) => {
      const process = which(replica)?.process
      return process === undefined ? MISSED : strike(process, ms)
    },
  }
}

function freeze(process: Process): () => void {
  process.freeze()
  return () => process.thaw()
}

function onAgent(rows: readonly Row[], strike: Strike): Kind {
  return { rows, strike: (world, fault, replica) => (replica.agent ? strike(world, fault, replica) : MISSED) }
}

function asleep(wake: (replica: Replica, world: Parameters<Strike>[0]) => void): Kind {
  return {
    rows: ['T11'],
    strike: (world, _fault, replica) => {
      replica.kernel.sleep()
      return () => wake(replica, world)
    },
  }
}

/** Stages that are so short that an agent is seldom terminated at them by chance. The fault forces some of them. */
const FLEETING: readonly Stage[] = ['acquiring', 'starting its workload', 'in doubt', 'draining', 'releasing']

const slowness = (degree: number) => degree * 3_000

/** Changes the behaviour of the workload or standby until the returned function is called. */
function behave(behaviour: Behaviour, badly: Partial<Behaviour>): () => void {
  Object.assign(behaviour, badly)
  return () => {
    for (const name of Object.keys(badly) as (keyof typeof GOOD_BEHAVIOUR)[])
      Object.assign(behaviour, { [name]: GOOD_BEHAVIOUR[name] })
  }
}

const behaves = (rows: readonly Row[], badly: Partial<Behaviour>): Kind => ({
  rows,
  strike: (_world, _fault, { behaviour }) => behave(behaviour, badly),
})

/**
 * Changes the preparation of standbys until the fault is over. The current standby is lost first, so that a preparation
 * begins.
 */
function prepares(badly: Partial<Behaviour>): Kind {
  return {
    rows: ['T18'],
    strike: (_world, _fault, { behaviour, launcher, config }) => {
      if (config.standby === 'cold') return MISSED
      launcher?.loseStandby()
      return behave(behaviour, badly)
    },
  }
}

function onWorkload(rows: readonly Row[], strike: (workload: Workload) => unknown): Kind {
  return { rows, strike: (_world, _fault, { workload }) => (workload?.live ? strike(workload) : MISSED) }
}

export const REPLICA_FAULTS = {
  'agent frozen': program(['T6'], agent, freeze),
  'agent blocked': program(['T12'], agent, (process) => process.block(BLOCKED_MS)),
  'agent killed': onAgent(['T6'], (_world, { ms }, replica) => replica.crashAgent(ms * BACK_AFTER)),
  'launcher frozen': program(['T6'], launcher, freeze),
  'launcher blocked': program(['T6'], launcher, (process, ms) => process.block(ms)),
  'launcher killed': {
    rows: ['T6'],
    strike: (_world, { ms }, replica) => (replica.launcher ? replica.crashLauncher(ms * BACK_AFTER) : MISSED),
  },
  'launcher flaps': {
    rows: ['T6'],
    strike: (world, { degree }, replica) =>
      repeated(world, () => {
        replica.crashLauncher(100)
        return 300 + degree * 2_000
      }),
  },
  'pod killed': {
    rows: ['T23'],
    // The degree decides which of the two is back first.
    strike: (_world, { ms, degree }, replica) =>
      replica.mode === 'pod' && replica.agent !== null && replica.launcher !== null
        ? replica.crashPod(ms * BACK_AFTER * degree, ms * BACK_AFTER * (1 - degree))
        : MISSED,
  },
  'flow poses as launcher': {
    rows: ['T20'],
    strike: (world, _fault, replica) =>
      repeated(world, () => {
        const { workload, socket, mode } = replica
        if (mode === 'pod' && workload?.executes) poseAsLauncher(socket, workload.process)
        return POSES_EACH_MS
      }),
  },
  'replica lost': { rows: ['T6'], strike: (_world, { ms }, replica) => replica.crash(ms) },
  'identity used twice': {
    rows: ['T10'],
    // It also affects the replica whose identity is used twice.
    shared: true,
    strike: (world, { targets, degree }, replica) => {
      const others = world.replicas.filter((_, index) => !targets.includes(index))
      const original = others[Math.floor(degree * others.length)]
      if (original === undefined) return MISSED
      replica.poseAs(original.identity)
      return () => replica.poseAs(null)
    },
  },
  'replica evicted': onAgent(['T14'], ({ replicas }, { ms, degree }, replica) => {
    if (degree < NAMES_A_SUCCESSOR) replica.nameSuccessor(replicas[Math.floor(degree * 64) % replicas.length])
    if (degree < STEPS_DOWN) replica.stepDown()
    else replica.evict(ms * BACK_AFTER)
  }),
  'agent terminated': onAgent(['T14'], (_world, _fault, replica) => replica.terminateAgent()),
  'agent terminated at a stage': {
    rows: ['T14'],
    strike: (_world, { degree }, replica) => {
      const { network, workload } = replica
      const stage = FLEETING[Math.floor(degree * FLEETING.length)] as Stage
      const unwritable = { lost: 'writes' } as const
      replica.endAt = stage
      if (stage === 'in doubt') network.add(unwritable)
      else if (stage === 'draining') replica.stepDown()
      else if (stage === 'releasing') workload?.lose('worker')
      return () => {
        network.remove(unwritable)
        replica.endAt = null
      }
    },
  },
  'agent terminated twice': onAgent(['T14'], (_world, _fault, replica) => {
    replica.terminateAgent()
    return () => replica.terminateAgent()
  }),
  'machine suspended': asleep(({ kernel }) => kernel.wake()),
  'machine paused, wall clock corrected': asleep(({ kernel, config }, { judge }) => {
    if (!kernel.wakeUnnoticed(config.leaseDurationMs)) judge.limits.add('no clock shows a pause')
  }),
  'machine paused, no clock shows it': asleep(({ kernel }) => kernel.wakeUnseen()),
  // The kubelet, the container runtime or a root user on the node freezes the container's cgroup.
  'container frozen': {
    rows: ['T6'],
    strike: (_world, _fault, { mode, agent, launcher, workload }) => {
      if (launcher === null) return MISSED
      const frozen = mode === 'pod' ? [launcher] : [agent, launcher]
      for (const one of frozen) one?.process.freeze()
      const resume = workload?.halt()
      return () => {
        resume?.()
        for (const one of frozen) one?.process.thaw()
      }
    },
  },
  'wall clock set': {
    rows: ['T11'],
    strike: (world, { degree }, { kernel, config }) => {
      if (kernel.asleep) return MISSED
      const byMs = (degree < 0.5 ? -1 : 1) * HOUR_MS
      if (!kernel.setWall(byMs, config.leaseDurationMs)) world.judge.limits.add('no clock shows a pause')
      return undefined
    },
  },
  'link slow': {
    rows: [],
    trails: slowness,
    strike: (_world, { at, ms, degree }, replica) => {
      const slowMs = slowness(degree)
      replica.socket.slowMs = slowMs
      replica.linkSlowUntil = Math.max(replica.linkSlowUntil, at + ms + slowMs)
      return () => {
        replica.socket.slowMs = 0
      }
    },
  },
  'grants repeated': {
    rows: [],
    strike: (_world, { degree }, { socket }) => {
      socket.repeatMs = degree * 20_000
      return () => {
        socket.repeatMs = 0
      }
    },
  },
  'agent socket removed': {
    rows: ['T6'],
    strike: (_world, _fault, { socket }) => {
      socket.removed = true
    },
  },
  'standby lost': {
    rows: ['T18'],
    strike: (_world, _fault, { launcher, config }) =>
      launcher === null || config.standby === 'cold' ? MISSED : launcher.loseStandby(),
  },
  'standby preparation fails': prepares({ preparingFails: true }),
  'standby preparation hangs': prepares({ preparingHangs: true }),
  'workload ignores SIGTERM': behaves(['T8'], { ignoresTerm: true }),
  'workload lingers after SIGKILL': {
    rows: ['T8'],
    strike: (_world, { degree }, { behaviour }) => behave(behaviour, { lingersMs: degree * 6_000 }),
  },
  'workload exits': onWorkload(['T8'], (workload) => workload.exit(false)),
  'workload exits, child remains': onWorkload(['T8'], (workload) => workload.exit(true)),
  'tini killed': {
    rows: ['T8'],
    strike: (_world, { degree }, { mode, workload }) =>
      mode === 'pod' && workload?.live ? workload.exit(degree < 0.5, true) : MISSED,
  },
  'workload loses its worker': onWorkload(['T8'], (workload) => workload.lose('worker')),
  'workload loses its master': onWorkload(['T8'], (workload) => workload.lose('master')),
  'workload stopped by a person': onWorkload([], (workload) => workload.halt()),
  'workload unhealthy': {
    rows: ['T8', 'T30'],
    // It hangs, or it is busy.
    strike: (_world, { degree }, { behaviour }) => behave(behaviour, { healthy: false, works: degree < 0.5 }),
  },
  'workload exits at start': {
    rows: ['T15'],
    strike: (_world, _fault, { workload, behaviour }) => {
      workload?.exit(false)
      return behave(behaviour, { diesAtStart: true })
    },
  },
  'content changed': { rows: [], strike: once((world, { degree }) => world.changeFiles(degree)) },
  'port taken': behaves(['T15'], { portTaken: true }),
  'connections stay open': behaves([], { connected: true }),
} as const satisfies Record<string, Kind>
