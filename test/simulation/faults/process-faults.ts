import type { Stage } from '../agent-host.ts'
import type { Process } from '../process.ts'
import type { Replica } from '../replica.ts'
import { type Kind, MISSED, repeated, type Strike } from './fault.ts'

/** How long a blocked event loop stands still: T12. */
const BLOCKED_MS = 20_000
const HOUR_MS = 3_600_000
/** What is started again is so after this part of the fault's duration. */
const BACK_AFTER = 1 / 4
/** Degrees below which a replica that is evicted names who is to follow it, dead or alive, and below which it lives on. */
const NAMES_A_SUCCESSOR = 1 / 2
const STEPS_DOWN = 1 / 4

function frozen(program: (replica: Replica) => { readonly process: Process } | null): Strike {
  return (_world, _fault, replica) => {
    const process = program(replica)?.process
    if (process === undefined) return MISSED
    process.freeze()
    return () => process.thaw()
  }
}

/** Stages that an agent told to end at any time is seldom at; some have to be brought about. */
const FLEETING: readonly Stage[] = ['acquiring', 'starting its workload', 'in doubt', 'draining', 'releasing']

/** Processes, pods and machines. */
export const PROCESS_FAULTS = {
  'agent frozen': { rows: ['T6'], strike: frozen(({ agent }) => agent) },
  'agent blocked': {
    rows: ['T12'],
    strike: (_world, _fault, { agent }) => (agent === null ? MISSED : agent.process.block(BLOCKED_MS)),
  },
  'agent killed': {
    rows: ['T6'],
    strike: (_world, { ms }, replica) =>
      replica.agent === null ? MISSED : replica.crashAgent(ms * BACK_AFTER),
  },
  'launcher frozen': { rows: ['T6'], strike: frozen(({ launcher }) => launcher) },
  'launcher blocked': {
    rows: ['T6'],
    strike: (_world, { ms }, { launcher }) => (launcher === null ? MISSED : launcher.process.block(ms)),
  },
  'launcher killed': {
    rows: ['T6'],
    strike: (_world, { ms }, replica) =>
      replica.launcher === null ? MISSED : replica.crashLauncher(ms * BACK_AFTER),
  },
  'launcher flaps': {
    rows: ['T6'],
    strike: (world, { degree }, replica) =>
      repeated(world, () => {
        replica.crashLauncher(100)
        return 300 + degree * 2_000
      }),
  },
  'replica lost': {
    rows: ['T6'],
    strike: (_world, { ms }, replica) => {
      replica.crash(ms)
      return undefined
    },
  },
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
  evicted: {
    rows: ['T14'],
    strike: (world, { ms, degree }, replica) => {
      if (replica.agent === null) return MISSED
      if (degree < NAMES_A_SUCCESSOR)
        replica.nameSuccessor(world.replicas[Math.floor(degree * 64) % world.replicas.length])
      if (degree < STEPS_DOWN) replica.stepDown()
      else replica.evict(ms * BACK_AFTER)
      return undefined
    },
  },
  'agent ended': {
    rows: ['T14'],
    strike: (_world, _fault, replica) => {
      if (replica.agent === null) return MISSED
      replica.terminateAgent()
      return undefined
    },
  },
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
  'agent ended twice': {
    rows: ['T14'],
    strike: (_world, _fault, replica) => {
      if (replica.agent === null) return MISSED
      replica.terminateAgent()
      return () => replica.terminateAgent()
    },
  },
  suspended: {
    rows: ['T11'],
    strike: (_world, _fault, { kernel }) => {
      kernel.sleep()
      return () => kernel.wake()
    },
  },
  paused: {
    rows: ['T11'],
    strike: (world, _fault, { kernel, config }) => {
      kernel.sleep()
      return () => {
        if (!kernel.wakeUnnoticed(config.leaseDurationMs)) world.judge.withheld('no clock shows a pause')
      }
    },
  },
  'stands still': {
    rows: ['T11'],
    strike: (_world, _fault, { kernel }) => {
      kernel.sleep()
      return () => kernel.wakeUnseen()
    },
  },
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
      if (!kernel.setWall(byMs, config.leaseDurationMs)) world.judge.withheld('no clock shows a pause')
      return undefined
    },
  },
} as const satisfies Record<string, Kind>
