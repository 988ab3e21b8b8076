import { connect, type Socket } from 'node:net'
import type { Clock, Timer } from '../clock.ts'
import { reasonOf } from '../errno.ts'
import { readJsonLines } from '../json-lines.ts'
import type { BootReading, ToAgent, ToLauncher } from './link-messages.ts'
import { MAX_LINE_BYTES, writeLine } from './link-messages.ts'

const REMEDIES = {
  ENOENT: 'there is no socket yet: check that the agent runs with the same --socket',
  EACCES: 'no permission: run both containers as one user, or share a group with fsGroup',
}
const RECONNECT_MS = 50
const CLOSE_WITHIN_MS = 1_000

export interface LinkClientHandlers {
  /** The hello for a new connection, without its token. */
  hello(): Omit<Extract<ToAgent, { type: 'hello' }>, 'token'>
  received(message: ToLauncher): void
  /** The link is down, or could not be opened, up to twenty times a second. Any process on the socket may invent the reason. */
  down(reason: string): void
}

/** Reconnects during the launcher's whole life, with the token that it received. */
export class LinkClient {
  private readonly path: string
  private readonly clock: Clock
  private readonly handlers: LinkClientHandlers
  connected = false
  private socket: Socket | null = null
  private token: string | undefined
  private closed = false
  private retry: Timer | null = null

  constructor(path: string, clock: Clock, handlers: LinkClientHandlers) {
    this.path = path
    this.clock = clock
    this.handlers = handlers
  }

  start(): void {
    const socket = connect(this.path)
    this.socket = socket
    let reason = 'the agent closed the connection'
    socket.on('connect', () => {
      const hello = this.handlers.hello()
      writeLine(socket, this.token === undefined ? hello : { ...hello, token: this.token })
    })
    readJsonLines<ToLauncher>(socket, MAX_LINE_BYTES, (message) => {
      if (this.closed) return
      if (message.type === 'refused') {
        reason = message.reason
        // The agent may have lost the token. A launcher that runs nothing may connect as a new one.
        if (this.handlers.hello().view.state === 'idle') this.token = undefined
      }
      if (message.type === 'welcome') {
        this.token = message.token
        this.connected = true
      }
      if (this.connected) this.handlers.received(message)
    })
    socket.on('error', (error: NodeJS.ErrnoException) => {
      reason = `cannot connect to ${this.path}: ${reasonOf(error, REMEDIES)}`
    })
    socket.on('close', () => {
      this.connected = false
      if (this.closed) return
      this.handlers.down(reason)
      this.retry = this.clock.after(RECONNECT_MS, () => this.start())
    })
  }

  send(message: ToAgent): void {
    if (this.connected && this.socket !== null) writeLine(this.socket, message)
  }

  /** Sends the queued messages, then ends: immediately if the agent closes its side as well, or after a second. */
  close(): void {
    this.closed = true
    this.connected = false
    this.retry?.cancel()
    const { socket } = this
    if (socket === null || socket.destroyed) return
    socket.end()
    const closeTimeout = this.clock.after(CLOSE_WITHIN_MS, () => socket.destroy())
    socket.once('close', () => closeTimeout.cancel())
  }
}

/** Reads a launcher's boot clock, then its monotonic one. The order matters: see `BootOffset`. */
export function readBoot(clock: Pick<Clock, 'now' | 'mono'>): BootReading {
  const { boot } = clock.now()
  return { boot, mono: clock.mono() }
}
