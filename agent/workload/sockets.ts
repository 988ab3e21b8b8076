import { readFileSync } from 'node:fs'

/** One TCP socket of this network namespace. */
export interface Socket {
  readonly localPort: number
  /** Both addresses: they name a connection, whose inode is 0 until the server accepts it. */
  readonly ends: string
  /** As in /proc/net/tcp: 01 ESTABLISHED, 0A LISTEN. */
  readonly state: string
  readonly inode: string
}

export const ESTABLISHED = '01'
export const LISTEN = '0A'

/**
 * Every TCP socket of this network namespace, IPv4 and IPv6 (proc_net(5)); in a pod that is all containers'.
 * The kernel may list one twice while others come and go. `undefined` where /proc/net is not readable.
 */
export function readSockets(): Socket[] | undefined {
  try {
    return [...parseSockets(readFileSync('/proc/net/tcp', 'latin1')), ...parseSockets(readTcp6())]
  } catch {
    return undefined
  }
}

/** Parses /proc/net/tcp or tcp6: a heading, then one socket a line, addresses and ports in hexadecimal. */
export function parseSockets(text: string): Socket[] {
  const sockets: Socket[] = []
  for (const line of text.split('\n').slice(1)) {
    const fields = line.trim().split(/\s+/, 10)
    if (fields.length < 10) continue
    const port = fields[1]!.slice(fields[1]!.lastIndexOf(':') + 1)
    sockets.push({
      localPort: Number.parseInt(port, 16),
      ends: `${fields[1]} ${fields[2]}`,
      state: fields[3]!,
      inode: fields[9]!,
    })
  }
  return sockets
}

/** Absent on a kernel without IPv6. */
function readTcp6(): string {
  try {
    return readFileSync('/proc/net/tcp6', 'latin1')
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return ''
    throw error
  }
}
