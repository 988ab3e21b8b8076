import { once } from 'node:events'
import { chmodSync, lstatSync, rmSync, statSync, unlinkSync } from 'node:fs'
import { connect, createServer, type Socket } from 'node:net'
import { dirname } from 'node:path'
import { BOOT_RESOLUTION_MS, type Clock, type Instant, type Timer, untilNext } from '../clock.ts'
import type { AgentOptions } from '../config/options.ts'
import { makeDirectory } from '../directory.ts'
import { reasonOf } from '../errno.ts'
import { FatalError } from '../exit.ts'
import { readJsonLines } from '../json-lines.ts'
import type { LauncherKeys } from './launcher-keys.ts'
import type { BootReading, Grant, ToAgent, ToLauncher } from './link-messages.ts'
import { Hello, MAX_LINE_BYTES, writeLine } from './link-messages.ts'

export interface LinkHandlers {
  /** A launcher is connected. `returning`: it proved to be the owner of this agent's keys. `ended`: see `Workload`. */
  connected(hello: Hello, returning: boolean, ended: string | null): void
  received(message: Exclude<ToAgent, Hello>): void
  /** `byPeer`: the launcher's end closed the connection, as its death does, and not this agent. */
  gone(byPeer: boolean): void
}

export interface LinkServerOptions {
  readonly options: Pick<AgentOptions, 'socket' | 'target' | 'standby' | 'startTimeoutMs'>
  readonly keys: LauncherKeys
  readonly clock: Clock
  readonly handlers: LinkHandlers
  /** For a peer that is no launcher, or a damaged socket: a few sentences, perhaps thousands of times a second. */
  readonly alarm: (what: string) => void
}

const HELLO_WITHIN_MS = 2_000
const MAX_STRANGERS = 8
const LOOK_MS = 1_000
/** Both ends must read the same monotonic clock. A hello does not travel longer than this. */
const CLOCK_TOLERANCE_MS = 5_000

/**
 * The agent's end of the link: one launcher at a time. A peer is a stranger until its hello is accepted. Strangers are
 * few and short-lived, and only one line of each is read.
 */
export class LinkServer {
  private readonly parts: LinkServerOptions
  private server = this.newServer()
  private inode = 0 // of the socket that this agent created
  private readonly strangers = new Set<Socket>()
  private launcher: Socket | null = null
  /** The last grant, unless a kill has ended it. */
  private grant: Extract<ToLauncher, { type: 'grant' }> | null = null
  private readonly bootOffset = new BootOffset()
  private closed = false
  private watch: Timer | null = null

  constructor(parts: LinkServerOptions) {
    this.parts = parts
  }

  private newServer() {
    // An error, such as a lack of file descriptors for a connection, ends nothing: other connections may be accepted.
    return createServer((socket) => this.accept(socket)).on('error', () => {})
  }

  /** Rejects with a `FatalError` if the socket cannot be created, or another agent answers on it. */
  async listen(): Promise<void> {
    const { socket: path } = this.parts.options
    try {
      makeDirectory(dirname(path))
      await removeStale(path)
      await this.bind()
    } catch (error) {
      // With `run`, the path begins with the directory for temporary files. That of a flag is never too long.
      const reason = reasonOf(error, { EINVAL: 'the path is too long' })
      throw new FatalError(`cannot create --socket ${path}: ${reason}`)
    }
    this.look()
  }

  private async bind(): Promise<void> {
    const { socket: path } = this.parts.options
    await once(this.server.listen(path), 'listening')
    // The other container may run under another user that shares the group of the volume (fsGroup).
    chmodSync(path, 0o660)
    this.inode = inodeOf(path)
  }

  /** A socket that was removed or replaced is created again, because no launcher could connect any more. */
  private look(): void {
    const { clock } = this.parts
    this.watch = clock.after(untilNext(clock, LOOK_MS), async () => {
      await this.restore()
      this.look()
    })
  }

  private async restore(): Promise<void> {
    const { alarm, options } = this.parts
    const path = options.socket
    const found = inodeOf(path)
    if (found === this.inode) return
    const damage = found === 0 ? 'removed' : 'replaced'
    alarm(`the socket was ${damage}: only the agent may mount its directory writable`)
    // The close is not awaited: the server ends with its last connection, and the launcher's connection must stay.
    this.server.close()
    this.server = this.newServer()
    try {
      rmSync(path, { force: true })
      await this.bind()
    } catch {
      // The next check tries again.
    }
  }

  send(message: ToLauncher): void {
    if (message.type === 'grant') this.grant = message
    if (message.type === 'kill') this.grant = null
    if (this.launcher === null) return
    if (message.type === 'grant') this.parts.keys.granted(message.grant)
    if (message.type !== 'grant') writeLine(this.launcher, message)
    else writeLine(this.launcher, { ...message, grant: this.bootOffset.translate(message.grant) })
  }

  close(): void {
    this.closed = true
    this.watch?.cancel()
    this.server.close()
    for (const socket of this.strangers) socket.destroy()
    const { launcher } = this
    this.launcher = null
    launcher?.end()
    launcher?.unref()
  }

  private accept(socket: Socket): void {
    const { clock, keys, handlers } = this.parts
    const turnAway = (reason: string) => this.turnAway(socket, reason)
    const [oldest] = this.strangers
    if (oldest !== undefined && this.strangers.size >= MAX_STRANGERS)
      this.turnAway(oldest, `more than ${MAX_STRANGERS} connections wait without a hello`)
    this.strangers.add(socket)
    const late = `no hello within ${HELLO_WITHIN_MS / 1000} s`
    const helloTimeout = clock.after(HELLO_WITHIN_MS, () => turnAway(late))
    let byPeer = false
    socket.on('end', () => {
      byPeer = true
    })
    // The event 'close' follows.
    socket.on('error', ({ code }: NodeJS.ErrnoException) => {
      if (code === 'ECONNRESET' || code === 'EPIPE') byPeer = true
    })
    socket.on('close', () => {
      helloTimeout.cancel()
      this.strangers.delete(socket)
      if (this.launcher !== socket) return
      this.launcher = null
      keys.launcherGone(byPeer)
      handlers.gone(byPeer)
    })
    // Only one line of a stranger is read: it sent any further line before it could read the answer.
    let isGreeted = false
    const received = (message: ToAgent) => {
      const isLauncher = this.launcher === socket
      // A launcher may still send when this agent ends.
      if (this.closed && !isLauncher) return
      if (isLauncher && message.type !== 'hello') {
        if (message.type === 'pong') this.bootOffset.compare(message.clocks, clock.now())
        if (message.type === 'locked') keys.locked()
        handlers.received(message)
        return
      }
      const hello = isGreeted ? undefined : Hello.safeParse(message).data
      if (hello === undefined) return turnAway('it did not begin with one hello')
      isGreeted = true
      if (this.greet(socket, hello)) helloTimeout.cancel()
    }
    readJsonLines(socket, MAX_LINE_BYTES, received, turnAway)
  }

  private turnAway(socket: Socket, reason: string): void {
    // Removed immediately: more connections may arrive before this one is closed.
    this.strangers.delete(socket)
    socket.destroy()
    this.turnedAway(reason)
  }

  private turnedAway(reason: string): void {
    this.parts.alarm(`refused a connection to the launcher's socket: ${reason}`)
  }

  private greet(socket: Socket, hello: Hello): boolean {
    const { keys, handlers } = this.parts
    const { target, standby, startTimeoutMs } = this.parts.options
    const mismatch = this.mismatch(hello)
    const admission = mismatch === null ? keys.admit(hello, this.launcher !== null) : { refused: mismatch }
    if (admission.refused !== undefined) {
      writeLine(socket, { type: 'refused', reason: admission.refused })
      socket.destroySoon()
      this.turnedAway(admission.refused)
      return false
    }
    const { token, tree, returning, ended = null } = admission
    const previous = this.launcher
    this.launcher = socket
    this.bootOffset.forget()
    this.bootOffset.compare(hello.clocks, this.parts.clock.now())
    this.strangers.delete(socket)
    previous?.destroy()
    const { port } = target
    writeLine(socket, { type: 'welcome', token, tree, port, standby, startTimeoutMs })
    handlers.connected(hello, returning, ended)
    // It may have been lost with the connection.
    if (returning && this.grant !== null) this.send(this.grant)
    return true
  }

  private mismatch(hello: Hello): string | null {
    if (hello.version !== 1) return 'agent and launcher are of different versions: install the same one'
    if (Math.abs(this.parts.clock.mono() - hello.mono) < CLOCK_TOLERANCE_MS) return null
    return 'agent and launcher do not share one monotonic clock: run both on one kernel and in one time namespace'
  }
}

/**
 * The difference between an agent's boot clock and its launcher's: each container may have its own /proc/uptime (lxcfs,
 * sysbox). The monotonic clock is shared, and a suspend moves both boot clocks away from it. There are four readings in
 * this order: the launcher's boot, its mono, the agent's mono, its boot. A suspend between any two of them makes the
 * agent's clock seem further ahead than it is, and a grant shorter, never longer. The least difference of all readings
 * is therefore the right one.
 */
export class BootOffset {
  private ms: number | null = null

  forget(): void {
    this.ms = null
  }

  /** The launcher's reading has arrived. `now` is read after that. */
  compare(theirs: BootReading | undefined, now: Instant): void {
    if (theirs === undefined) return
    const ms = now.boot - now.mono - (theirs.boot - theirs.mono)
    this.ms = Math.min(ms, this.ms ?? ms)
  }

  translate(grant: Grant): Grant {
    const ms = this.ms ?? 0
    // Both ends read the same clock, at two moments.
    if (Math.abs(ms) <= BOOT_RESOLUTION_MS) return grant
    const at = (instant: Instant) => ({ ...instant, boot: instant.boot - ms })
    return { ...grant, doubtAt: at(grant.doubtAt), killAt: at(grant.killAt) }
  }
}

/** 0 if the path does not exist or cannot be read. A link is not followed. */
function inodeOf(path: string): number {
  try {
    return lstatSync(path).ino
  } catch {
    return 0
  }
}

async function removeStale(path: string): Promise<void> {
  const found = statSync(path, { throwIfNoEntry: false })
  if (found === undefined) return
  if (!found.isSocket()) throw new Error('it exists and is not a socket: remove it or choose another path')
  const probe = connect(path)
  const answered = await once(probe, 'connect', { signal: AbortSignal.timeout(HELLO_WITHIN_MS) }).then(
    () => true,
    // A process that lets its callers wait is there.
    ({ name }: Error) => name === 'AbortError',
  )
  probe.destroy()
  if (answered) throw new Error('another agent answers on it: stop it or choose another path')
  unlinkSync(path)
}
