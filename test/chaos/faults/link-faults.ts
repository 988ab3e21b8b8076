import type { TcpProxy } from '../../harness/faults/tcp-proxy.ts'
import type { Inject, Kind } from './fault.ts'

const LONG = [1_000, 30_000] as const
const FLAP_MS = 400

function onLink(inject: (link: TcpProxy, degree: number) => unknown): Inject {
  return async (_scene, { link }, { degree }) => {
    await inject(link, degree)
    return () => link.heal()
  }
}

/** The network between one pod and the API server. */
export const LINK_FAULTS = {
  'link is a black hole': { hits: 'link', ms: LONG, inject: onLink((link) => link.partition()) },
  'requests are held back': {
    hits: 'link',
    ms: LONG,
    inject: onLink((link) => link.flow({ toServer: 'hold' })),
  },
  'replies are held back': {
    hits: 'link',
    ms: LONG,
    inject: onLink((link) => link.flow({ toClient: 'hold' })),
  },
  'replies are lost after the commit': {
    hits: 'link',
    // Renewals come each 2 s: at least one commits meanwhile.
    ms: [2_500, 9_000],
    inject: async (_scene, { link }) => {
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
    inject: onLink((link, degree) => {
      const delayMs = Math.round(50 + degree ** 2 * 4_000)
      link.flow({ toServer: { delayMs }, toClient: { delayMs } })
    }),
  },
  'connections are refused': { hits: 'link', ms: LONG, inject: onLink((link) => link.refuse()) },
  'connections are reset': {
    hits: 'link',
    inject: async (_scene, { link }) => {
      link.reset()
    },
  },
  'connections flap': {
    hits: 'link',
    ms: [2_000, 15_000],
    inject: async (_scene, { link }) => {
      const timer = setInterval(() => link.reset(), FLAP_MS)
      return () => clearInterval(timer)
    },
  },
  'watch is truncated': {
    hits: 'link',
    inject: async (_scene, { link }) => {
      link.truncate()
    },
  },
} as const satisfies Record<string, Kind>
