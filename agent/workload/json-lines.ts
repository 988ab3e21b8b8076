import type { Socket } from 'node:net'
import { MAX_LINE_BYTES } from './messages.ts'

/**
 * Reads JSON lines from a socket; the socket is destroyed at a line that is too long or no JSON object, so a hostile
 * peer costs at most one line of memory.
 */
export function readLines<Message>(socket: Socket, received: (message: Message) => void): void {
  let rest = ''
  socket.setEncoding('utf8')
  socket.on('data', (chunk: string) => {
    const lines = (rest + chunk).split('\n')
    rest = lines.pop() as string
    if (rest.length > MAX_LINE_BYTES) socket.destroy()
    for (const line of lines) {
      if (socket.destroyed) return
      const message = line.length > MAX_LINE_BYTES ? undefined : parse(line)
      if (message === undefined) socket.destroy()
      else received(message as Message)
    }
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
