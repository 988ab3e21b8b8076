import type { Workload } from '../workload.ts'
import { type Behaviour, GOOD_BEHAVIOUR } from '../workload.ts'
import { type Kind, MISSED, type Strike } from './fault.ts'

/** In one respect, until the fault is over. */
function behaves(bad: (degree: number) => Partial<Behaviour>): Strike {
  return (_world, { degree }, { behaviour }) => {
    const badly = bad(degree)
    Object.assign(behaviour, badly)
    return () => {
      for (const name of Object.keys(badly) as (keyof typeof GOOD_BEHAVIOUR)[])
        Object.assign(behaviour, { [name]: GOOD_BEHAVIOUR[name] })
    }
  }
}

/** Strikes what runs, if anything does. */
function befalls(strike: (workload: Workload) => unknown): Strike {
  return (_world, _fault, { workload }) => (workload?.live ? strike(workload) : MISSED)
}

/** The workload, and what else holds its port. */
export const WORKLOAD_FAULTS = {
  'ignores SIGTERM': { rows: ['T8'], strike: behaves(() => ({ ignoresTerm: true })) },
  'lingers when killed': { rows: ['T8'], strike: behaves((degree) => ({ lingersMs: degree * 6_000 })) },
  exits: { rows: ['T8'], strike: befalls((workload) => workload.exit(false)) },
  'leaves a child': { rows: ['T8'], strike: befalls((workload) => workload.exit(true)) },
  'tini killed': {
    rows: ['T8'],
    strike: (_world, { degree }, { mode, workload }) =>
      mode === 'pod' && workload?.live ? workload.exit(degree < 0.5, true) : MISSED,
  },
  'loses its worker': { rows: ['T8'], strike: befalls((workload) => workload.lose('worker')) },
  'loses its master': { rows: ['T8'], strike: befalls((workload) => workload.lose('master')) },
  'stopped by hand': { rows: [], strike: befalls((workload) => workload.halt()) },
  unhealthy: { rows: ['T8'], strike: behaves(() => ({ healthy: false })) },
  'dies at start': {
    rows: ['T15'],
    strike: (world, fault, replica) => {
      replica.workload?.exit(false)
      return behaves(() => ({ diesAtStart: true }))(world, fault, replica)
    },
  },
  'port taken': { rows: ['T15'], strike: behaves(() => ({ portTaken: true })) },
  connected: { rows: [], strike: behaves(() => ({ connected: true })) },
} as const satisfies Record<string, Kind>
