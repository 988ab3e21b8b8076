import { spawnSync } from 'node:child_process'
import { closeSync, constants, fstatSync, openSync, statSync } from 'node:fs'

// Each launcher has a FIFO beside the socket open for reading for as long as it lives. The kernel refuses to open a FIFO for
// writing (ENXIO) while no process has it open for reading, and counts each opening apart: whatever else the launcher opens and
// closes, such as a link that a flow made to this very file, its own stays open. A record lock would go with the first of those
// that is closed. A FIFO can be opened through a read-only mount, so a flow can delay the proof that a launcher is dead, and can't
// forge it.

const { O_NONBLOCK, O_RDONLY, O_WRONLY } = constants

/** The agent's side: the file's id, and whether a process has the lock. Makes the file if it is missing. */
export function lookAtLock(socket: string): { readonly id: string; readonly held: boolean } {
  const path = `${socket}.lock`
  const find = () => statSync(path, { bigint: true, throwIfNoEntry: false })
  // Node makes no FIFOs. Without the program nothing is ever proven.
  if (find() === undefined) spawnSync('mkfifo', ['-m', '644', path])
  const file = find()
  return { id: `${file?.dev}:${file?.ino}`, held: !file?.isFIFO() || isHeld(path) }
}

/** What can't be told counts as held. */
function isHeld(path: string): boolean {
  try {
    closeSync(openSync(path, O_WRONLY | O_NONBLOCK))
    return true
  } catch (error) {
    return (error as NodeJS.ErrnoException).code !== 'ENXIO'
  }
}

/** The launcher's side: it has the lock until what this returns is closed, or the process ends. `null`: it can't have it. */
export function holdLock(socket: string): { close(): void } | null {
  try {
    const file = openSync(`${socket}.lock`, O_RDONLY | O_NONBLOCK)
    if (fstatSync(file).isFIFO()) return { close: () => closeSync(file) }
    closeSync(file)
  } catch {
    // No agent has made it, or not for this user.
  }
  return null
}
