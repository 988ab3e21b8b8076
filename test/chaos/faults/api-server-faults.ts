import { ACCOUNT } from '../../e2e/deploy-rights.ts'
import type { Ground } from '../ground.ts'
import type { Kind } from './fault.ts'

const CODES = [429, 500, 503, 504]

/** Withdraws the right to the Lease; the way back may meet an API server that is still coming up, and is tried again. */
async function withdrawRight(ground: Ground): Promise<() => Promise<unknown>> {
  const { stdout } = await ground.kubectl('get', 'rolebinding', ACCOUNT, '--output=json')
  const { kind, apiVersion, metadata, roleRef, subjects } = JSON.parse(stdout)
  const binding = JSON.stringify({ kind, apiVersion, metadata: { name: metadata.name }, roleRef, subjects })
  try {
    await ground.kubectl('delete', 'rolebinding', ACCOUNT)
  } catch (error) {
    // It may have gone through all the same.
    await ground.apply(binding)
    throw error
  }
  return () => ground.apply(binding)
}

/** Whatever became of the last try. */
async function accept(ground: Ground): Promise<void> {
  await ground.insist(() =>
    ground.kubectl('delete', 'validatingwebhookconfiguration', '--all', '--ignore-not-found'),
  )
}

/** What all pods share: kube-apiserver, etcd behind it, and the rights that it grants. */
export const API_SERVER_FAULTS = {
  'API server hangs': {
    hits: 'api',
    ms: [1_000, 40_000],
    strike: async ({ plane }) => {
      plane.pause()
      return () => plane.resume()
    },
  },
  'API server is killed': {
    hits: 'api',
    ms: [500, 12_000],
    strike: async ({ plane }) => {
      await plane.stopApiServer('SIGKILL')
      return () => plane.startApiServer()
    },
  },
  'API server restarts with a compacted history': {
    hits: 'api',
    ms: [500, 3_000],
    strike: async ({ plane }) => {
      await plane.stopApiServer('SIGTERM')
      await plane.compact()
      return () => plane.startApiServer()
    },
  },
  'etcd is killed': {
    hits: 'api',
    ms: [500, 10_000],
    strike: async ({ plane }) => {
      await plane.stopEtcd()
      return () => plane.startEtcd()
    },
  },
  'right to the Lease is withdrawn': { hits: 'api', ms: [1_000, 16_000], strike: withdrawRight },
  'writes of the Lease are refused': {
    hits: 'api',
    ms: [1_000, 16_000],
    strike: async (ground, _seat, { degree }) => {
      try {
        await ground.refusals.begin(CODES[Math.floor(degree * CODES.length)] as number)
      } catch (error) {
        await accept(ground)
        throw error
      }
      return () => accept(ground)
    },
  },
} as const satisfies Record<string, Kind>
