import { connect, type Socket } from 'node:net'
import type { Clock, Timer } from '../clock.ts'
import { readJsonLines } from '../json-lines.ts'
import {
  type BootReading,
  MAX_LINE_BYTES,
  type ToAgent,
  type ToLauncher,
  writeLine,
} from './link-messages.ts'

const RECONNECT_MS = 50
const MAX_REASONS = 10
const CLOSE_WITHIN_MS = 1_000

export interface LinkClientHandlers {
  /** The hello to send on a new connection, without its token. */
  hello(): Omit<Extract<ToAgent, { type: 'hello' }>, 'token'>
  received(message: ToLauncher): void
  /** The link is down, or could not be made; told once for each of a few reasons until it is up again. */
  down(reason: string): void
}

/** The launcher's end of the link: connects again for as long as it lives, with the token it was given. */
export class LinkClient {
  private readonly path: string
  private readonly clock: Clock
  private readonly handlers: LinkClientHandlers
  private socket: Socket | null = null
  private token: string | undefined
  private welcomed = false
  private closed = false
  private readonly told = new Set<string>()
  private retry: Timer | null = null

  constructor(path: string, clock: Clock, handlers: LinkClientHandlers) {
    this.path = path
    this.clock = clock
    this.handlers = handlers
  }

  get connected(): boolean {
    return this.welcomed
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
        // An agent that forgot it; one that runs nothing may come as a new launcher.
        if (this.handlers.hello().view.state === 'idle') this.token = undefined
      }
      if (message.type === 'welcome') {
        this.token = message.token
        this.welcomed = true
        this.told.clear()
      }
      if (message.type === 'welcome' || this.welcomed) this.handlers.received(message)
    })
    socket.on('error', (error: NodeJS.ErrnoException) => {
      reason = describe(error, this.path)
    })
    socket.on('close', () => {
      this.welcomed = false
      if (this.closed) return
      // Reasons may alternate, twenty times a second, and any process that answers on the socket may make them up.
      if (!this.told.has(reason) && this.told.size < MAX_REASONS) {
        this.told.add(reason)
        this.handlers.down(reason)
      }
      this.retry = this.clock.after(RECONNECT_MS, () => this.start())
    })
  }

  send(message: ToAgent): void {
    if (this.welcomed && this.socket !== null) writeLine(this.socket, message)
  }

  /** Flushes what was sent, then ends: at once where the agent closes its side as well, otherwise after a second. */
  close(): void {
    this.closed = true
    // What still comes is not obeyed.
    this.welcomed = false
    this.retry?.cancel()
    const { socket } = this
    if (socket === null || socket.destroyed) return
    socket.end()
    const closeTimeout = this.clock.after(CLOSE_WITHIN_MS, () => socket.destroy())
    socket.once('close', () => closeTimeout.cancel())
  }
}

/** A launcher's boot clock, then its monotonic one: in this order, see `BootOffset`. */
export function readBoot(clock: Pick<Clock, 'now' | 'mono'>): BootReading {
  const { boot } = clock.now()
  return { boot, mono: clock.mono() }
}

function describe(error: NodeJS.ErrnoException, path: string): string {
  switch (error.code) {
    case 'ENOENT':
      return `there is no socket at ${path} yet: does the agent run, with the same --socket?`
    case 'ECONNREFUSED':
      return `no agent listens on ${path}`
    case 'EACCES':
      return `no permission to connect to ${path}: run both containers as one user, or share a group with fsGroup`
    default:
      return error.message
  }
}
