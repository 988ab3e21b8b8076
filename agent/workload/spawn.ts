import { type ChildProcess, spawn } from 'node:child_process'
import { existsSync } from 'node:fs'

/**
 * Executes the command in a session of its own, without stdin, its output passed through. `spawned` is called before
 * this returns to the event loop, so that the child cannot have been reaped yet. Rejects with one sentence.
 */
export async function spawnCommand(
  command: readonly string[],
  env: NodeJS.ProcessEnv,
  spawned: (child: ChildProcess & { pid: number }) => void,
): Promise<void> {
  const [file = '', ...args] = command
  if (file === '') throw new Error('cannot start the workload: give a command after "--"')
  try {
    const child = spawn(file, args, { env, detached: true, stdio: ['ignore', 'inherit', 'inherit'] })
    if (child.pid !== undefined) return spawned(child as ChildProcess & { pid: number })
    await new Promise((_, reject) => child.once('error', reject))
  } catch (error) {
    throw new Error(`cannot start "${file}": ${reasonOf(error as NodeJS.ErrnoException, file)}`, {
      cause: error,
    })
  }
}

function reasonOf(error: NodeJS.ErrnoException, file: string): string {
  switch (error.code) {
    case 'ENOENT':
      if (!file.includes('/')) return 'no such command in PATH'
      return existsSync(file) ? 'the interpreter that its first line names does not exist' : 'no such file'
    case 'EACCES':
      // A search that met a directory it may not read ends like this, too.
      if (!file.includes('/')) return 'no such command in PATH that this user may execute'
      return 'it is not an executable file, or this user may not execute it'
    case 'ENOEXEC':
      return 'it is no program for this machine, nor a script with a "#!" line'
    case 'E2BIG':
      return 'its arguments and environment are too long; shorten them'
    case 'EAGAIN':
    case 'ENOMEM':
      return 'too many processes or too little memory; raise the pod’s limits'
    default:
      return error.message
  }
}
