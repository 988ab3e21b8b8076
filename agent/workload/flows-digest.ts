import { createHash } from 'node:crypto'
import { readdir, readFile, stat } from 'node:fs/promises'
import { join } from 'node:path'

/** What LangFlow loads at its start: every `*.json` of a directory, not of those below it. */
export class FlowsDigest {
  private readonly directory: string | null
  private looks = ''
  private digest = ''

  /** `null`: it loads none. */
  constructor(directory: string | null) {
    this.directory = directory
  }

  /**
   * Whether their names or contents are others than at the last call. Files are read only where size or time have
   * changed. What cannot be read counts as unchanged: LangFlow could not load it either.
   */
  async changed(): Promise<boolean> {
    if (this.directory === null) return false
    try {
      const names = (await readdir(this.directory)).filter((name) => name.endsWith('.json')).sort()
      const found = (
        await Promise.all(names.map((name) => look(join(this.directory as string, name))))
      ).flat()
      const looks = found.map((file) => file.looks).join()
      if (looks === this.looks) return false
      const digest = await digestOf(found.map(({ path }) => path))
      const changed = digest !== this.digest
      this.looks = looks
      this.digest = digest
      return changed
    } catch {
      return false
    }
  }
}

/** Nothing for a directory: LangFlow passes over it, whatever its name. */
async function look(path: string): Promise<{ path: string; looks: string }[]> {
  const seen = await stat(path)
  return seen.isFile() ? [{ path, looks: `${path}:${seen.ino}:${seen.size}:${seen.mtimeMs}` }] : []
}

async function digestOf(files: readonly string[]): Promise<string> {
  const hash = createHash('sha256')
  for (const path of files) {
    const content = await readFile(path)
    hash.update(`${path}\0${content.length}\0`).update(content)
  }
  return hash.digest('hex')
}
