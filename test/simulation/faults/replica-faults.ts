import type { Stage } from '../agent-host.ts'
import { poseAsLauncher } from '../link.ts'
import type { Process } from '../process.ts'
import type { Replica } from '../replica.ts'
import { type Behaviour, GOOD_BEHAVIOUR, type Workload } from '../workload.ts'
import { type Kind, MISSED, type Row, repeated, type Strike } from './fault.ts'

/** How long a blocked event loop stands still: T12. */
const BLOCKED_MS = 20_000
const HOUR_MS = 3_600_000
/** What is started again is so after this part of the fault's duration. */
const BACK_AFTER = 1 / 4
const POSES_EACH_MS = 20
/** Degrees below which a replica that is evicted names who is to follow it, dead or alive, and below which it lives on. */
const NAMES_A_SUCCESSOR = 1 / 2
const STEPS_DOWN = 1 / 4

type Program = (replica: Replica) => { readonly process: Process } | null
const agent: Program = (replica) => replica.agent
const launcher: Program = (replica) => replica.launcher

/** Strikes a program, where it runs. */
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

/** Strikes a replica whose agent runs. */
function onAgent(rows: readonly Row[], strike: Strike): Kind {
  return { rows, strike: (world, fault, replica) => (replica.agent ? strike(world, fault, replica) : MISSED) }
}

/** Nothing of the machine runs, until it wakes up: `wake`. */
function asleep(wake: (replica: Replica, world: Parameters<Strike>[0]) => void): Kind {
  return {
    rows: ['T11'],
    strike: (world, _fault, replica) => {
      replica.kernel.sleep()
      return () => wake(replica, world)
    },
  }
}

/** Stages that an agent told to end at any time is seldom at; some have to be brought about. */
const FLEETING: readonly Stage[] = ['acquiring', 'starting its workload', 'in doubt', 'draining', 'releasing']

const slowness = (degree: number) => degree * 3_000

/** In one respect, until the fault is over. */
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

/** Of what is begun to be prepared until the fault is over; what is kept already is lost, so that there is something. */
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

/** Strikes what runs, if anything does. */
function befalls(rows: readonly Row[], strike: (workload: Workload) => unknown): Kind {
  return { rows, strike: (_world, _fault, { workload }) => (workload?.live ? strike(workload) : MISSED) }
}

/** Processes, pods and machines; the link, the standby and the workload on them. */
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
    // Which of the two is back first is left to chance.
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
  twin: {
    rows: ['T10'],
    // Also the one whose identity is taken.
    shared: true,
    strike: (world, { targets, degree }, replica) => {
      const others = world.replicas.filter((_, index) => !targets.includes(index))
      const original = others[Math.floor(degree * others.length)]
      if (original === undefined) return MISSED
      replica.poseAs(original.identity)
      return () => replica.poseAs(null)
    },
  },
  evicted: onAgent(['T14'], ({ replicas }, { ms, degree }, replica) => {
    if (degree < NAMES_A_SUCCESSOR) replica.nameSuccessor(replicas[Math.floor(degree * 64) % replicas.length])
    if (degree < STEPS_DOWN) replica.stepDown()
    else replica.evict(ms * BACK_AFTER)
  }),
  'agent ended': onAgent(['T14'], (_world, _fault, replica) => replica.terminateAgent()),
  'agent ended at a stage': {
    rows: ['T14'],
    strike: (_world, { degree }, replica) => {
      const { network, workload } = replica
      const stage = FLEETING[Math.floor(degree * FLEETING.length)] as Stage
      const unwritable = { lost: 'writes' } as const
      if (stage === 'in doubt') network.add(unwritable)
      else if (stage === 'draining' || stage === 'releasing') workload?.lose('worker')
      replica.endAt = stage
      return () => {
        network.remove(unwritable)
        replica.endAt = null
      }
    },
  },
  'agent ended twice': onAgent(['T14'], (_world, _fault, replica) => {
    replica.terminateAgent()
    return () => replica.terminateAgent()
  }),
  suspended: asleep(({ kernel }) => kernel.wake()),
  paused: asleep(({ kernel, config }, { judge }) => {
    if (!kernel.wakeUnnoticed(config.leaseDurationMs)) judge.limits.add('no clock shows a pause')
  }),
  'stands still': asleep(({ kernel }) => kernel.wakeUnseen()),
  // A cgroup freezer: by the kubelet, a runtime, or whoever is root on the node.
  'container frozen': {
    rows: ['T6'],
    strike: (_world, _fault, { mode, agent, launcher, workload }) => {
      if (launcher === null) return MISSED
      const frozen = mode === 'pod' ? [launcher] : [agent, launcher]
      for (const one of frozen) one?.process.freeze()
      const goOn = workload?.halt()
      return () => {
        goOn?.()
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
  'socket removed': {
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
  'standby fails': prepares({ preparingFails: true }),
  'standby hangs': prepares({ preparingHangs: true }),
  'ignores SIGTERM': behaves(['T8'], { ignoresTerm: true }),
  'lingers when killed': {
    rows: ['T8'],
    strike: (_world, { degree }, { behaviour }) => behave(behaviour, { lingersMs: degree * 6_000 }),
  },
  exits: befalls(['T8'], (workload) => workload.exit(false)),
  'leaves a child': befalls(['T8'], (workload) => workload.exit(true)),
  'tini killed': {
    rows: ['T8'],
    strike: (_world, { degree }, { mode, workload }) =>
      mode === 'pod' && workload?.live ? workload.exit(degree < 0.5, true) : MISSED,
  },
  'loses its worker': befalls(['T8'], (workload) => workload.lose('worker')),
  'loses its master': befalls(['T8'], (workload) => workload.lose('master')),
  'stopped by hand': befalls([], (workload) => workload.halt()),
  unhealthy: behaves(['T8'], { healthy: false }),
  'dies at start': {
    rows: ['T15'],
    strike: (_world, _fault, { workload, behaviour }) => {
      workload?.exit(false)
      return behave(behaviour, { diesAtStart: true })
    },
  },
  'port taken': behaves(['T15'], { portTaken: true }),
  connected: behaves([], { connected: true }),
} as const satisfies Record<string, Kind>
