import { type ChildProcess, spawn } from 'node:child_process'
import { randomUUID } from 'node:crypto'
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import type { Readable } from 'node:stream'
import { BUNDLE } from '../support/bundle.ts'

/** Five times faster than by default. */
export const FAST = [
  '--lease-duration=3s',
  '--renew-deadline=2s',
  '--retry-period=500ms',
  '--kill-margin=500ms',
]
/** Only the end of a test that hangs. */
const PATIENCE_MS = 60_000

/** A demo as a child process, with a temporary directory of its own; all that it starts is found by a variable. */
export class DemoProcess {
  readonly stdout: string[] = []
  readonly stderr: string[] = []
  readonly ended: Promise<number | null>
  readonly #child: ChildProcess
  readonly #mark = randomUUID()
  readonly #tmp = mkdtempSync(join(tmpdir(), 'demo-test-'))
  readonly #listeners = new Set<() => void>()

  constructor(args: readonly string[], env: NodeJS.ProcessEnv = {}) {
    this.#child = spawn(process.execPath, [BUNDLE, 'demo', ...args], {
      stdio: ['ignore', 'pipe', 'pipe'],
      env: { ...process.env, TMPDIR: this.#tmp, DEMO_TEST: this.#mark, ...env },
    })
    this.#read(this.#child.stdout, this.stdout)
    this.#read(this.#child.stderr, this.stderr)
    this.ended = new Promise((resolve) => this.#child.once('close', (code) => resolve(code)))
  }

  signal(signal: NodeJS.Signals): void {
    this.#child.kill(signal)
  }

  /** Resolves with the first line of either output that matches. */
  line(pattern: RegExp): Promise<string> {
    return this.#until(`a line like ${pattern}`, () =>
      [...this.stdout, ...this.stderr].find((line) => pattern.test(line)),
    )
  }

  /** The command lines of all that lives, the demo included. */
  alive(): string[] {
    return readdirSync('/proc').flatMap((pid) => {
      const environment = read(`/proc/${pid}/environ`).split('\0')
      return environment.includes(`DEMO_TEST=${this.#mark}`)
        ? [read(`/proc/${pid}/cmdline`).replaceAll('\0', ' ')]
        : []
    })
  }

  /** What lies in its temporary directory. */
  files(): string[] {
    return readdirSync(this.#tmp, { recursive: true, encoding: 'utf8' })
  }

  /** Resolves once nothing lives and nothing lies there. */
  async gone(): Promise<void> {
    await this.#until('everything to be gone', () => this.alive().length === 0 && this.files().length === 0)
  }

  async dispose(): Promise<void> {
    this.signal('SIGTERM')
    await this.ended
    rmSync(this.#tmp, { recursive: true, force: true })
  }

  #read(stream: Readable | null, lines: string[]): void {
    createInterface({ input: stream as Readable }).on('line', (line) => {
      lines.push(line)
      for (const listener of this.#listeners) listener()
    })
  }

  #until<T>(what: string, look: () => T | undefined | false): Promise<T> {
    return new Promise((resolve, reject) => {
      const stop = () => {
        clearInterval(repeat)
        clearTimeout(end)
        this.#listeners.delete(check)
      }
      const check = () => {
        const found = look()
        if (found === undefined || found === false) return
        stop()
        resolve(found)
      }
      const repeat = setInterval(check, 50)
      const end = setTimeout(() => {
        stop()
        const seen = [...this.stdout, ...this.stderr, ...this.alive(), ...this.files()].join('\n')
        reject(new Error(`waited in vain for ${what}:\n${seen}`))
      }, PATIENCE_MS)
      this.#listeners.add(check)
      check()
    })
  }
}

/** '' where there is none, or none that may be read. */
function read(file: string): string {
  try {
    return readFileSync(file, 'latin1')
  } catch {
    return ''
  }
}
