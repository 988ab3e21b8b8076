import { ApiError, type ApiErrorCode } from '../../agent/kube/errors.ts'
import { hedged, lookedAfter } from '../../agent/lease/hedge.ts'
import type { Lease } from '../../agent/lease/lease.ts'
import type { LeaseApi, OpenWatch, WatchHandlers } from '../../agent/lease/lease-api.ts'
import type { Reply } from './api-server.ts'
import type { Connection, Network } from './network.ts'
import type { Process } from './process.ts'
import type { Random } from './random.ts'
import type { Replica } from './replica.ts'
import { WatchStream } from './watch-stream.ts'
import type { World } from './world.ts'

/** What both a client and its watches need. */
export interface ApiClientParts
  extends Pick<Replica, 'network' | 'knowledge'>,
    Pick<World, 'server' | 'random'> {
  readonly process: Process
  /** This client has been shown a version of the Lease, or that there is none. */
  readonly shown: (lease: Lease | null) => void
  /** A write leaves; every deadline it may earn counts from this moment. */
  readonly sends: (lease: Lease) => void
  /** Whose writes they are, to the judge. */
  readonly instance: string
}

const RETRY_AFTER_MS = 3_000
/** Any status will do: a server has answered. */
const REFUSED = 400

/** An agent's way to the Lease: the real interface on the model's network. */
export class ApiClient implements LeaseApi {
  private readonly parts: ApiClientParts
  /** Kept alive for the next request, as `Connections` does. */
  private idle: Connection | null = null
  private closed = false

  constructor(replica: Replica, world: World, process: Process) {
    const { instance, network, knowledge } = replica
    const { server, random, judge } = world
    const sends = (lease: Lease) => world.guard(() => judge.sends(replica, lease))
    const shown = (lease: Lease | null) => judge.shown(replica, lease)
    this.parts = { instance, network, knowledge, server, random, process, shown, sends }
  }

  async read(deadlineMs: number): Promise<Lease | null> {
    const { process, shown } = this.parts
    const lease = await hedged(process, deadlineMs, (leftMs) => this.readOnce(leftMs))
    // Of several answers the first one counts, and nobody is shown the others.
    shown(lease)
    return lease
  }

  update(lease: Lease, deadlineMs: number, seen: (lease: Lease) => void = () => {}): Promise<Lease> {
    const { process } = this.parts
    return lookedAfter(process, {
      lease,
      deadlineMs,
      answer: this.write(lease, deadlineMs, () => this.apply(lease)),
      read: (ms) => this.read(ms),
      late: () => failure('timeout', true),
      seen,
    })
  }

  create(lease: Lease, deadlineMs: number): Promise<Lease> {
    return this.write(lease, deadlineMs, () => this.parts.server.create(lease, this.parts.instance))
  }

  async rehearse(lease: Lease | null, deadlineMs: number): Promise<void> {
    const { server } = this.parts
    await this.request('reads', deadlineMs, this.take(), () => server.rehearse(lease))
  }

  async watch(from: string | undefined, handlers: WatchHandlers, deadlineMs: number): Promise<OpenWatch> {
    const { server, network } = this.parts
    const connection = this.take('watch')
    const stream = new WatchStream(this.parts, connection, handlers)
    await this.request('reads', deadlineMs, connection, () => {
      if (network.has(({ watchCut }) => watchCut)) return { error: 'network' }
      const refused = server.watch(from, stream)
      return refused === null ? { lease: null } : { error: refused }
    }).catch((error: unknown) => {
      stream.close()
      throw error
    })
    return stream
  }

  close(): void {
    this.closed = true
  }

  /** What a proxy or a webhook makes of an update. */
  private apply(lease: Lease): Reply {
    const { server, network, instance } = this.parts
    const present = server.lease
    if (present !== null && network.has(({ dropped }) => dropped === 'updates')) return server.read()
    const renewal = present?.spec?.acquireTime === lease.spec?.acquireTime
    if (!renewal || !network.has(({ dropped }) => dropped === 'renew times'))
      return server.update(lease, instance)
    const renewTime = present?.spec?.renewTime ?? null
    return server.update({ ...lease, spec: { ...lease.spec, renewTime } }, instance)
  }

  private write(lease: Lease, deadlineMs: number, handle: () => Reply): Promise<Lease> {
    this.parts.process.act(() => this.parts.sends(lease))
    return this.request('writes', deadlineMs, this.take(), handle) as Promise<Lease>
  }

  /** Over a new connection, as `KubeLeaseApi` does. */
  private readOnce(deadlineMs: number): Promise<Lease | null> {
    const { network, server } = this.parts
    return this.request('reads', deadlineMs, network.connect(), () => server.read())
  }

  /** The idle connection, or a new one. */
  private take(use: Connection['use'] = 'requests'): Connection {
    const connection = this.idle ?? this.parts.network.connect()
    this.idle = null
    connection.use = use
    return connection
  }

  /** After a reply. */
  private give(connection: Connection): void {
    connection.proven = true
    if (connection.use === 'watch') return
    if (this.idle !== null) this.parts.network.disconnect(this.idle)
    this.idle = connection
  }

  private request(
    kind: 'reads' | 'writes',
    deadlineMs: number,
    connection: Connection,
    handle: () => Reply,
  ): Promise<Lease | null> {
    const { process, network, server, random, shown } = this.parts
    const { timeline } = process.kernel
    return new Promise((resolve, reject) => {
      let open = true
      const fail = (code: ApiErrorCode, mayHaveCommitted: boolean) => {
        if (open && !this.closed) reject(failure(code, mayHaveCommitted))
        end(code === 'network' || code === 'timeout')
      }
      const end = (destroy: boolean) => {
        if (!open) return
        open = false
        deadline.cancel()
        if (destroy) network.disconnect(connection)
        else this.give(connection)
      }
      const deadline = process.after(deadlineMs, () => fail('timeout', true))
      const answer = (reply: Reply) =>
        process.deliver(() => {
          if (!open) return
          if ('error' in reply) return fail(reply.error, uncertain(reply.error))
          end(false)
          this.parts.knowledge.heard()
          if (kind === 'writes' && reply.lease !== null) shown(reply.lease)
          if (!this.closed) resolve(reply.lease)
        })
      const back = (reply: Reply) => {
        if (connection.dead || (kind === 'writes' && network.has(({ answersLost }) => answersLost))) return
        whenOpen(network, random, () => void timeline.in(network.latency(), () => answer(reply)))
      }
      const arrive = () =>
        server.receive(
          () => {
            const { error } = network
            if (error !== undefined && !(uncertain(error) && random.chance(0.5))) return back({ error })
            const reply = handle()
            if (error !== undefined) return back({ error })
            const lies = kind === 'writes' && network.has(({ lyingConflict }) => lyingConflict)
            back(lies ? { error: 'conflict' } : reply)
          },
          () => back({ error: 'network' }),
        )
      const send = () => {
        if (network.has(({ refused, newRefused }) => refused || (newRefused && !connection.proven))) {
          timeline.in(1, () => process.deliver(() => fail('network', false)))
        } else if (!connection.dead && !network.has(({ lost }) => lost === kind)) {
          const late = kind === 'writes' ? network.lateness() : 0
          whenOpen(network, random, () => void timeline.in(network.latency() + late, arrive))
        }
      }
      process.act(send)
    })
  }
}

function failure(code: ApiErrorCode, mayHaveCommitted: boolean): ApiError {
  // A server that is busy says for how long.
  const retryAfterMs = code === 'throttled' ? RETRY_AFTER_MS : undefined
  const status = code === 'timeout' || code === 'network' ? undefined : REFUSED
  return new ApiError(code, `the API server: ${code}`, { mayHaveCommitted, status, retryAfterMs })
}

/** Errors that leave open whether the write was applied. */
function uncertain(code: ApiErrorCode): boolean {
  return code === 'server' || code === 'network' || code === 'timeout'
}

/** Packets sent into a cut are lost for good, or are sent again and come through once the way is open. */
function whenOpen(network: Network, random: Random, go: () => void): void {
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
