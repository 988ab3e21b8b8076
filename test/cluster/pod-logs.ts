import { closeSync, globSync, openSync, readSync } from 'node:fs'
import { type Line, parseLine } from '../harness/logged-process.ts'

const LOOK_MS = 100

interface LogLine {
  readonly pod: string
  readonly container: string
  readonly at: string
  readonly text: string
}

/**
 * All that containers of one namespace write, read on the node: it goes on while the API server is stopped, and keeps
 * the logs of pods that are gone.
 */
export class PodLogs {
  readonly lines: LogLine[] = []
  readonly #namespace: string
  readonly #files = new Map<string, { readonly fd: number; rest: string }>()
  readonly #timer = setInterval(() => this.#read(), LOOK_MS)

  constructor(namespace: string) {
    this.#namespace = namespace
  }

  /** What agent and launcher of one pod have logged until now. */
  ours(pod: string): Line[] {
    this.#read()
    return this.lines.flatMap((line) => (line.pod === pod ? (parseLine(line.text) ?? []) : []))
  }

  close(): void {
    clearInterval(this.#timer)
    for (const { fd } of this.#files.values()) closeSync(fd)
    this.#files.clear()
  }

  #read(): void {
    for (const path of globSync(`/var/log/pods/${this.#namespace}_*/*/*`)) {
      if (this.#files.has(path)) continue
      try {
        this.#files.set(path, { fd: openSync(path, 'r'), rest: '' })
      } catch {
        // Removed since it was listed.
      }
    }
    // Those of pods that are gone meanwhile as well: what they wrote last can still be read.
    for (const [path, file] of this.#files) {
      const buffer = Buffer.alloc(2 ** 16)
      for (let size = readSync(file.fd, buffer); size > 0; size = readSync(file.fd, buffer))
        file.rest += buffer.toString('utf8', 0, size)
      const lines = file.rest.split('\n')
      file.rest = lines.pop() as string
      const [directory = '', container = ''] = path.split('/').slice(-3)
      const pod = directory.split('_')[1] as string
      // As the container runtime writes them: TIME STREAM F|P TEXT.
      for (const line of lines) {
        const [at = '', , , ...words] = line.split(' ')
        this.lines.push({ pod, container, at, text: words.join(' ') })
      }
    }
  }
}
