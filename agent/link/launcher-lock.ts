import { spawnSync } from 'node:child_process'
import { closeSync, constants, fstatSync, openSync, statSync } from 'node:fs'

// Each launcher keeps a FIFO beside the socket open for reading during its whole life. The kernel refuses to open a
// FIFO for writing (ENXIO) while no process has it open for reading, and counts each opening separately. So the
// launcher's own opening stays, even if the launcher opens and closes another path to this file, such as a link that a
// flow created. A record lock would be lost at the first such close. A FIFO can be opened through a read-only mount, so
// a flow can delay the proof that a launcher is dead, but cannot forge it.

const { O_NONBLOCK, O_RDONLY, O_WRONLY } = constants

/** The agent's side: the file's id, and whether a process has the lock. Creates the file if it is missing. */
export function lookAtLock(socket: string): { readonly id: string; readonly held: boolean } {
  const path = `${socket}.lock`
  const find = () => statSync(path, { bigint: true, throwIfNoEntry: false })
  // Node cannot create FIFOs. Without `mkfifo`, nothing is ever proven.
  if (find() === undefined) spawnSync('mkfifo', ['-m', '644', path])
  const file = find()
  return { id: `${file?.dev}:${file?.ino}`, held: !file?.isFIFO() || isHeld(path) }
}

/** An unclear result counts as held. */
function isHeld(path: string): boolean {
  try {
    closeSync(openSync(path, O_WRONLY | O_NONBLOCK))
    return true
  } catch (error) {
    return (error as NodeJS.ErrnoException).code !== 'ENXIO'
  }
}

/** The launcher's side: it has the lock until the returned object is closed, or the process ends. */
export function holdLock(socket: string): { close(): void } | null {
  try {
    const file = openSync(`${socket}.lock`, O_RDONLY | O_NONBLOCK)
    if (fstatSync(file).isFIFO()) return { close: () => closeSync(file) }
    closeSync(file)
  } catch {
    // No agent has created the FIFO, or this user may not open it.
  }
  return null
}
