import { closeSync, existsSync, openSync, readdirSync, readSync } from 'node:fs'
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

/**
 * All that containers of one namespace write, read on the node: it goes on while the API server is stopped, and keeps
 * the logs of pods that are gone.
 */
export class PodLogs {
  readonly lines: LogLine[] = []
  readonly #namespace: string
  readonly #files = new Map<string, { fd: number; rest: string }>()
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
    if (!existsSync(DIRECTORY)) return
    const pods = readdirSync(DIRECTORY).filter((name) => name.startsWith(`${this.#namespace}_`))
    for (const pod of pods)
      for (const container of list(join(DIRECTORY, pod)))
        for (const file of list(join(DIRECTORY, pod, container)))
          this.#readFile(join(DIRECTORY, pod, container, file), pod.split('_')[1] as string, container)
    // Those of pods that are gone meanwhile: what they wrote last can still be read.
    for (const path of this.#files.keys()) this.#readMore(path)
  }

  close(): void {
    clearInterval(this.#timer)
    this.read()
    for (const { fd } of this.#files.values()) closeSync(fd)
    this.#files.clear()
  }

  #readFile(path: string, pod: string, container: string): void {
    if (this.#files.has(path)) return
    try {
      this.#files.set(path, { fd: openSync(path, 'r'), rest: '' })
      this.#owners.set(path, { pod, container })
    } catch {
      // Removed since it was listed.
    }
  }

  readonly #owners = new Map<string, { pod: string; container: string }>()

  #readMore(path: string): void {
    const file = this.#files.get(path)
    const owner = this.#owners.get(path)
    if (!file || !owner) return
    const buffer = Buffer.alloc(2 ** 16)
    for (let size = readSync(file.fd, buffer); size > 0; size = readSync(file.fd, buffer))
      file.rest += buffer.toString('utf8', 0, size)
    const lines = file.rest.split('\n')
    file.rest = lines.pop() as string
    // As the container runtime writes them: TIME STREAM F|P TEXT.
    for (const line of lines) {
      const [at = '', , , ...words] = line.split(' ')
      const text = words.join(' ')
      this.lines.push({ ...owner, at, text, line: parseLine(text) })
    }
  }
}

function list(directory: string): string[] {
  try {
    return readdirSync(directory)
  } catch {
    return []
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
