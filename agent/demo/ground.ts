import { type ChildProcess, spawn } from 'node:child_process'
import { randomUUID } from 'node:crypto'
import { mkdirSync, mkdtempSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Clock } from '../clock.ts'
import { FatalError } from '../exit.ts'
import { clearUp, KEEP_LOGS, LOGS } from './keeper.ts'
import { selfCommand } from './self.ts'

/** A unix socket's path has at most 107 bytes; the replicas' sockets lie 54 bytes deeper than this. */
const LONGEST_PARENT = 50

/**
 * Where a demo takes place: a temporary directory, and the marks of the processes that it starts. A keeper, in a
 * session of its own, clears up when the demo ends, and also when it is killed.
 */
export class Ground {
  readonly dir: string
  readonly #id = randomUUID()
  readonly #names: readonly string[]
  readonly #clock: Clock
  readonly #keeper: ChildProcess
  readonly #keeperEnded: Promise<number | null>

  /** Throws a `FatalError` where there is no directory to be had. */
  constructor(names: readonly string[], clock: Clock) {
    this.#names = names
    this.#clock = clock
    this.dir = makeDir()
    mkdirSync(join(this.dir, LOGS))
    const [program, ...args] = selfCommand('demo-keeper', this.dir, ...this.#marks())
    this.#keeper = spawn(program, args, { detached: true, stdio: ['pipe', 'ignore', 'ignore'] })
    this.#keeper.stdin?.on('error', () => {})
    this.#keeperEnded = new Promise((resolve) => {
      this.#keeper.once('error', () => resolve(null))
      this.#keeper.once('exit', (code) => resolve(code))
    })
  }

  get logs(): string {
    return join(this.dir, LOGS)
  }

  /** What the environment of all of a replica's processes names it by. */
  mark(name: string): string {
    return `${this.#id}.${name}`
  }

  /** Resolves once nothing of the demo lives and its directory is gone, but for the logs where they are to stay. */
  async leave(keepLogs: boolean): Promise<void> {
    this.#keeper.stdin?.end(keepLogs ? KEEP_LOGS : '')
    // Somebody may have killed the keeper.
    if ((await this.#keeperEnded) !== 0) await clearUp(this.dir, this.#marks(), keepLogs, this.#clock)
  }

  #marks(): string[] {
    return this.#names.map((name) => this.mark(name))
  }
}

function makeDir(): string {
  const parent = tmpdir()
  if (Buffer.byteLength(parent) > LONGEST_PARENT) {
    throw new FatalError(`${parent} is too long for the path of a unix socket: set TMPDIR to a shorter one`)
  }
  try {
    return mkdtempSync(join(parent, 'langflow-leader-demo-'))
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException
    throw new FatalError(
      `cannot make a directory in ${parent} (${code}): set TMPDIR to one that can be written`,
    )
  }
}
