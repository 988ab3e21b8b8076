import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { LauncherKeys } from '../../agent/link/launcher-keys.ts'
import type { LinkClientHandlers } from '../../agent/link/link-client.ts'
import {
  type BootReading,
  type Hello,
  NOTHING,
  type ToAgent,
  type ToLauncher,
} from '../../agent/link/link-messages.ts'
import { BootOffset, type LinkHandlers } from '../../agent/link/link-server.ts'
import type { LauncherLink } from '../../agent/supervisor/supervisor.ts'
import type { Process } from './process.ts'
import type { Random } from './random.ts'

interface Connection {
  readonly launcher: Process
  readonly received: (message: ToLauncher) => void
  readonly refused: () => void
  readonly closed: (reason: string) => void
  open: boolean
  /** Real time at which the last message arrives at the agent. No message overtakes an earlier one. */
  lastUp: number
  /** The same for the launcher. */
  lastDown: number
}

const RECONNECT_MS = 50
/** Interval at which the agent checks whether its socket still exists. */
const LOOK_MS = 1_000
const CLOCK_TOLERANCE_MS = 5_000
/** Directory for the agents' files. Each pod has a directory of its own in it. */
let states: string | null = null
let pods = 0

function newStateDir(): string {
  if (states === null) {
    const made = mkdtempSync(join(tmpdir(), 'simulation-'))
    process.once('exit', () => rmSync(made, { recursive: true, force: true }))
    states = made
  }
  return join(states, String(pods++))
}

/** The socket between agent and launcher of one replica. It accepts connections while an agent listens. */
export class Socket {
  readonly random: Random
  /** The most by which each message is delayed. */
  slowMs = 0
  /** If not 0, each grant is delivered a second time, up to this much later, and so perhaps after newer grants. */
  repeatMs = 0
  agent: AgentEnd | null = null
  /** The socket's file was deleted. Existing connections continue. */
  removed = false
  stateDir = ''
  readonly lockedBy = new Set<Process>()

  constructor(random: Random) {
    this.random = random
  }

  renew(): void {
    if (this.stateDir !== '') rmSync(this.stateDir, { recursive: true, force: true })
    this.stateDir = newStateDir()
    this.removed = false
  }

  /** The kernel releases the lock when its holder ends. Processes that the holder started may still be alive then. */
  lock(launcher: Process): object {
    this.lockedBy.add(launcher)
    launcher.onDeath(() => this.lockedBy.delete(launcher))
    return launcher
  }
}

type Welcome = Omit<Extract<ToLauncher, { type: 'welcome' }>, 'type' | 'token' | 'tree' | 'port'>

/** The agent's end of the link. It admits one launcher by the rules of `LinkServer`, with the real `LauncherKeys`. */
export class AgentEnd implements LauncherLink {
  private readonly socket: Socket
  private readonly process: Process
  private readonly handlers: LinkHandlers
  private readonly welcome: Welcome
  private readonly keys: LauncherKeys
  private launcher: Connection | null = null
  private grant: Extract<ToLauncher, { type: 'grant' }> | null = null
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
    const look = () => ({ id: 'lock', held: socket.lockedBy.size > 0 })
    this.keys = new LauncherKeys(socket.stateDir, process, grantLifeMs, look)
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
    if (message.type === 'grant') this.grant = message
    if (message.type === 'kill') this.grant = null
    const { launcher, process, socket } = this
    if (launcher === null) return
    const isGrant = message.type === 'grant'
    if (isGrant) this.keys.granted(message.grant)
    const delivered = isGrant ? { ...message, grant: this.bootOffset.translate(message.grant) } : message
    process.act(() => {
      this.down(launcher, () => launcher.received(delivered))
      if (!isGrant || socket.repeatMs === 0) return
      const again = socket.random.between(0, socket.repeatMs)
      process.kernel.timeline.in(again, () => hand(launcher, () => launcher.received(delivered)))
    })
  }

  close(): void {
    if (this.socket.agent === this) this.socket.agent = null
    this.launcher = null
    for (const connection of [...this.connections]) this.drop(connection, 'the agent closed the connection')
  }

  /** A launcher connects. The kernel accepts the connection even if the agent is frozen. */
  accept(connection: Connection, hello: Hello): void {
    this.connections.add(connection)
    connection.launcher.onDeath(() => this.hangUp(connection))
    this.up(connection, () => this.greet(connection, hello))
  }

  receive(connection: Connection, message: ToAgent): void {
    this.up(connection, () => {
      if (this.launcher !== connection || message.type === 'hello') return
      if (message.type === 'pong') this.compare(message.clocks)
      if (message.type === 'locked') this.keys.locked()
      this.handlers.received(message)
    })
  }

  private greet(connection: Connection, hello: Hello): void {
    const admission = this.admit(hello)
    if (admission.refused !== undefined) {
      const { refused } = admission
      this.down(connection, connection.refused)
      this.drop(connection, refused)
      return
    }
    const { token, tree, returning, ended = null } = admission
    this.bootOffset.forget()
    this.compare(hello.clocks)
    const previous = this.launcher
    this.launcher = connection
    if (previous !== null) this.drop(previous, 'another connection took its place')
    const welcome = { type: 'welcome', token, tree, port: 7860, ...this.welcome } as const
    this.down(connection, () => connection.received(welcome))
    this.handlers.connected(hello, returning, ended)
    if (returning && this.grant !== null) this.send(this.grant)
  }

  private admit(hello: Hello): ReturnType<LauncherKeys['admit']> {
    if (Math.abs(this.process.mono() - hello.mono) >= CLOCK_TOLERANCE_MS)
      return { refused: 'agent and launcher do not share one monotonic clock' }
    return this.keys.admit(hello, this.launcher !== null)
  }

  private compare(theirs: BootReading | undefined): void {
    if (theirs !== undefined) this.bootOffset.compare(theirs, this.process.now())
  }

  private hangUp(connection: Connection): void {
    this.up(connection, () => {
      connection.open = false
      this.connections.delete(connection)
      if (this.launcher !== connection) return
      this.launcher = null
      this.keys.launcherGone(true)
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

/** The launcher's end of the link. It reconnects until its process ends, as `LinkClient` does. */
export function launcherEnd(socket: Socket, process: Process, handlers: LinkClientHandlers) {
  let connection: Connection | null = null
  let agent: AgentEnd | null = null
  let reported = false
  let token: string | undefined
  const refused = () => {
    if (handlers.hello().view.state === 'idle') token = undefined
  }
  const closed = (reason: string) => {
    end.connected = false
    if (!reported) handlers.down(reason)
    reported = true
    process.after(RECONNECT_MS, end.start)
  }
  const received = (message: ToLauncher) => {
    if (message.type === 'welcome') {
      end.connected = true
      reported = false
      token = message.token
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
      connection = { launcher: process, open: true, lastUp: 0, lastDown: 0, received, refused, closed }
      agent.accept(connection, { ...handlers.hello(), ...(token === undefined ? {} : { token }) })
    },
    send(message: ToAgent) {
      const [over, to] = [connection, agent]
      if (end.connected && over !== null) process.act(() => to?.receive(over, message))
    },
    close() {},
  }
  return end
}

/** A flow in LangFlow's container connects, and claims to be a new launcher without a workload. */
export function poseAsLauncher(socket: Socket, launcher: Process): void {
  if (socket.agent === null || socket.removed) return
  const ignore = () => {}
  const connection = { launcher, open: true, lastUp: 0, lastDown: 0, received: ignore, refused: ignore }
  const hello = { type: 'hello', version: 1, pid: 1, alone: true, mono: launcher.mono() } as const
  socket.agent.accept({ ...connection, closed: ignore }, { ...hello, view: NOTHING })
}
