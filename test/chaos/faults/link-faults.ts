import type { TcpProxy } from '../../support/tcp-proxy.ts'
import type { Kind, Strike } from './fault.ts'

const LONG = [1_000, 30_000] as const
const FLAP_MS = 400

function onLink(strike: (link: TcpProxy, degree: number) => unknown): Strike {
  return async (_ground, { link }, { degree }) => {
    await strike(link, degree)
    return () => link.heal()
  }
}

/** The network between one pod and the API server. */
export const LINK_FAULTS = {
  'link is a black hole': { hits: 'link', ms: LONG, strike: onLink((link) => link.partition()) },
  'requests are held back': {
    hits: 'link',
    ms: LONG,
    strike: onLink((link) => link.flow({ toServer: 'hold' })),
  },
  'replies are held back': {
    hits: 'link',
    ms: LONG,
    strike: onLink((link) => link.flow({ toClient: 'hold' })),
  },
  'replies are lost after the commit': {
    hits: 'link',
    // Renewals come each 2 s: at least one commits meanwhile.
    ms: [2_500, 9_000],
    strike: async (_ground, { link }) => {
      link.flow({ toClient: 'hold' })
      return () => {
        link.reset()
        link.flow({ toClient: 'pass' })
      }
    },
  },
  'link is slow': {
    hits: 'link',
    ms: LONG,
    strike: onLink((link, degree) => {
      const delayMs = Math.round(50 + degree ** 2 * 4_000)
      link.flow({ toServer: { delayMs }, toClient: { delayMs } })
    }),
  },
  'connections are refused': { hits: 'link', ms: LONG, strike: onLink((link) => link.refuse()) },
  'connections are reset': {
    hits: 'link',
    strike: async (_ground, { link }) => {
      link.reset()
      return undefined
    },
  },
  'connections flap': {
    hits: 'link',
    ms: [2_000, 15_000],
    strike: async (_ground, { link }) => {
      const timer = setInterval(() => link.reset(), FLAP_MS)
      return () => clearInterval(timer)
    },
  },
  'watch is truncated': {
    hits: 'link',
    strike: async (_ground, { link }) => {
      link.truncate()
      return undefined
    },
  },
} as const satisfies Record<string, Kind>
