import { createSocket, type Socket } from 'node:dgram'
import { once } from 'node:events'
import type { Beat } from '../harness/judge.ts'

/** Hears from every stand-in of an installation that it executes, whatever becomes of its pod. */
export class Collector {
  readonly beats: Beat[] = []
  readonly #socket: Socket

  private constructor(socket: Socket) {
    this.#socket = socket
    socket.on('message', (message) => this.beats.push(JSON.parse(message.toString()) as Beat))
  }

  static async open(): Promise<Collector> {
    const socket = createSocket({ type: 'udp4', recvBufferSize: 2 ** 20 })
    socket.bind(0)
    await once(socket, 'listening')
    return new Collector(socket)
  }

  get port(): number {
    return this.#socket.address().port
  }

  close(): void {
    this.#socket.close()
  }
}
