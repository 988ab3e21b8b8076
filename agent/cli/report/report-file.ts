import { existsSync } from 'node:fs'
import { rename, rm, writeFile } from 'node:fs/promises'
import { FatalError } from '../../exit.ts'

/** Writes a new file that only its owner can read, whole or not at all. Rejects with a `FatalError`. */
export async function writeReport(path: string, text: string): Promise<void> {
  if (existsSync(path)) throw new FatalError(`cannot write ${path}: the file exists: choose another --file`)
  const draft = `${path}.${process.pid}.tmp`
  try {
    await writeFile(draft, text, { flag: 'wx', mode: 0o600, flush: true })
    await rename(draft, path)
  } catch (error) {
    await rm(draft, { force: true })
    // Without the system call and the name of the draft.
    const [why] = (error as Error).message.split(', ')
    throw new FatalError(`cannot write ${path}: ${why}`, { cause: error })
  }
}
