import { type ChildProcess, spawn } from 'node:child_process'
import { randomUUID } from 'node:crypto'
import { once } from 'node:events'
import { mkdirSync, mkdtempSync, readdirSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import { systemClock } from '../../agent/clock.ts'
import { FatalError } from '../../agent/exit.ts'
import { createProcessTree } from '../../agent/processes/process-tree.ts'
import { BUNDLE } from '../harness/bundle.ts'

/** Variable that marks all processes of a demo; its value tells the replicas apart. */
export const MARKER = 'LANGFLOW_LEADER_DEMO'
const LOGS = 'logs'
/** A unix socket's path has at most 107 bytes; the replicas' sockets lie 54 bytes deeper than this. */
const LONGEST_PARENT = 50
/** How long one round of SIGKILL goes on before the next. */
const KILL_WITHIN_MS = 3_000

/** The product, as it is delivered. */
export const PRODUCT = [process.execPath, BUNDLE] as const

/** What runs a script of the demo. */
export function scriptCommand(name: 'workload.ts' | 'cleanup.ts', ...args: string[]): [string, ...string[]] {
  return [process.execPath, join(import.meta.dirname, name), ...args]
}

/**
 * A temporary directory, and the marks of the processes that the demo starts. A process in a session of its own clears up when
 * the demo ends, and also when it is killed.
 */
export class Workspace {
  readonly dir = makeDir()
  readonly logs = join(this.dir, LOGS)
  readonly #id = randomUUID()
  readonly #marks: readonly string[]
  readonly #cleanup: ChildProcess
  readonly #cleaned: Promise<boolean>

  /** Throws a `FatalError` where there is no directory to be had. */
  constructor(replicas: readonly string[]) {
    this.#marks = replicas.map((name) => this.mark(name))
    mkdirSync(this.logs)
    const [program, ...args] = scriptCommand('cleanup.ts', this.dir, ...this.#marks)
    this.#cleanup = spawn(program, args, { detached: true, stdio: ['pipe', 'ignore', 'ignore'] })
    this.#cleanup.stdin?.on('error', () => {})
    this.#cleaned = once(this.#cleanup, 'exit').then(
      ([code]) => code === 0,
      () => false,
    )
  }

  /** What the environment of all of a replica's processes names it by. */
  mark(replica: string): string {
    return `${this.#id}.${replica}`
  }

  /** Resolves once nothing of the demo lives and its directory is gone, but for the logs where they are to stay. */
  async leave(keepLogs: boolean): Promise<void> {
    this.#cleanup.stdin?.end(keepLogs ? 'keep' : '')
    // Somebody may have killed it.
    if (!(await this.#cleaned)) await cleanUp(this.dir, this.#marks, keepLogs)
  }
}

/** Waits until standard input ends, however the demo that holds it does, and then clears up behind it. */
export async function cleanUpAfter(dir: string, marks: readonly string[]): Promise<void> {
  // What ends the demo must not end the one who clears up.
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, () => {})
  await cleanUp(dir, marks, (await text(process.stdin)) === 'keep')
}

/** Ends every process that carries the mark, stopped ones and those in sessions of their own too. */
export async function killReplica(mark: string): Promise<void> {
  const marker = { name: MARKER, value: mark }
  const tree = createProcessTree({ marker, clock: systemClock, alone: false })
  // A machine that is gone takes all of them at once: none sees the end of another, and acts on it.
  tree.freeze()
  while ((await tree.kill(KILL_WITHIN_MS)).length > 0);
}

async function cleanUp(dir: string, marks: readonly string[], keepLogs: boolean): Promise<void> {
  await Promise.all(marks.map(killReplica))
  const goes = keepLogs ? readdirSync(dir).filter((name) => name !== LOGS) : ['']
  for (const name of goes) rmSync(join(dir, name), { recursive: true, force: true })
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
    throw new FatalError(`cannot make a directory in ${parent} (${code}): set TMPDIR to a writable one`)
  }
}
