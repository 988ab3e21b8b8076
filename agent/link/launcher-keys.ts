import { randomBytes, timingSafeEqual } from 'node:crypto'
import { readFileSync, renameSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import type { Clock } from '../clock.ts'
import { makeDirectory } from '../directory.ts'
import { FatalError } from '../exit.ts'
import { bootId } from '../processes/proc.ts'
import type { lookAtLock } from './launcher-lock.ts'
import type { Grant, Hello } from './link-messages.ts'

interface Stored {
  readonly token: string
  /** Marks the workload's processes. It outlives launchers, so that a new one finds the remains of an old one. */
  readonly tree: string
  readonly bootId: string
  /** Id of the file that the token's launcher keeps locked until its death. `null`: it has no lock. */
  readonly lock: string | null
  readonly term: string | null // the last granted one, as `identity epoch`
  /** The last term that an earlier launcher was granted, if that launcher and all its processes are proven dead. */
  readonly ended: string | null
}

type Admission =
  | { readonly refused: string }
  | (Pick<Stored, 'token' | 'tree' | 'ended'> & { readonly refused?: never; readonly returning: boolean })

/** The kernel ends the PID namespace of a dead launcher within this time. */
const ENDING_MS = 500

/**
 * Distinguishes the launcher from a flow beside it: the launcher connects before any flow runs, and receives a token.
 * While it may be alive, no peer without the token is admitted.
 */
export class LauncherKeys {
  private readonly file: string
  private readonly clock: Clock
  private readonly grantLifeMs: number
  private readonly look: (() => ReturnType<typeof lookAtLock>) | null
  private stored: Stored
  /** Monotonic ms before which a launcher without the token is refused. */
  private closedUntil = 0
  /** Monotonic ms at which the lock of the token's launcher was first found free: that launcher is dead. */
  private freeSince: number | null = null

  /**
   * Reads the keys of an earlier agent in this pod. Its launcher is waited for until it is proven dead, or for
   * `grantLifeMs`, after which the deadman has ended all its processes.
   * @param look reads the launcher's lock. `null`: another pod may use this identity, so nothing can be proven.
   * @throws FatalError if the directory cannot be written
   */
  constructor(directory: string, clock: Clock, grantLifeMs: number, look: LauncherKeys['look']) {
    this.file = join(directory, 'launcher.json')
    this.clock = clock
    this.grantLifeMs = grantLifeMs
    this.look = look
    const stored = load(this.file)
    const secrets = { token: newSecret(), tree: newSecret() }
    this.stored = stored ?? { ...secrets, bootId: bootId(), lock: null, term: null, ended: null }
    if (stored !== null) this.launcherGone(false)
    else if (!this.save(this.stored))
      throw new FatalError(
        `cannot write to --state-dir ${directory}: make it writable, on a volume that only the agent mounts`,
      )
  }

  get tree(): string {
    return this.stored.tree
  }

  admit({ token, alone, view }: Pick<Hello, 'token' | 'alone' | 'view'>, occupied: boolean): Admission {
    const { stored } = this
    if (token !== undefined && !same(token, stored.token))
      return { refused: 'the token was not issued by this agent' }
    if (token !== undefined) return { ...stored, returning: true }
    if (occupied) return { refused: 'another launcher is connected' }
    const dead = alone && view.state === 'idle' && this.isProvedDead()
    if (!dead && this.clock.mono() < this.closedUntil)
      return { refused: 'the earlier launcher, or its LangFlow, may be alive' }
    const ended = (dead && stored.term) || stored.ended || null
    const next = { ...stored, token: newSecret(), lock: null, term: null, ended }
    if (!this.save(next)) return { refused: 'the agent cannot write to its --state-dir' }
    this.freeSince = null
    this.look?.() // creates the file
    return { ...next, returning: false }
  }

  /** The launcher reports that it has its lock, which it keeps until its death. */
  locked(): void {
    const found = this.look?.()
    this.save({ ...this.stored, lock: found?.held ? found.id : null })
  }

  /** Must be called before the grant is sent. If a term cannot be saved, a later agent can prove nothing by it. */
  granted({ identity, epoch }: Grant): void {
    const term = `${identity} ${epoch}`
    if (term !== this.stored.term || this.stored.ended) this.save({ ...this.stored, term, ended: null })
  }

  /**
   * The kernel drops a launcher's lock with its other files, and then ends its PID namespace. If another file has
   * replaced the locked one, nothing is proven. The kernel does not reuse an id while a process has the file open.
   */
  private isProvedDead(): boolean {
    const found = this.stored.lock ? this.look?.() : undefined
    const now = this.clock.mono()
    if (found?.id === this.stored.lock && found?.held === false) this.freeSince ??= now
    return this.freeSince !== null && now >= this.freeSince + ENDING_MS
  }

  /**
   * The connection of the accepted launcher ended. `byPeer`: the launcher is dead, but its processes may outlive it for
   * a moment, and must not pose as the next launcher. Otherwise, it may be alive and return.
   */
  launcherGone(byPeer: boolean): void {
    this.isProvedDead()
    this.closedUntil = this.clock.mono() + (byPeer ? ENDING_MS : this.grantLifeMs)
  }

  private save(stored: Stored): boolean {
    const draft = `${this.file}.new`
    try {
      makeDirectory(dirname(this.file), 0o700)
      writeFileSync(draft, JSON.stringify(stored), { mode: 0o600 })
      renameSync(draft, this.file)
    } catch {
      return false
    }
    this.stored = stored
    return true
  }
}

function load(file: string): Stored | null {
  try {
    const stored = JSON.parse(readFileSync(file, 'utf8')) as Stored
    // After a reboot, no process of the old launcher is alive, so an earlier file does not count.
    return typeof stored.token === 'string' && stored.bootId === bootId() ? stored : null
  } catch {
    return null
  }
}

function newSecret(): string {
  return randomBytes(32).toString('hex')
}

function same(a: string, b: string): boolean {
  const [left, right] = [Buffer.from(a), Buffer.from(b)]
  return left.length === right.length && timingSafeEqual(left, right)
}
