import { randomBytes, timingSafeEqual } from 'node:crypto'
import { readFileSync, renameSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import type { Clock } from '../clock.ts'
import { makeDirectory } from '../directory.ts'
import { FatalError } from '../exit.ts'
import { bootId } from '../processes/proc.ts'
import type { lookAtLock } from './launcher-lock.ts'
import type { Grant } from './link-messages.ts'
import type { Hello } from './link-server.ts'

interface Stored {
  readonly token: string
  /** Marks the processes of this pod's workload; outlives launchers, so that a new one finds an old one's remains. */
  readonly tree: string
  readonly bootId: string
  /** Id of the file whose lock the token's launcher has for as long as it lives; absent: of an older version. */
  readonly lock?: string | null
  /** The last term that this launcher was granted, as `identity epoch`. */
  readonly term?: string | null
  /** The last term that an earlier launcher was granted, which is proven dead, with all that it ran. */
  readonly ended?: string | null
}

type Admission =
  | { readonly refused: string }
  | (Omit<Stored, 'bootId' | 'lock' | 'term'> & { readonly refused?: never; readonly returning: boolean })

/** As long as the kernel may need to end the PID namespace of a launcher that has died. */
const ENDING_MS = 500

/**
 * Tells the launcher from a flow that runs beside it under the same user. The launcher connects before any flow runs
 * and is given a token; while that launcher may live, no peer without the token is let in.
 */
export class LauncherKeys {
  private readonly file: string
  private readonly clock: Clock
  private readonly grantLifeMs: number
  private readonly look: (() => ReturnType<typeof lookAtLock>) | null
  private stored: Stored
  /** Until then, in monotonic ms, a launcher without the token is turned away, for this reason. */
  private closed = { until: 0, reason: '' }
  /** Monotonic ms, when the lock of the token's launcher was found free: that one is dead. */
  private freeSince: number | null = null

  /**
   * Reads what an earlier agent in this pod left in `directory`, which only the agent's container may mount. Its
   * launcher is waited for during `grantLifeMs`, after which its deadman has ended all it ran, or until it is proven dead.
   * @param look at the launcher's lock; `null`: another pod may use this identity, so that nothing is proven
   * @throws FatalError where the directory cannot be written
   */
  constructor(directory: string, clock: Clock, grantLifeMs: number, look: LauncherKeys['look']) {
    this.file = join(directory, 'launcher.json')
    this.clock = clock
    this.grantLifeMs = grantLifeMs
    this.look = look
    const stored = load(this.file)
    this.stored = stored ?? { token: newSecret(), tree: newSecret(), bootId: bootId() }
    if (stored !== null) {
      this.close(grantLifeMs, 'an earlier agent of this pod was connected to')
      this.isProvedDead()
      return
    }
    const problem = this.save(this.stored)
    if (problem !== null)
      throw new FatalError(
        `cannot write to --state-dir ${directory} (${problem}): make it writable, on a volume that only the agent mounts`,
      )
  }

  /** Marks the workload's processes in their environment. */
  get tree(): string {
    return this.stored.tree
  }

  admit({ token, alone, view }: Pick<Hello, 'token' | 'alone' | 'view'>, occupied: boolean): Admission {
    const { stored, closed } = this
    if (token !== undefined) {
      if (!same(token, stored.token)) return { refused: 'the token is not the one this agent gave out' }
      return { ...stored, returning: true }
    }
    if (occupied) return { refused: 'another launcher is connected' }
    const dead = alone && view.state === 'idle' && this.isProvedDead()
    if (!dead && this.clock.mono() < closed.until) return { refused: closed.reason }
    const ended = (dead && stored.term) || stored.ended || null
    const next = { ...stored, token: newSecret(), lock: null, term: null, ended }
    const problem = this.save(next)
    if (problem !== null) return { refused: `the agent cannot write to its --state-dir (${problem})` }
    this.freeSince = null
    this.look?.() // makes the file
    return { ...next, returning: false }
  }

  /** The launcher says that it has its lock: until its death. */
  locked(): void {
    const found = this.look?.()
    this.save({ ...this.stored, lock: found?.held ? found.id : null })
  }

  /** To be called before the grant is sent. What can't be saved proves nothing to a later agent. */
  granted({ identity, epoch }: Grant): void {
    const term = `${identity} ${epoch}`
    if (term !== this.stored.term || this.stored.ended) this.save({ ...this.stored, term, ended: null })
  }

  /**
   * The kernel drops a launcher's lock with its other files, and then ends its PID namespace. A file in the place of that one
   * proves nothing; the kernel gives no id anew while a process has the file open.
   */
  private isProvedDead(): boolean {
    const found = this.stored.lock ? this.look?.() : undefined
    const now = this.clock.mono()
    if (found?.id === this.stored.lock && found?.held === false) this.freeSince ??= now
    return this.freeSince !== null && now >= this.freeSince + ENDING_MS
  }

  /**
   * The connection of the accepted launcher ended. `byPeer`: its own end closed it, so that it is dead; but what it
   * ran may outlive it for a moment, and is not to pose as the next one. Otherwise it may live and come back.
   */
  launcherGone(byPeer: boolean): void {
    this.isProvedDead()
    if (byPeer) this.close(ENDING_MS, 'that has just ended, until what it ran has ended as well')
    else this.close(this.grantLifeMs, 'whose connection was cut')
  }

  private close(ms: number, which: string): void {
    this.closed = { until: this.clock.mono() + ms, reason: `waiting for the launcher ${which}` }
  }

  /** The code of what kept it from being written; `null`: it was. */
  private save(stored: Stored): string | null {
    const draft = `${this.file}.new`
    try {
      makeDirectory(dirname(this.file), 0o700)
      writeFileSync(draft, JSON.stringify(stored), { mode: 0o600 })
      renameSync(draft, this.file)
    } catch (error) {
      return String((error as NodeJS.ErrnoException).code)
    }
    this.stored = stored
    return null
  }
}

function load(file: string): Stored | null {
  try {
    const stored = JSON.parse(readFileSync(file, 'utf8')) as Stored
    // After a reboot nothing of the old launcher lives, whatever was written before.
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
