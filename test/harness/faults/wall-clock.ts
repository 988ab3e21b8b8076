import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'

export class WallClock {
  readonly #file: string
  readonly flags: { readonly agentFlags: readonly string[]; readonly launcherFlags: readonly string[] }

  constructor(file: string) {
    this.#file = file
    const url = pathToFileURL(join(import.meta.dirname, 'shift-wall-clock.mjs'))
    url.searchParams.set('file', file)
    this.flags = { agentFlags: [`--import=${url}`], launcherFlags: [`--import=${url}`] }
    this.set(0)
  }

  set(offset: number): void {
    writeFileSync(this.#file, String(offset))
  }
}
