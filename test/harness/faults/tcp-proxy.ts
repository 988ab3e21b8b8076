import { once } from 'node:events'
import { connect, createServer, type Server, type Socket } from 'node:net'
import { performance } from 'node:perf_hooks'
import { reset } from '../reset.ts'

/**
 * The network between one replica and the API server, on loopback. It can hold, delay, lose, cut and refuse traffic, but it never
 * reorders or changes a byte.
 */
export class TcpProxy {
  readonly port: number
  readonly #target: number
  readonly #connections = new Set<ProxiedConnection>()
  /** A server for the placeholder's connection, which keeps the port reserved while the proxy doesn't listen. */
  readonly #anchor: Server
  readonly #flow: { toServer: Flow; toClient: Flow } = { toServer: 'pass', toClient: 'pass' }
  #server: Server | undefined
  #stranded = 0
  #placeholder: Socket | undefined

  private constructor(target: number, anchor: Server, server: Server) {
    this.#target = target
    this.#anchor = anchor
    this.#server = server.on('connection', (client) => this.#accept(client))
    this.port = portOf(server)
  }

  /** Opens a proxy to `port` on 127.0.0.1. The target may start later: until it listens, connections are reset. */
  static async open(port: number): Promise<TcpProxy> {
    const anchor = createServer((socket) => socket.on('error', () => {}).resume())
    return new TcpProxy(port, await listening(anchor, 0), await listening(createProxyServer(), 0))
  }

  /**
   * Sets the flow of each direction, for present and later connections. A direction that isn't named keeps its flow. `hold`:
   * bytes are kept, and delivered in order once the direction passes again, as TCP retransmits after a partition. A delay counts
   * from the arrival of a byte here. The end or reset of a connection is delivered after the bytes before it.
   */
  flow(directions: { toServer?: Flow; toClient?: Flow }): void {
    Object.assign(this.#flow, directions)
    for (const connection of this.#connections) connection.flowChanged()
  }

  /** Black hole: holds both directions. New connections are accepted, as the kernel does, but get no answer. */
  partition(): void {
    this.flow({ toServer: 'hold', toClient: 'hold' })
  }

  /**
   * Behaves as if the server behind the present connections, and behind the `next` new ones, lost its power: nothing passes over
   * these connections, not even their end, until the client closes them. Connections after those reach another server.
   */
  strand(next = 0): void {
    this.#stranded = next
    for (const connection of this.#connections) connection.strand()
  }

  async refuse(): Promise<void> {
    if (this.#server === undefined) return
    this.#server.close()
    this.#server = undefined
    // An unbound port could be taken by any other process of the machine.
    this.#placeholder = connect({
      port: portOf(this.#anchor),
      host: '127.0.0.1',
      localPort: this.port,
      localAddress: '127.0.0.1',
    })
    this.reset()
    await once(this.#placeholder, 'connect')
  }

  async heal(): Promise<void> {
    this.flow({ toServer: 'pass', toClient: 'pass' })
    if (this.#server !== undefined) return
    const server = createProxyServer().on('connection', (client) => this.#accept(client))
    this.#server = server
    await listening(server, this.port)
    // A reset, because a normal end would leave the pair of ports in TIME_WAIT.
    this.#placeholder?.resetAndDestroy()
  }

  reset(): void {
    for (const connection of this.#connections) connection.reset()
  }

  truncate(): void {
    for (const connection of this.#connections) connection.truncate()
  }

  async close(): Promise<void> {
    const closed = [this.#server, this.#anchor]
      .filter((server) => server !== undefined)
      .map((server) => new Promise((resolve) => server.close(resolve)))
    this.#server = undefined
    this.#placeholder?.resetAndDestroy()
    this.reset()
    await Promise.all(closed)
  }

  #accept(client: Socket): void {
    const server = connect({ port: this.#target, host: '127.0.0.1', allowHalfOpen: true, noDelay: true })
    const connection = new ProxiedConnection(client, server, this.#flow)
    this.#connections.add(connection)
    if (this.#stranded-- > 0) connection.strand()
    else this.#stranded = 0
    void connection.closed.then(() => this.#connections.delete(connection))
  }
}

function createProxyServer(): Server {
  return createServer({ allowHalfOpen: true, noDelay: true })
}

async function listening(server: Server, port: number): Promise<Server> {
  server.listen(port, '127.0.0.1')
  await once(server, 'listening')
  return server
}

function portOf(server: Server): number {
  return (server.address() as { port: number }).port
}

type Flow = 'pass' | 'hold' | { readonly delayMs: number }

type Item = Buffer | 'end' | 'reset'

/** One direction of a connection. Its queue keeps the order even if the flow changes. */
class Direction {
  readonly #to: Socket
  readonly #flow: () => Flow
  readonly #queue: { readonly item: Item; readonly arrival: number }[] = []
  #timer: NodeJS.Timeout | undefined

  constructor(from: Socket, to: Socket, flow: () => Flow) {
    this.#to = to
    this.#flow = flow
    from.on('data', (data) => this.#push(data as Buffer))
    from.on('end', () => this.#push('end'))
    from.on('error', () => this.#push('reset'))
    to.on('close', () => this.pump())
  }

  pump(): void {
    clearTimeout(this.#timer)
    for (let head = this.#queue[0]; head !== undefined; head = this.#queue[0]) {
      const wait = this.#to.destroyed ? 0 : this.#waitOf(head.arrival)
      if (wait > 0) {
        if (wait < Number.POSITIVE_INFINITY) this.#timer = setTimeout(() => this.pump(), Math.ceil(wait))
        return
      }
      this.#queue.shift()
      if (!this.#to.destroyed) this.#deliver(head.item)
    }
  }

  /** Milliseconds until an item with this arrival time is due. */
  #waitOf(arrival: number): number {
    const flow = this.#flow()
    if (flow === 'pass') return 0
    return flow === 'hold' ? Number.POSITIVE_INFINITY : arrival + flow.delayMs - performance.now()
  }

  #push(item: Item): void {
    this.#queue.push({ item, arrival: performance.now() })
    this.pump()
  }

  #deliver(item: Item): void {
    if (item === 'reset') reset(this.#to)
    else if (item === 'end') this.#to.end()
    else this.#to.write(item)
  }
}

class ProxiedConnection {
  readonly closed: Promise<unknown>
  readonly #client: Socket
  readonly #server: Socket
  readonly #directions: readonly Direction[]
  #stranded = false

  constructor(client: Socket, server: Socket, flow: { readonly toServer: Flow; readonly toClient: Flow }) {
    this.#client = client
    this.#server = server
    this.#directions = [
      new Direction(client, server, () => (this.#stranded ? 'hold' : flow.toServer)),
      new Direction(server, client, () => (this.#stranded ? 'hold' : flow.toClient)),
    ]
    this.closed = Promise.all(
      [client, server].map((end) => new Promise((resolve) => end.once('close', resolve))),
    )
  }

  flowChanged(): void {
    for (const direction of this.#directions) direction.pump()
  }

  strand(): void {
    this.#stranded = true
    this.#client.once('end', () => this.reset()).once('close', () => this.reset())
  }

  reset(): void {
    reset(this.#client)
    reset(this.#server)
  }

  truncate(): void {
    this.#server.destroy()
    this.#client.end(() => this.#client.destroy())
  }
}
