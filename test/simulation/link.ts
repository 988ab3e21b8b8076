import type { LinkClientHandlers } from '../../agent/link/client.ts'
import type { BootReading, ToAgent, ToLauncher } from '../../agent/link/messages.ts'
import { BootOffset, type Hello, type LinkHandlers } from '../../agent/link/server.ts'
import type { LauncherLink } from '../../agent/supervisor/supervisor.ts'
import type { Process } from './process.ts'
import type { Random } from './random.ts'

interface Connection {
  readonly launcher: Process
  readonly received: (message: ToLauncher) => void
  readonly closed: (reason: string) => void
  open: boolean
  /** Real time of the last message each way: nothing overtakes. */
  lastUp: number
  lastDown: number
}

const RECONNECT_MS = 50
/** How often the agent looks whether its socket is still there. */
const LOOK_MS = 1_000
const CLOCK_TOLERANCE_MS = 5_000
/** For how long after a launcher's end what it ran is kept from posing as the next one. */
const ENDING_MS = 500

/** The socket of one replica: it is there while an agent listens on it. */
export class Socket {
  readonly random: Random
  /** Each message takes up to this much longer. */
  slowMs = 0
  /** Grants are delivered a second time, this much later at most: behind newer ones. */
  repeatMs = 0
  agent: AgentEnd | null = null
  /** Somebody deleted its file; connections that exist go on. */
  removed = false
  /** What the agent's private directory keeps: to which launcher its token was given. */
  admitted: Process | null = null

  constructor(random: Random) {
    this.random = random
  }
}

type Welcome = Omit<Extract<ToLauncher, { type: 'welcome' }>, 'type' | 'token' | 'tree' | 'port'>

/** The agent's end: it lets in one launcher by the rules of `LinkServer` and `LauncherKeys`. */
export class AgentEnd implements LauncherLink {
  private readonly socket: Socket
  private readonly process: Process
  private readonly handlers: LinkHandlers
  private readonly welcome: Welcome
  /** Until then, in monotonic ms, nobody but the launcher that was let in last may connect. */
  private closedUntil: number
  private launcher: Connection | null = null
  private readonly connections = new Set<Connection>()
  private readonly bootOffset = new BootOffset()

  constructor(
    socket: Socket,
    process: Process,
    grantLifeMs: number,
    handlers: LinkHandlers,
    welcome: Welcome,
  ) {
    this.socket = socket
    this.process = process
    this.handlers = handlers
    this.welcome = welcome
    this.closedUntil = socket.admitted === null ? 0 : process.mono() + grantLifeMs
    process.onDeath(() => this.close())
  }

  get connected(): boolean {
    return this.launcher !== null
  }

  async listen(): Promise<void> {
    this.socket.agent = this
    this.look()
  }

  private look(): void {
    this.socket.removed = false
    this.process.after(LOOK_MS, () => this.look())
  }

  send(message: ToLauncher): void {
    const { launcher, process, socket } = this
    if (launcher === null) return
    const isGrant = message.type === 'grant'
    const said = isGrant ? { ...message, grant: this.bootOffset.translate(message.grant) } : message
    process.act(() => {
      this.down(launcher, () => launcher.received(said))
      if (!isGrant || socket.repeatMs === 0) return
      const again = socket.random.between(0, socket.repeatMs)
      process.kernel.timeline.in(again, () => hand(launcher, () => launcher.received(said)))
    })
  }

  close(): void {
    if (this.socket.agent === this) this.socket.agent = null
    this.launcher = null
    for (const connection of [...this.connections]) this.drop(connection, 'the agent closed the connection')
  }

  /** A launcher connects; this much is done by the kernel, whatever the agent does. */
  accept(connection: Connection, hello: Hello): void {
    this.connections.add(connection)
    connection.launcher.onDeath(() => this.hangUp(connection))
    this.up(connection, () => this.greet(connection, hello))
  }

  receive(connection: Connection, message: ToAgent): void {
    this.up(connection, () => {
      if (this.launcher !== connection || message.type === 'hello') return
      if (message.type === 'pong') this.compare(message.clocks)
      this.handlers.received(message)
    })
  }

  private greet(connection: Connection, hello: Hello): void {
    const returning = this.socket.admitted === connection.launcher
    const refused = this.refusal(hello, returning)
    if (refused !== null) {
      this.drop(connection, refused)
      return
    }
    this.socket.admitted = connection.launcher
    this.bootOffset.forget()
    this.compare(hello.clocks)
    const previous = this.launcher
    this.launcher = connection
    if (previous !== null) this.drop(previous, 'another connection took its place')
    const known = { token: 'token', tree: 'tree', port: 7860 }
    this.down(connection, () => connection.received({ type: 'welcome', ...known, ...this.welcome }))
    this.handlers.connected(hello, returning)
  }

  private refusal(hello: Hello, returning: boolean): string | null {
    if (Math.abs(this.process.mono() - hello.mono) >= CLOCK_TOLERANCE_MS)
      return 'agent and launcher do not share one monotonic clock'
    if (returning) return null
    if (this.launcher !== null) return 'another launcher is connected'
    return this.process.mono() < this.closedUntil ? 'waiting for the launcher that was connected last' : null
  }

  private compare(theirs: BootReading | undefined): void {
    if (theirs !== undefined) this.bootOffset.heard(theirs, this.process.now())
  }

  /** The launcher's end of the connection is gone. */
  private hangUp(connection: Connection): void {
    this.up(connection, () => {
      connection.open = false
      this.connections.delete(connection)
      if (this.launcher !== connection) return
      this.launcher = null
      this.closedUntil = this.process.mono() + ENDING_MS
      this.handlers.gone(true)
    })
  }

  private drop(connection: Connection, reason: string): void {
    this.connections.delete(connection)
    this.down(connection, () => {
      connection.open = false
      connection.closed(reason)
    })
  }

  private up(connection: Connection, deliver: () => void): void {
    connection.lastUp = this.arrival(connection.lastUp)
    this.process.kernel.timeline.at(connection.lastUp, () =>
      this.process.deliver(() => this.connections.has(connection) && deliver()),
    )
  }

  private down(connection: Connection, deliver: () => void): void {
    connection.lastDown = this.arrival(connection.lastDown)
    this.process.kernel.timeline.at(connection.lastDown, () => hand(connection, deliver))
  }

  private arrival(last: number): number {
    const { random, slowMs } = this.socket
    return Math.max(
      last,
      this.process.kernel.timeline.now + random.between(0.05, 1) + random.between(0, slowMs),
    )
  }
}

function hand(connection: Connection, deliver: () => void): void {
  connection.launcher.deliver(() => connection.open && deliver())
}

/** The launcher's end: connects again for as long as it lives, as `LinkClient` does. */
export function launcherEnd(socket: Socket, process: Process, handlers: LinkClientHandlers) {
  let connection: Connection | null = null
  let agent: AgentEnd | null = null
  let told = false
  const closed = (reason: string) => {
    end.connected = false
    if (!told) handlers.down(reason)
    told = true
    process.after(RECONNECT_MS, end.start)
  }
  const received = (message: ToLauncher) => {
    if (message.type === 'welcome') {
      end.connected = true
      told = false
    }
    if (end.connected) handlers.received(message)
  }
  const end = {
    connected: false,
    start() {
      if (socket.agent === null || socket.removed) {
        closed('no agent listens')
        return
      }
      agent = socket.agent
      connection = { launcher: process, open: true, lastUp: 0, lastDown: 0, received, closed }
      agent.accept(connection, handlers.hello())
    },
    send(message: ToAgent) {
      const [over, to] = [connection, agent]
      if (end.connected && over !== null) process.act(() => to?.receive(over, message))
    },
    close() {},
  }
  return end
}
