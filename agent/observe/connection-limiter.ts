import type { Server as HttpServer } from 'node:http'
import { type AddressInfo, createServer, type Socket } from 'node:net'
import { duplexPair } from 'node:stream'
import type { Clock } from '../clock.ts'
import type { Listen } from '../config/values.ts'
import { listenOn } from '../processes/port.ts'

/** Limit for a request up to the empty line that ends it. The HTTP server has a lower limit, and refuses a longer request. */
const MAX_HEAD_BYTES = 16 * 1024
const END_OF_HEAD = '\r\n\r\n'
/** Limit for connections whose request is not complete, and the same limit for all others. */
const MAX_OF_EACH = 256
/** Time from the connection to the end of the answer. */
const WITHIN_MS = 5_000
/** The Lease is renewed between two turns of the event loop, so each turn has to be short. */
const REQUESTS_A_TURN = 4

/**
 * Precedes an HTTP server that shares its event loop with the election, so that no client costs the election its turn.
 * A connection is for one request. Further requests on it are never parsed: a client may send thousands in one packet,
 * and the parser would answer all of them in one turn. A few requests pass in each turn of the loop, in the order in
 * which they were complete. If there are too many connections, the oldest ends. Connections without a request never
 * displace one with a request.
 */
export class ConnectionLimiter {
  private readonly http: HttpServer
  private readonly clock: Clock
  private readonly server = createServer((socket) => this.arrive(socket))
  private readonly asking = new Set<Socket>()
  private readonly asked = new Set<Socket>()
  private readonly waiting: { readonly socket: Socket; readonly head: Buffer }[] = []

  /** @param http answers the admitted requests, one for each connection, and does not listen itself */
  constructor(http: HttpServer, clock: Clock) {
    this.http = http
    this.clock = clock
    http.prependListener('request', (_, response) => {
      response.shouldKeepAlive = false
    })
  }

  async listen(where: Listen): Promise<AddressInfo> {
    const bound = await listenOn(this.server, where, '--listen')
    // An error, such as a lack of file descriptors for a connection, ends nothing: other connections may be accepted.
    this.server.on('error', () => {})
    return bound
  }

  /** Resolves when nothing listens and no connection is open. Never waits for a client. */
  async close(): Promise<void> {
    const closed = new Promise((resolve) => this.server.close(resolve))
    for (const socket of [...this.asking, ...this.asked]) socket.destroy()
    await closed
  }

  private arrive(socket: Socket): void {
    addTo(this.asking, socket)
    const timer = this.clock.after(WITHIN_MS, () => socket.destroy())
    let head: Buffer = Buffer.alloc(0)
    const onData = (chunk: Buffer) => {
      // Copied, because the chunk may be a small part of a buffer of 64 KiB.
      head = Buffer.concat([head, chunk.subarray(0, MAX_HEAD_BYTES - head.length)])
      const end = head.indexOf(END_OF_HEAD)
      if (end < 0 && head.length < MAX_HEAD_BYTES) return
      this.asking.delete(socket)
      addTo(this.asked, socket)
      socket.off('data', onData).pause()
      this.waiting.push({ socket, head: end < 0 ? head : head.subarray(0, end + END_OF_HEAD.length) })
      if (this.waiting.length === 1) setImmediate(() => this.turn())
    }
    socket.on('data', onData)
    socket.on('error', () => {}) // 'close' follows
    socket.once('close', () => {
      timer.cancel()
      this.asking.delete(socket)
      this.asked.delete(socket)
    })
  }

  private turn(): void {
    for (const { socket, head } of this.waiting.splice(0, REQUESTS_A_TURN))
      if (!socket.destroyed) this.answer(socket, head)
    if (this.waiting.length > 0) setImmediate(() => this.turn())
  }

  private answer(socket: Socket, head: Buffer): void {
    const [connection, client] = duplexPair()
    this.http.emit('connection', connection)
    client.write(head)
    client.pipe(socket)
    // A client that has sent more than its request is reset, and may lose its answer.
    client.once('end', () => socket.destroySoon())
    socket.once('close', () => connection.destroy())
  }
}

function addTo(crowd: Set<Socket>, socket: Socket): void {
  const [oldest] = crowd
  if (oldest !== undefined && crowd.size >= MAX_OF_EACH) {
    // Removed immediately: more connections may arrive before this one is closed.
    crowd.delete(oldest)
    oldest.destroy()
  }
  crowd.add(socket)
}
