import type { Socket } from 'node:net'

const resetting = new WeakSet<Socket>()

/**
 * Closes a connection with a RST. If a FIN is still on its way, the connection is only closed: libuv would refuse the reset, but
 * Node would count the socket as closing, and the process would spin at its end instead of exiting.
 */
export function reset(socket: Socket): void {
  if (resetting.has(socket)) return
  resetting.add(socket)
  if (socket.writableEnded && !socket.writableFinished) socket.destroy()
  else socket.resetAndDestroy()
}
