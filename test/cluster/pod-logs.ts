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
 * The logs of all containers in one namespace, read from the node's files. This also works while the API server is stopped,
 * and keeps the logs of deleted pods.
 */
export class PodLogs {
  readonly lines: LogLine[] = []
  readonly #namespace: string
  readonly #files = new Map<string, { readonly fd: number; rest: string }>()
  readonly #timer = setInterval(() => this.#read(), LOOK_MS)

  constructor(namespace: string) {
    this.#namespace = namespace
  }

  /** The lines that one pod's agent and launcher have logged so far. */
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
        // The file was removed after it was listed.
      }
    }
    // Open files of deleted pods are read too, since they may have new last lines.
    for (const [path, file] of this.#files) {
      const buffer = Buffer.alloc(2 ** 16)
      for (let size = readSync(file.fd, buffer); size > 0; size = readSync(file.fd, buffer))
        file.rest += buffer.toString('utf8', 0, size)
      const lines = file.rest.split('\n')
      file.rest = lines.pop() as string
      const [directory = '', container = ''] = path.split('/').slice(-3)
      const pod = directory.split('_')[1] as string
      // The container runtime's format: TIME STREAM F|P TEXT.
      for (const line of lines) {
        const [at = '', , , ...words] = line.split(' ')
        this.lines.push({ pod, container, at, text: words.join(' ') })
      }
    }
  }
}
