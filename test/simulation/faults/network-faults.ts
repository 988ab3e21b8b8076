import type { ApiErrorCode } from '../../../agent/kube/errors.ts'
import type { Connection, Disturbance } from '../network.ts'
import type { Kind, Strike } from './fault.ts'

function disturbed(disturb: (degree: number) => Disturbance): Strike {
  return (_world, { degree }, { network }) => {
    const disturbance = disturb(degree)
    network.add(disturbance)
    return () => network.remove(disturbance)
  }
}

function blackHoled(uses: readonly Connection['use'][]): Strike {
  return (_world, _fault, { network }) => void network.blackHole(uses)
}

const answers = (error: ApiErrorCode): Strike => disturbed(() => ({ error }))

const lag = (degree: number) => 100 + degree * 15_000
const lateness = (degree: number) => 1_000 + degree * 25_000

/** Any error that leaves it open whether the next request fares better. */
const ERRORS: readonly ApiErrorCode[] = ['unauthorized', 'throttled', 'server', 'network']

/** The network between a machine and the API server, and what the API server answers to it. */
export const NETWORK_FAULTS = {
  cut: { rows: ['T1', 'T17'], strike: disturbed(() => ({ cut: true })) },
  refused: { rows: ['T1'], strike: disturbed(() => ({ refused: true, watchCut: true })) },
  'cut while stopping': {
    rows: ['T1', 'T5'],
    strike: (world, fault, replica) => {
      replica.terminateAgent()
      return disturbed(() => ({ cut: true }))(world, fault, replica)
    },
  },
  'writes lost': { rows: ['T1'], strike: disturbed(() => ({ lost: 'writes' })) },
  'reads lost': { rows: [], strike: disturbed(() => ({ lost: 'reads' })) },
  'answers lost': { rows: ['T3'], strike: disturbed(() => ({ answersLost: true })) },
  slow: { rows: ['T3'], strike: disturbed((degree) => ({ slow: 50 + degree * 4_000 })) },
  'late writes': {
    rows: ['T1', 'T3'],
    strike: disturbed((degree) => ({ lateWrites: lateness(degree) })),
    trails: lateness,
  },
  'watch silent': { rows: ['T7'], strike: disturbed(() => ({ watchSilent: true })) },
  'watch cut': { rows: ['T7'], strike: disturbed(() => ({ watchCut: true })) },
  'watch lags': {
    rows: ['T7'],
    strike: disturbed((degree) => ({ watchLag: lag(degree) })),
    trails: lag,
  },
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
  'conflict after success': { rows: ['T7'], strike: disturbed(() => ({ lyingConflict: true })) },
  'updates dropped': { rows: [], strike: disturbed(() => ({ dropped: 'updates' })) },
  'renew times dropped': { rows: [], strike: disturbed(() => ({ dropped: 'renew times' })) },
  'token expired': { rows: ['T7', 'T13', 'T17'], strike: answers('unauthorized') },
  // Connections that exist go on; new ones are not trusted.
  'CA rotated': { rows: ['T13'], strike: disturbed(() => ({ newRefused: true })) },
  // The one server that this replica is connected to, of several: it loses its power, or a link to it does.
  'watch black-holed': { rows: ['T16'], connections: true, strike: blackHoled(['watch']) },
  'requests black-holed': { rows: ['T16'], connections: true, strike: blackHoled(['requests']) },
  'connections black-holed': { rows: ['T16'], connections: true, strike: blackHoled(['watch', 'requests']) },
  'new connections black-holed': {
    rows: ['T16'],
    strike: (world, fault, replica) => {
      blackHoled(['watch', 'requests'])(world, fault, replica)
      return disturbed((degree) => ({ newDead: 0.2 + degree / 2 }))(world, fault, replica)
    },
  },
  forbidden: { rows: ['T7', 'T17'], strike: answers('forbidden') },
  throttled: { rows: ['T7'], strike: answers('throttled') },
  'server errors': { rows: ['T7'], strike: answers('server') },
  'refused as invalid': { rows: [], strike: answers('invalid') },
  'errors in bursts': {
    rows: ['T7'],
    strike: disturbed((degree) => ({
      error: ERRORS[Math.floor(degree * ERRORS.length)] as ApiErrorCode,
      errorChance: 0.2 + 0.6 * degree,
    })),
  },
} as const satisfies Record<string, Kind>
