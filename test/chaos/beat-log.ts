import { closeSync, existsSync, openSync, readSync } from 'node:fs'
import type { Beat } from '../support/beats.ts'

const CHUNK_BYTES = 2 ** 18

/** Reads what the workloads add to their log, and nothing twice. */
export class BeatLog {
  readonly #file: string
  readonly #buffer = Buffer.allocUnsafe(CHUNK_BYTES)
  #fd: number | undefined
  #offset = 0
  #rest = ''

  constructor(file: string) {
    this.#file = file
  }

  /** Every whole line since the last call. */
  *read(): Generator<Beat> {
    if (this.#fd === undefined) {
      if (!existsSync(this.#file)) return
      this.#fd = openSync(this.#file, 'r')
    }
    for (;;) {
      const length = readSync(this.#fd, this.#buffer, 0, CHUNK_BYTES, this.#offset)
      if (length === 0) return
      this.#offset += length
      const lines = (this.#rest + this.#buffer.toString('latin1', 0, length)).split('\n')
      this.#rest = lines.pop() as string
      for (const line of lines) yield JSON.parse(line) as Beat
    }
  }

  close(): void {
    if (this.#fd !== undefined) closeSync(this.#fd)
  }
}
