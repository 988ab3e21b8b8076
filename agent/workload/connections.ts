import { ESTABLISHED, readSockets } from './sockets.ts'

/**
 * How many TCP connections to the local port are open: what a drain waits for. Counts the server's end only, from
 * any address, idle keep-alive connections and the caller's own included. `null` where that cannot be known.
 */
export function countConnections(port: number): number | null {
  const sockets = readSockets()
  if (!sockets) return null
  const open = sockets.filter((socket) => socket.localPort === port && socket.state === ESTABLISHED)
  return new Set(open.map((socket) => socket.ends)).size
}
