import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import type { AddressInfo, Server } from 'node:net'
import { formatListen, type Listen } from '../config/values.ts'
import { reasonOf } from '../errno.ts'
import { FatalError } from '../exit.ts'

/** The largest queue of unaccepted connections that the kernel allows. A client without room tries again a second later. */
const BACKLOG = 4096

/**
 * Without a host, listens on every address, IPv4 and IPv6, or only on IPv4 if the machine has no IPv6. Rejects with a
 * `FatalError` that names the flag if the address is not available.
 */
export async function listenOn(server: Server, where: Listen, flag: string): Promise<AddressInfo> {
  const { host, port } = where
  try {
    await once(server.listen({ ...(host !== null && { host }), port, backlog: BACKLOG }), 'listening')
  } catch (error) {
    const reason = `cannot listen on ${formatListen(where)}: ${reasonOf(error)}`
    throw new FatalError(`${reason}; choose another address with ${flag}`, { cause: error })
  }
  return server.address() as AddressInfo
}

/** Whether no process listens on it in this network namespace. If /proc/net is not readable, it counts as taken. */
export function isPortFree(port: number): boolean {
  return listeners(port)?.length === 0
}

/** For a drain. Only the server's end counts. Idle connections and the caller's own count as well. `null`: unknown. */
export function openConnections(port: number): number | null {
  const open = readSockets(port)?.filter((socket) => socket.state === ESTABLISHED)
  return open === undefined ? null : new Set(open.map((socket) => socket.ends)).size
}

/** The inodes of the sockets that listen on the port. `undefined` if /proc/net is not readable. */
export function listeners(port: number): string[] | undefined {
  return readSockets(port)
    ?.filter((socket) => socket.state === LISTEN)
    .map((socket) => socket.inode)
}

interface Socket {
  /** Local and remote address: they name a connection, whose inode is 0 until the server accepts it. */
  readonly ends: string
  readonly state: string
  readonly inode: string
}

const ESTABLISHED = '01'
const LISTEN = '0A'

/**
 * The TCP sockets of this network namespace with this local port (proc_net(5)), in a pod those of all containers. The
 * kernel may list a socket twice while others change. `undefined` if /proc/net is not readable.
 */
function readSockets(port: number): Socket[] | undefined {
  try {
    // Not as latin1, for which Node takes 64 KiB for each of the kernel's pieces of 4 KiB.
    return [...parseSockets(readFileSync('/proc/net/tcp', 'utf8'), port), ...parseSockets(readTcp6(), port)]
  } catch {
    return undefined
  }
}

/** Parses only the port's lines: a busy pod has thousands of closed connections (TIME_WAIT). A drain takes 2 MB, not 40. */
export function parseSockets(text: string, port: number): Socket[] {
  const local = port.toString(16).toUpperCase().padStart(4, '0')
  const lines = text.matchAll(new RegExp(`^ *\\d+: \\w+:${local} .*`, 'gm'))
  return Array.from(lines, ([line]) => {
    const [, local, remote, state, , , , , , inode] = line.trim().split(/\s+/, 10) as string[]
    return { ends: `${local} ${remote}`, state: state!, inode: inode! }
  })
}

function readTcp6(): string {
  try {
    return readFileSync('/proc/net/tcp6', 'utf8')
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return '' // a kernel without IPv6
    throw error
  }
}
