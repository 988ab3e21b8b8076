import type { Server } from 'node:http'
import type { Socket } from 'node:net'
import type { Clock } from '../clock.ts'

/** Limit for connections whose request is not complete, and the same limit for all others. */
const MAX_OF_EACH = 256
/** Time from the connection to the end of the answer. */
const WITHIN_MS = 5_000

/**
 * For an HTTP server that shares its event loop with the election. A connection is for one request and one answer: a
 * client may send thousands of requests in one packet. If there are too many connections, the oldest ends. Connections
 * without a request never displace one with a request. Returns a function that ends all of them.
 */
export function limitConnections(server: Server, clock: Clock): () => void {
  const asking = new Set<Socket>()
  const asked = new Set<Socket>()
  server.on('connection', (socket) => {
    addTo(asking, socket)
    const timer = clock.after(WITHIN_MS, () => socket.destroy())
    socket.once('close', () => {
      timer.cancel()
      asking.delete(socket)
      asked.delete(socket)
    })
  })
  server.prependListener('request', ({ socket, headers }, response) => {
    response.shouldKeepAlive = false
    asking.delete(socket)
    addTo(asked, socket)
    stopParser(socket)
    // Reading what two hundred clients send after their requests would take most of each turn of the event loop.
    if (!('content-length' in headers || 'transfer-encoding' in headers))
      process.nextTick(() => socket.pause())
  })
  return () => {
    for (const socket of [...asking, ...asked]) socket.destroy()
  }
}

/** The parser of the connection creates no more requests, as after an upgrade. Node offers no public way. */
export function stopParser(socket: Socket): void {
  const { parser } = socket as Socket & { parser?: { onIncoming: () => number } | null }
  if (parser) parser.onIncoming = () => 2
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
