import { historyOf, type PastTerm } from '../lease/lease-history.ts'
import { Cluster, type ClusterOptions } from './cluster.ts'
import { OperationError } from './exit-codes.ts'
import { historyFrom, type Overview, overviewFrom, overviewOf } from './overview.ts'
import { replicasAt } from './replica-at-url.ts'

/** From where `status` and `history` know. All rejections are `OperationError`. */
export interface Source extends Disposable {
  overview(): Promise<Overview>
  /** Newest first. */
  history(): Promise<readonly PastTerm[]>
}

/** One replica's agent, or where `url` is `null` a cluster. */
export async function sourceOf(url: URL | null, options: ClusterOptions): Promise<Source> {
  if (url !== null) return ofReplica(url)
  const cluster = await Cluster.connect(options)
  return {
    overview: async () => {
      const [lease, replicas] = await Promise.all([cluster.lease(), cluster.replicas()])
      return overviewOf(lease, replicas, Date.now())
    },
    history: async () => historyOf(await cluster.lease()),
    [Symbol.dispose]: () => cluster.close(),
  }
}

function ofReplica(url: URL): Source {
  return {
    overview: async () => {
      const overview = overviewFrom(await replicasAt(url))
      if (overview !== null) return overview
      throw new OperationError('unreachable', `${url.href} knows of no replica that tells its status`)
    },
    history: async () => historyFrom(await replicasAt(url)),
    [Symbol.dispose]: () => {},
  }
}
