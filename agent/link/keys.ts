import { randomBytes, timingSafeEqual } from 'node:crypto'
import { readFileSync, renameSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import type { Clock } from '../clock.ts'
import { makeDirectory } from '../directory.ts'
import { FatalError } from '../exit.ts'
import { bootId } from '../processes/proc.ts'

interface Stored {
  readonly token: string
  /** Marks the processes of this pod's workload; outlives launchers, so that a new one finds an old one's remains. */
  readonly tree: string
  readonly bootId: string
}

type Admission =
  | { readonly refused: string }
  | (Pick<Stored, 'token' | 'tree'> & { readonly refused?: never; readonly returning: boolean })

/** As long as the kernel may need to end the PID namespace of a launcher that has died. */
const ENDING_MS = 500

/**
 * Tells the launcher from a flow that runs beside it under the same user. The launcher connects before any flow runs
 * and is given a token; while that launcher may live, nobody is let in without it.
 */
export class LauncherKeys {
  private readonly file: string
  private readonly clock: Clock
  private readonly grantLifeMs: number
  private stored: Stored
  /** Until then, in monotonic ms, a launcher without the token is turned away, for this reason. */
  private closed = { until: 0, reason: '' }

  /**
   * Reads what an earlier agent in this pod left in `directory`, which only the agent's container may mount. Its
   * launcher is waited for during `grantLifeMs`: after that its deadman has ended all it ran.
   * @throws FatalError where the directory cannot be written
   */
  constructor(directory: string, clock: Clock, grantLifeMs: number) {
    this.file = join(directory, 'launcher.json')
    this.clock = clock
    this.grantLifeMs = grantLifeMs
    const stored = load(this.file)
    this.stored = stored ?? { token: newSecret(), tree: newSecret(), bootId: bootId() }
    if (stored !== null) {
      this.close(grantLifeMs, 'an earlier agent of this pod was connected to')
      return
    }
    try {
      this.save(this.stored)
    } catch (error) {
      throw new FatalError(
        `cannot write to --state-dir ${directory} (${codeOf(error)}): make it writable, on a volume that only the agent mounts`,
      )
    }
  }

  /** Marks the workload's processes in their environment. */
  get tree(): string {
    return this.stored.tree
  }

  admit(token: string | undefined, occupied: boolean): Admission {
    const { stored, closed } = this
    const { tree } = stored
    if (token !== undefined) {
      if (!same(token, stored.token)) return { refused: 'the token is not the one this agent gave out' }
      return { token, tree, returning: true }
    }
    if (occupied) return { refused: 'another launcher is connected' }
    if (this.clock.mono() < closed.until) return { refused: closed.reason }
    const next = { ...stored, token: newSecret() }
    try {
      this.save(next)
    } catch (error) {
      return { refused: `the agent cannot write to its --state-dir (${codeOf(error)})` }
    }
    return { token: next.token, tree, returning: false }
  }

  /**
   * The connection of the accepted launcher ended. `byPeer`: its own end closed it, so that it is dead; but what it
   * ran may outlive it for a moment, and is not to pose as the next one. Otherwise it may live and come back.
   */
  launcherGone(byPeer: boolean): void {
    if (byPeer) this.close(ENDING_MS, 'that has just ended, until what it ran has ended as well')
    else this.close(this.grantLifeMs, 'whose connection was cut')
  }

  private close(ms: number, which: string): void {
    this.closed = { until: this.clock.mono() + ms, reason: `waiting for the launcher ${which}` }
  }

  private save(stored: Stored): void {
    makeDirectory(dirname(this.file), 0o700)
    const draft = `${this.file}.new`
    writeFileSync(draft, JSON.stringify(stored), { mode: 0o600 })
    renameSync(draft, this.file)
    this.stored = stored
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

function codeOf(error: unknown): string | undefined {
  return (error as NodeJS.ErrnoException).code
}

function newSecret(): string {
  return randomBytes(32).toString('hex')
}

function same(a: string, b: string): boolean {
  const [left, right] = [Buffer.from(a), Buffer.from(b)]
  return left.length === right.length && timingSafeEqual(left, right)
}
