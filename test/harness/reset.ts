import type { Socket } from 'node:net'

const resetting = new WeakSet<Socket>()

/**
 * Closes a connection with a RST. Node must not be asked to while a FIN is on its way: libuv refuses, Node counts the socket as
 * closing all the same, and the process then spins at its end instead of exiting. Such a connection is only closed.
 */
export function reset(socket: Socket): void {
  if (resetting.has(socket)) return
  resetting.add(socket)
  if (socket.writableEnded && !socket.writableFinished) socket.destroy()
  else socket.resetAndDestroy()
}
