import type { Kind } from './fault.ts'

const slowness = (degree: number) => degree * 3_000

/** Between agent and launcher. */
export const LINK_FAULTS = {
  'link slow': {
    rows: [],
    trails: slowness,
    strike: (_world, { at, ms, degree }, replica) => {
      const slowMs = slowness(degree)
      replica.socket.behaviour.slowMs = slowMs
      replica.linkSlowUntil = Math.max(replica.linkSlowUntil, at + ms + slowMs)
      return () => {
        replica.socket.behaviour.slowMs = 0
      }
    },
  },
  'grants repeated': {
    rows: [],
    strike: (_world, { degree }, { socket }) => {
      socket.behaviour.repeatMs = degree * 20_000
      return () => {
        socket.behaviour.repeatMs = 0
      }
    },
  },
  'socket removed': {
    rows: ['T6'],
    strike: (_world, _fault, { socket }) => {
      socket.removed = true
      return undefined
    },
  },
} as const satisfies Record<string, Kind>
