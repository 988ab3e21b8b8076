import { readdirSync, readlinkSync } from 'node:fs'
import { createServer } from 'node:net'
import { basename } from 'node:path'
import { isPid, readStat } from './proc.ts'
import { LISTEN, readSockets } from './sockets.ts'

export interface PortHolder {
  readonly pid: number
  readonly name: string
}

/**
 * Whether nothing listens on the TCP port, on any IPv4 or IPv6 address of this network namespace. Reads /proc/net,
 * so that it neither takes the port nor connects to it; tries to bind only where that is not readable.
 */
export async function isPortFree(port: number): Promise<boolean> {
  const inodes = listeners(port)
  if (inodes) return inodes.length === 0
  return (await canListen(port, '0.0.0.0')) && (await canListen(port, '::'))
}

/** One sentence for a taken port, naming who holds it where that can be seen. */
export function describeTaken(port: number): string {
  const holder = findHolder(port)
  const who = holder ? `"${holder.name}" (pid ${holder.pid})` : 'a process that cannot be seen from here'
  return `port ${port} is already taken by ${who}`
}

/** A process that listens on the port; `undefined` where it is another user's, or in another PID namespace. */
export function findHolder(port: number): PortHolder | undefined {
  const wanted = new Set(listeners(port)?.map((inode) => `socket:[${inode}]`))
  if (wanted.size === 0) return undefined
  for (const pid of readdirSync('/proc').filter(isPid)) {
    if (!openFiles(pid).some((file) => wanted.has(file))) continue
    // The program's name; a process may call its main thread anything.
    const name = basename(linkOf(`/proc/${pid}/exe`)) || readStat(Number(pid))?.comm
    if (name !== undefined) return { pid: Number(pid), name }
  }
  return undefined
}

function listeners(port: number): string[] | undefined {
  return readSockets()
    ?.filter((socket) => socket.localPort === port && socket.state === LISTEN)
    .map((socket) => socket.inode)
}

function openFiles(pid: string): string[] {
  try {
    return readdirSync(`/proc/${pid}/fd`).map((fd) => linkOf(`/proc/${pid}/fd/${fd}`))
  } catch {
    return []
  }
}

function linkOf(path: string): string {
  try {
    return readlinkSync(path)
  } catch {
    return ''
  }
}

/** Only EADDRINUSE is about the port; other errors are about us, e.g. no IPv6 here, or a port below 1024. */
export function canListen(port: number, host: string): Promise<boolean> {
  return new Promise((resolve) => {
    const server = createServer()
    server.once('error', (error: NodeJS.ErrnoException) => resolve(error.code !== 'EADDRINUSE'))
    server.listen({ port, host, exclusive: true, ipv6Only: host.includes(':') }, () =>
      server.close(() => resolve(true)),
    )
  })
}
