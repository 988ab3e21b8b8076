import { readFileSync } from 'node:fs'
import { SocketAddress } from 'node:net'
import { endianness } from 'node:os'

/** One TCP socket of this network namespace. */
export interface Socket {
  readonly localPort: number
  /** Local and remote address: they name a connection, whose inode is 0 until the server accepts it. */
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

/** The IP address in one of the `ends` of a socket, e.g. `0100007F:1F90`: words of 4 bytes, each as the machine stores it. */
export function addressOf(end: string): string {
  const words = end.slice(0, end.lastIndexOf(':')).match(/.{8}/g) ?? []
  const bytes = words.flatMap((word) => {
    const stored = [...Buffer.from(word, 'hex')]
    return endianness() === 'LE' ? stored.reverse() : stored
  })
  const ipv4 = bytes.slice(-4).join('.')
  if (bytes.length <= 4) return ipv4
  const isMapped = bytes.slice(0, 10).every((byte) => byte === 0) && bytes[10] === 255 && bytes[11] === 255
  if (isMapped) return ipv4
  const address = Buffer.from(bytes).toString('hex').match(/.{4}/g)?.join(':') ?? ''
  return new SocketAddress({ address, family: 'ipv6' }).address
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
