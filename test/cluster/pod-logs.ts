import { closeSync, globSync, openSync, readSync } from 'node:fs'
import { join } from 'node:path'
import type { Line } from '../harness/logged-process.ts'

const DIRECTORY = '/var/log/pods'
const LOOK_MS = 100

export interface LogLine {
  readonly pod: string
  readonly container: string
  readonly at: string
  readonly text: string
  /** Where it is one of ours. */
  readonly line: Line | null
}

interface LogFile {
  readonly pod: string
  readonly container: string
  readonly fd: number
  /** A line that is not whole yet. */
  rest: string
}

/**
 * All that containers of one namespace write, read on the node: it goes on while the API server is stopped, and keeps
 * the logs of pods that are gone.
 */
export class PodLogs {
  readonly lines: LogLine[] = []
  readonly #namespace: string
  readonly #files = new Map<string, LogFile>()
  readonly #timer: NodeJS.Timeout

  constructor(namespace: string) {
    this.#namespace = namespace
    this.#timer = setInterval(() => this.read(), LOOK_MS)
  }

  /** The agent's and launcher's lines of one pod, or of all, from line `from` on. */
  ours(pod?: string, from = 0): Line[] {
    return this.lines
      .slice(from)
      .flatMap(({ pod: of, line }) => (line !== null && (pod === undefined || of === pod) ? [line] : []))
  }

  read(): void {
    for (const path of globSync(join(DIRECTORY, `${this.#namespace}_*/*/*`))) this.#open(path)
    // Those of pods that are gone meanwhile as well: what they wrote last can still be read.
    for (const file of this.#files.values()) this.#readOn(file)
  }

  close(): void {
    clearInterval(this.#timer)
    this.read()
    for (const { fd } of this.#files.values()) closeSync(fd)
    this.#files.clear()
  }

  #open(path: string): void {
    if (this.#files.has(path)) return
    const [directory = '', container = ''] = path.split('/').slice(-3)
    try {
      const pod = directory.split('_')[1] as string
      this.#files.set(path, { pod, container, fd: openSync(path, 'r'), rest: '' })
    } catch {
      // Removed since it was listed.
    }
  }

  #readOn(file: LogFile): void {
    const buffer = Buffer.alloc(2 ** 16)
    for (let size = readSync(file.fd, buffer); size > 0; size = readSync(file.fd, buffer))
      file.rest += buffer.toString('utf8', 0, size)
    const lines = file.rest.split('\n')
    file.rest = lines.pop() as string
    // As the container runtime writes them: TIME STREAM F|P TEXT.
    for (const line of lines) {
      const [at = '', , , ...words] = line.split(' ')
      const text = words.join(' ')
      this.lines.push({ pod: file.pod, container: file.container, at, text, line: parseLine(text) })
    }
  }
}

function parseLine(text: string): Line | null {
  if (!text.startsWith('{')) return null
  try {
    return JSON.parse(text) as Line
  } catch {
    return null
  }
}
