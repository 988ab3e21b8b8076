import { ACCOUNT } from '../../harness/control-plane.ts'
import type { ChaosScene } from '../scene.ts'
import type { Kind } from './fault.ts'

const CODES = [429, 500, 503, 504]

/** Withdraws the right to the Lease; the way back may meet an API server that is still coming up, and is tried again. */
async function withdrawRight(scene: ChaosScene): Promise<() => Promise<unknown>> {
  const { stdout } = await scene.kubectl('get', 'rolebinding', ACCOUNT, '--output=json')
  const { kind, apiVersion, metadata, roleRef, subjects } = JSON.parse(stdout)
  const binding = { kind, apiVersion, metadata: { name: metadata.name }, roleRef, subjects }
  const restore = () => scene.insist(() => scene.apply(binding))
  try {
    await scene.kubectl('delete', 'rolebinding', ACCOUNT)
  } catch (error) {
    // It may have gone through all the same.
    await restore()
    throw error
  }
  return restore
}

/** Whatever became of the last try. */
async function accept(scene: ChaosScene): Promise<void> {
  await scene.insist(() =>
    scene.kubectl('delete', 'validatingwebhookconfiguration', '--all', '--ignore-not-found'),
  )
}

/** What all pods share: kube-apiserver, etcd behind it, and the rights that it grants. */
export const API_SERVER_FAULTS = {
  'API server hangs': {
    hits: 'api',
    ms: [1_000, 40_000],
    inject: async ({ plane }) => {
      plane.pause()
      return () => plane.resume()
    },
  },
  'API server is killed': {
    hits: 'api',
    ms: [500, 12_000],
    inject: async ({ plane }) => {
      await plane.stopApiServer('SIGKILL')
      return () => plane.startApiServer()
    },
  },
  'API server restarts with a compacted history': {
    hits: 'api',
    ms: [500, 3_000],
    inject: async ({ plane }) => {
      await plane.stopApiServer('SIGTERM')
      await plane.compact()
      return () => plane.startApiServer()
    },
  },
  'etcd is killed': {
    hits: 'api',
    ms: [500, 10_000],
    inject: async ({ plane }) => {
      await plane.stopEtcd()
      return () => plane.startEtcd()
    },
  },
  'right to the Lease is withdrawn': { hits: 'api', ms: [1_000, 16_000], inject: withdrawRight },
  'writes of the Lease are refused': {
    hits: 'api',
    ms: [1_000, 16_000],
    inject: async (scene, _slot, { degree }) => {
      try {
        await scene.refusals.begin(CODES[Math.floor(degree * CODES.length)] as number)
      } catch (error) {
        await accept(scene)
        throw error
      }
      return () => accept(scene)
    },
  },
} as const satisfies Record<string, Kind>
