import type { Socket } from 'node:net'
import { MAX_LINE_BYTES } from './messages.ts'

const TOO_LONG = `a line of more than ${MAX_LINE_BYTES / 1024} KiB`

/**
 * Reads JSON lines from a socket; the socket is destroyed at a line that is too long or no JSON object, so a hostile
 * peer costs at most one line of memory. `broken` is told why.
 */
export function readLines<Message>(
  socket: Socket,
  received: (message: Message) => void,
  broken: (reason: string) => void = () => {},
): void {
  let rest = ''
  const end = (reason: string) => {
    socket.destroy()
    broken(reason)
  }
  socket.setEncoding('utf8')
  socket.on('data', (chunk: string) => {
    const lines = (rest + chunk).split('\n')
    rest = lines.pop() as string
    for (const line of lines) {
      if (socket.destroyed) return
      if (line.length > MAX_LINE_BYTES) return end(TOO_LONG)
      const message = parse(line)
      if (message === undefined) return end('a line that is no message')
      received(message as Message)
    }
    if (rest.length > MAX_LINE_BYTES && !socket.destroyed) end(TOO_LONG)
  })
}

/** Writes one line. Returns false where the peer is gone or does not read what it is sent. */
export function writeLine(socket: Socket, message: object): boolean {
  if (socket.destroyed || !socket.writable) return false
  if (socket.writableLength > MAX_LINE_BYTES) {
    socket.destroy()
    return false
  }
  socket.write(`${JSON.stringify(message)}\n`)
  return true
}

function parse(line: string): object | undefined {
  try {
    const value: unknown = JSON.parse(line)
    return typeof value === 'object' && value !== null && 'type' in value ? value : undefined
  } catch {
    return undefined
  }
}
