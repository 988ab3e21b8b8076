import { type Kind, shared } from './fault.ts'

/** The API server itself, for all replicas alike. */
export const API_SERVER_FAULTS = {
  'api restarts': {
    rows: ['T4'],
    shared: true,
    strike: shared(({ server }) => {
      server.stop()
      return () => server.start()
    }),
  },
  'api hangs': {
    rows: ['T4'],
    shared: true,
    strike: shared(({ server }) => {
      server.hangs = true
      return () => server.resume()
    }),
  },
  'watches expire': {
    rows: ['T7'],
    shared: true,
    strike: shared(({ server }) => {
      server.compact()
      return undefined
    }),
  },
  'watches end': {
    rows: ['T7'],
    shared: true,
    strike: shared(({ server }) => {
      server.endWatches()
      return undefined
    }),
  },
} as const satisfies Record<string, Kind>
