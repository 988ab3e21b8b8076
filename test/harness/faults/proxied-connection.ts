import type { Socket } from 'node:net'
import { performance } from 'node:perf_hooks'
import { reset } from '../../support/reset.ts'

export type Flow = 'pass' | 'hold' | { readonly delayMs: number }

/** What may wait in one direction; beyond it the sender is no longer read from, and feels a full window. */
export const HELD_BYTES = 16 * 2 ** 20

type Item = Buffer | 'end' | 'reset'

/** One direction of a connection: a queue, so that whatever happens to the flow, nothing overtakes. */
class Direction {
  readonly #from: Socket
  readonly #to: Socket
  readonly #flow: () => Flow
  readonly #queue: { readonly item: Item; readonly arrival: number }[] = []
  #bytes = 0
  #blocked = false
  #timer: NodeJS.Timeout | undefined

  constructor(from: Socket, to: Socket, flow: () => Flow) {
    this.#from = from
    this.#to = to
    this.#flow = flow
    from.on('data', (data) => this.#push(data as Buffer))
    from.on('end', () => this.#push('end'))
    from.on('error', () => this.#push('reset'))
    to.on('drain', () => {
      this.#blocked = false
      this.pump()
    })
    to.on('close', () => {
      this.#blocked = false
      this.pump()
    })
  }

  /** Hands on what may be handed on by now; nothing can be to an end that is gone, and it is dropped. */
  pump(): void {
    clearTimeout(this.#timer)
    for (let head = this.#queue[0]; head !== undefined && !this.#blocked; head = this.#queue[0]) {
      const wait = this.#to.destroyed ? 0 : this.#waitOf(head.arrival)
      if (wait > 0) {
        if (wait < Number.POSITIVE_INFINITY) this.#timer = setTimeout(() => this.pump(), Math.ceil(wait))
        return
      }
      this.#queue.shift()
      this.#deliver(head.item)
    }
  }

  /** Milliseconds until what arrived at that time may be handed on. */
  #waitOf(arrival: number): number {
    const flow = this.#flow()
    if (flow === 'pass') return 0
    return flow === 'hold' ? Number.POSITIVE_INFINITY : arrival + flow.delayMs - performance.now()
  }

  #push(item: Item): void {
    this.#queue.push({ item, arrival: performance.now() })
    if (typeof item !== 'string') this.#bytes += item.length
    if (this.#bytes >= HELD_BYTES) this.#from.pause()
    this.pump()
  }

  #deliver(item: Item): void {
    const gone = this.#to.destroyed
    if (item === 'reset') {
      if (!gone) reset(this.#to)
    } else if (item === 'end') {
      if (!gone) this.#to.end()
    } else {
      this.#bytes -= item.length
      if (this.#bytes < HELD_BYTES) this.#from.resume()
      if (!gone) this.#blocked = !this.#to.write(item)
    }
  }
}

/** A client's connection and the one that stands for it at the server. */
export class ProxiedConnection {
  /** Both ends are closed. */
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

  /** Nothing passes any more, for good; the server's end goes with the client's. */
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
