import { ApiError, type ApiErrorCode } from '../../agent/kube/kube-errors.ts'
import type { Lease } from '../../agent/lease/lease.ts'
import type { LeaseApi } from '../../agent/lease/lease-api.ts'
import { hedged, verifiedUpdate } from '../../agent/lease/lease-api.ts'
import type { Reply } from './api-server.ts'
import type { Connection, Network } from './network.ts'
import type { Process } from './process.ts'
import type { Random } from './random.ts'
import type { Replica } from './replica.ts'
import { openWatch } from './watch-stream.ts'
import type { World } from './world.ts'

/** The status of each error response. The product only needs to know that a server has answered. */
const REFUSED = 400

/** An agent's access to the Lease: the product's interface on the model's network. */
export function apiClient(replica: Replica, world: World, process: Process): LeaseApi {
  const { network, instance, knowledge } = replica
  const { server, random, timeline, judge } = world
  /** A connection that is kept alive for the next request, as in `Connections`. */
  let idle: Connection | null = null
  let closed = false

  const take = (use: Connection['use'] = 'requests'): Connection => {
    const connection = idle ?? network.connect()
    idle = null
    connection.use = use
    return connection
  }

  const give = (connection: Connection) => {
    connection.proven = true
    if (connection.use === 'watch') return
    if (idle !== null) network.disconnect(idle)
    idle = connection
  }

  const request = (
    kind: 'reads' | 'writes',
    deadlineMs: number,
    connection: Connection,
    handle: () => Reply,
  ): Promise<Lease | null> => {
    const { promise, resolve, reject } = Promise.withResolvers<Lease | null>()
    let open = true
    const end = (destroy: boolean) => {
      open = false
      deadline.cancel()
      if (destroy) network.disconnect(connection)
      else give(connection)
    }
    const fail = (code: ApiErrorCode) => {
      if (!open) return
      if (!closed) reject(failure(code))
      end(code === 'network' || code === 'timeout')
    }
    const deadline = process.after(deadlineMs, () => fail('timeout'))
    const answer = (reply: Reply) =>
      process.deliver(() => {
        if (!open) return
        if ('error' in reply) return fail(reply.error)
        end(false)
        knowledge.answered()
        if (kind === 'writes' && reply.lease !== null) judge.received(replica, reply.lease)
        if (!closed) resolve(reply.lease)
      })
    const back = (reply: Reply) => {
      if (connection.dead || (kind === 'writes' && network.has(({ answersLost }) => answersLost))) return
      whenOpen(network, random, () => timeline.in(network.latency(), () => answer(reply)))
    }
    const arrive = () => {
      const { error } = network
      if (error !== undefined && !(uncertain(error) && random.chance(0.5))) return back({ error })
      const reply = handle()
      if (error !== undefined) return back({ error })
      const lies = kind === 'writes' && network.has(({ lyingConflict }) => lyingConflict)
      back(lies ? { error: 'conflict' } : reply)
    }
    process.act(() => {
      if (network.has(({ refused, newRefused }) => refused || (newRefused && !connection.proven))) {
        timeline.in(1, () => process.deliver(() => fail('network')))
      } else if (!connection.dead && !network.has(({ lost }) => lost === kind)) {
        const late = kind === 'writes' ? network.lateness() : 0
        const sent = () => server.receive(arrive, () => back({ error: 'network' }))
        whenOpen(network, random, () => timeline.in(network.latency() + late, sent))
      }
    })
    return promise
  }

  /** The judge counts the deadlines that a write earns from its send time. */
  const write = (lease: Lease, deadlineMs: number, handle: () => Reply): Promise<Lease> => {
    process.act(() => world.guard(() => judge.sends(replica, lease)))
    return request('writes', deadlineMs, take(), handle) as Promise<Lease>
  }

  /** Applies an update, unless a fault plays a proxy or webhook that drops it or its renew time. */
  const apply = (lease: Lease): Reply => {
    const present = server.lease
    if (present !== null && network.has(({ dropped }) => dropped === 'updates')) return server.read()
    const renewal = present?.spec?.acquireTime === lease.spec?.acquireTime
    if (!renewal || !network.has(({ dropped }) => dropped === 'renew times'))
      return server.update(lease, instance)
    const renewTime = present?.spec?.renewTime ?? null
    return server.update({ ...lease, spec: { ...lease.spec, renewTime } }, instance)
  }

  const read = async (deadlineMs: number): Promise<Lease | null> => {
    // Each read uses a new connection, as in `KubeLeaseApi`.
    const lease = await hedged(process, deadlineMs, (leftMs) =>
      request('reads', leftMs, network.connect(), () => server.read()),
    )
    // Of several answers, the agent receives only the first.
    judge.received(replica, lease)
    return lease
  }

  return {
    read,
    update: (lease, deadlineMs, seen = () => {}) =>
      verifiedUpdate(process, {
        lease,
        deadlineMs,
        answer: write(lease, deadlineMs, () => apply(lease)),
        read,
        late: () => failure('timeout'),
        seen,
      }),
    create: (lease, deadlineMs) => write(lease, deadlineMs, () => server.create(lease, instance)),
    async rehearse(lease, deadlineMs) {
      await request('reads', deadlineMs, take(), () => server.rehearse(lease))
    },
    async watch(from, handlers, deadlineMs) {
      const connection = take('watch')
      const stream = openWatch(replica, world, process, connection, handlers)
      await request('reads', deadlineMs, connection, () => {
        if (network.has(({ watchCut }) => watchCut)) return { error: 'network' }
        const refused = server.watch(from, stream)
        return refused === null ? { lease: null } : { error: refused }
      }).catch((error: unknown) => {
        stream.close()
        throw error
      })
      return stream
    },
    close() {
      closed = true
    },
  }
}

function failure(code: ApiErrorCode): ApiError {
  const status = code === 'timeout' || code === 'network' ? undefined : REFUSED
  return new ApiError(code, `the API server: ${code}`, status)
}

function uncertain(code: ApiErrorCode): boolean {
  return code === 'server' || code === 'network' || code === 'timeout'
}

/** A packet that is sent into a network cut is lost, or is sent again and arrives after the cut. */
function whenOpen(network: Network, random: Random, go: () => unknown): void {
  const isCut = () => network.has(({ cut }) => cut)
  if (!isCut()) {
    go()
    return
  }
  if (random.chance(0.5)) return
  const off = network.onChange(() => {
    if (isCut()) return
    off()
    go()
  })
}
