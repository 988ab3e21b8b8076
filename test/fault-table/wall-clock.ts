import { existsSync, readdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'

const LIBRARIES = '/usr/lib'

/** Throws one sentence where it is not installed. */
export function faketimeLibrary(): string {
  const found = ['', ...readdirSync(LIBRARIES)]
    .map((folder) => join(LIBRARIES, folder, 'faketime/libfaketime.so.1'))
    .find((path) => existsSync(path))
  if (found === undefined) throw new Error('libfaketime is not installed (package faketime)')
  return found
}

/** The wall clock of those processes that are started with its environment, and of no others. */
export class WallClock {
  readonly #file: string
  readonly env: NodeJS.ProcessEnv

  constructor(file: string) {
    this.#file = file
    this.env = {
      LD_PRELOAD: faketimeLibrary(),
      FAKETIME_TIMESTAMP_FILE: file,
      FAKETIME_NO_CACHE: '1',
      FAKETIME_DONT_FAKE_MONOTONIC: '1',
    }
    this.set(0)
  }

  /** Seconds ahead of the machine's (negative: behind). */
  set(offset: number): void {
    writeFileSync(this.#file, `${offset < 0 ? '' : '+'}${offset}\n`)
  }
}
