import { addressOf, ESTABLISHED, readSockets } from '../processes/port.ts'

/**
 * From where TCP connections to the local port are open: what a drain waits for, an address for each. Only the server's end
 * counts, from any address, idle keep-alive connections and the caller's own included. `null` where that cannot be known.
 */
export function openConnections(port: number): string[] | null {
  const sockets = readSockets()
  if (!sockets) return null
  const open = sockets.filter((socket) => socket.localPort === port && socket.state === ESTABLISHED)
  return [...new Set(open.map((socket) => socket.ends))].map((ends) => addressOf(ends.split(' ')[1] ?? ''))
}

/** How many addresses are named. */
const NAMED = 3

/** For people: `3 connections from 10.1.2.3 (2), 10.1.2.4`, those with the most first. */
export function describeConnections(open: readonly string[] | null): string {
  if (open === null) return 'what is open cannot be told'
  const byAddress = [...Map.groupBy(open, (address) => address)]
    .map(([address, { length }]) => ({ address, length }))
    .sort((a, b) => b.length - a.length || (a.address < b.address ? -1 : 1))
  const named = byAddress
    .slice(0, NAMED)
    .map(({ address, length }) => (length === 1 ? address : `${address} (${length})`))
  const others = byAddress.length - named.length
  const from = `${named.join(', ')}${others > 0 ? ` and ${others} other address${others === 1 ? '' : 'es'}` : ''}`
  return `${open.length} connection${open.length === 1 ? '' : 's'} from ${from}`
}
