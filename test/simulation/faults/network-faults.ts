import type { ApiErrorCode } from '../../../agent/kube/kube-errors.ts'
import type { Connection, Disturbance } from '../network.ts'
import type { World } from '../world.ts'
import { type Kind, once, type Row, type Strike } from './fault.ts'

function disturbed(disturb: (degree: number) => Disturbance): Strike {
  return (_world, { degree }, { network }) => {
    const disturbance = disturb(degree)
    network.add(disturbance)
    return () => network.remove(disturbance)
  }
}

const disturbs = (rows: readonly Row[], disturbance: Disturbance): Kind => ({
  rows,
  // Each fault adds an object of its own, so that the end of one doesn't end another of the same kind.
  strike: disturbed(() => ({ ...disturbance })),
})

/** The API server that this replica is connected to loses its power or its network. Other API servers continue. */
function blackHoled(uses: readonly Connection['use'][]): Kind {
  return {
    rows: ['T16'],
    connections: true,
    strike: (_world, _fault, { network }) => network.blackHole(uses),
  }
}

const apiServer = (rows: readonly Row[], strike: (server: World['server']) => unknown): Kind => ({
  rows,
  shared: true,
  strike: once(({ server }) => strike(server)),
})

const lag = (degree: number) => 100 + degree * 15_000
const lateness = (degree: number) => 1_000 + degree * 25_000

/** Errors after which the next request may succeed. */
const ERRORS: readonly ApiErrorCode[] = ['unauthorized', 'throttled', 'server', 'network']

export const NETWORK_FAULTS = {
  'network cut': disturbs(['T1', 'T17'], { cut: true }),
  'connections refused': disturbs(['T1'], { refused: true, watchCut: true }),
  'network cut while stopping': {
    rows: ['T1', 'T5'],
    strike: (world, fault, replica) => {
      replica.terminateAgent()
      return disturbed(() => ({ cut: true }))(world, fault, replica)
    },
  },
  'writes lost': disturbs(['T1'], { lost: 'writes' }),
  'reads lost': disturbs([], { lost: 'reads' }),
  'answers lost': disturbs(['T3'], { answersLost: true }),
  'network slow': { rows: ['T3'], strike: disturbed((degree) => ({ slow: 50 + degree * 4_000 })) },
  'writes late': {
    rows: ['T1', 'T3'],
    strike: disturbed((degree) => ({ lateWrites: lateness(degree) })),
    trails: lateness,
  },
  'watch silent': disturbs(['T7'], { watchSilent: true }),
  'watch cut': disturbs(['T7'], { watchCut: true }),
  'watch lags': { rows: ['T7'], strike: disturbed((degree) => ({ watchLag: lag(degree) })), trails: lag },
  'writes late, watch silent': {
    rows: ['T3'],
    strike: disturbed((degree) => ({ watchSilent: true, lateWrites: lateness(degree) })),
    trails: lateness,
  },
  'answers lost, watch lags': {
    rows: ['T3'],
    strike: disturbed((degree) => ({ answersLost: true, watchLag: lag(degree) })),
    trails: lag,
  },
  'conflict after success': disturbs(['T7'], { lyingConflict: true }),
  'updates dropped': disturbs([], { dropped: 'updates' }),
  'renew times dropped': disturbs([], { dropped: 'renew times' }),
  'token expired': disturbs(['T7', 'T13', 'T17'], { error: 'unauthorized' }),
  // Existing connections continue. New ones fail, because the agent doesn't trust the new certificate yet.
  'CA rotated': disturbs(['T13'], { newRefused: true }),
  'watch black-holed': blackHoled(['watch']),
  'requests black-holed': blackHoled(['requests']),
  'connections black-holed': blackHoled(['watch', 'requests']),
  'new connections black-holed': {
    rows: ['T16'],
    strike: (world, fault, replica) => {
      replica.network.blackHole(['watch', 'requests'])
      return disturbed((degree) => ({ newDead: 0.2 + degree / 2 }))(world, fault, replica)
    },
  },
  'requests forbidden': disturbs(['T7', 'T17'], { error: 'forbidden' }),
  'requests throttled': disturbs(['T7'], { error: 'throttled' }),
  'server errors': disturbs(['T7'], { error: 'server' }),
  'requests rejected as invalid': disturbs([], { error: 'invalid' }),
  'intermittent errors': {
    rows: ['T7'],
    strike: disturbed((degree) => ({
      error: ERRORS[Math.floor(degree * ERRORS.length)] as ApiErrorCode,
      errorChance: 0.2 + 0.6 * degree,
    })),
  },
  'API server restarts': apiServer(['T4'], (server) => {
    server.stop()
    return () => server.start()
  }),
  'API server hangs': apiServer(['T4'], (server) => {
    server.hangs = true
    return () => server.resume()
  }),
  'watches expire': apiServer(['T7'], (server) => server.compact()),
  'watches end': apiServer(['T7'], (server) => server.endWatches()),
} as const satisfies Record<string, Kind>
