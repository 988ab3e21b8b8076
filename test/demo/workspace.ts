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

/** Variable that marks all processes of a demo. Each replica has its own value. */
export const MARKER = 'LANGFLOW_LEADER_DEMO'
const LOGS = 'logs'
/** A unix socket's path has at most 107 bytes, and the paths of the replicas' sockets are 54 bytes longer than this one. */
const LONGEST_PARENT = 50
/** The length of one round of SIGKILL. */
const KILL_WITHIN_MS = 3_000

/**
 * A temporary directory, and the marks of the processes that the demo starts. A cleanup process in its own session removes
 * both when the demo ends, even if the demo is killed.
 */
export class Workspace {
  readonly dir: string
  readonly logs: string
  readonly #id = randomUUID()
  readonly #marks: readonly string[]
  readonly #cleanup: ChildProcess
  readonly #cleaned: Promise<boolean>

  constructor(replicas: readonly string[]) {
    if (Buffer.byteLength(tmpdir()) > LONGEST_PARENT)
      throw new FatalError(
        `the temporary directory ${tmpdir()} is too long for the path of a unix socket; set TMPDIR to a shorter path`,
      )
    this.dir = mkdtempSync(join(tmpdir(), 'langflow-leader-demo-'))
    this.logs = join(this.dir, LOGS)
    this.#marks = replicas.map((name) => this.mark(name))
    mkdirSync(this.logs)
    const args = [import.meta.filename, this.dir, ...this.#marks]
    this.#cleanup = spawn(process.execPath, args, { detached: true, stdio: ['pipe', 'ignore', 'ignore'] })
    this.#cleanup.stdin?.on('error', () => {})
    this.#cleaned = once(this.#cleanup, 'exit').then(
      ([code]) => code === 0,
      () => false,
    )
  }

  /** The variable's value in the environment of each process of a replica. */
  mark(replica: string): string {
    return `${this.#id}.${replica}`
  }

  /** Resolves once all processes of the demo have ended and its directory is removed. `keepLogs`: the logs stay. */
  async leave(keepLogs: boolean): Promise<void> {
    this.#cleanup.stdin?.end(keepLogs ? 'keep' : '')
    if (!(await this.#cleaned)) await cleanUp(this.dir, this.#marks, keepLogs)
  }
}

/** Kills every process that carries the mark, including stopped processes and those in other sessions. */
export async function killReplica(mark: string): Promise<void> {
  const marker = { name: MARKER, value: mark }
  const tree = createProcessTree({ marker, clock: systemClock, alone: false })
  // As when a machine fails, no process may react to the end of another. So all are frozen first.
  tree.freeze()
  while ((await tree.kill(KILL_WITHIN_MS)).length > 0);
}

export async function cleanUp(dir: string, marks: readonly string[], keepLogs: boolean): Promise<void> {
  await Promise.all(marks.map(killReplica))
  const goes = keepLogs ? readdirSync(dir).filter((name) => name !== LOGS) : ['']
  for (const name of goes) rmSync(join(dir, name), { recursive: true, force: true })
}

// The cleanup process: node workspace.ts DIR MARK...
if (import.meta.main) {
  // A signal that ends the demo may reach this process too. It must survive it and clean up.
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, () => {})
  const [dir = '', ...marks] = process.argv.slice(2)
  // The pipe to the demo closes when the demo ends.
  await cleanUp(dir, marks, (await text(process.stdin)) === 'keep')
}
