import { statSync } from 'node:fs'
import type { DatabaseSync } from 'node:sqlite'

// Each launcher holds a record lock of the kernel (fcntl) on a file beside the socket for as long as it lives. Node locks no
// files, but its SQLite does. A shared lock works through a read-only mount; the exclusive one, by which the agent learns whether
// any process has the file, doesn't. So a flow can delay the proof that a launcher is dead, and can't forge it.

/** The agent's side: the file's id, and whether a process holds its lock. Makes the file if it is missing. */
export function lookAtLock(socket: string): { readonly id: string; readonly held: boolean } {
  const path = `${socket}.lock`
  const exclusive = lock(path, 'BEGIN EXCLUSIVE', false)
  exclusive?.close()
  const file = statSync(path, { bigint: true, throwIfNoEntry: false })
  return { id: `${file?.dev}:${file?.ino}`, held: exclusive === null }
}

/** The launcher's side: it has the lock until what this returns is closed, or the process ends. `null`: it can't have it. */
export function holdLock(socket: string): DatabaseSync | null {
  return lock(`${socket}.lock`, 'BEGIN; SELECT 1 FROM sqlite_master', true)
}

function lock(path: string, sql: string, readOnly: boolean): DatabaseSync | null {
  let database: DatabaseSync | null = null
  try {
    database = new (process.getBuiltinModule('node:sqlite').DatabaseSync)(path, { readOnly })
    database.exec(sql)
    return database
  } catch {
    database?.close()
    return null
  }
}
