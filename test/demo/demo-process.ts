import { type ChildProcess, spawn } from 'node:child_process'
import { randomUUID } from 'node:crypto'
import { mkdtempSync, readdirSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import type { Readable } from 'node:stream'
import { carries, commandLineOf, readProcesses } from '../../agent/processes/proc.ts'
import { until } from '../harness/wait.ts'

const MAIN = join(import.meta.dirname, 'main.ts')

const HANGS_MS = 60_000

/** A demo as a child process with its own temporary directory. An environment variable marks every process that it starts. */
export class DemoProcess {
  readonly stdout: string[] = []
  readonly stderr: string[] = []
  readonly ended: Promise<number | null>
  readonly #child: ChildProcess
  readonly #mark = randomUUID()
  readonly #tmp = mkdtempSync(join(tmpdir(), 'demo-test-'))

  constructor(args: readonly string[]) {
    this.#child = spawn(process.execPath, [MAIN, ...args], {
      stdio: ['ignore', 'pipe', 'pipe'],
      env: { ...process.env, TMPDIR: this.#tmp, DEMO_TEST: this.#mark },
    })
    const read = (stream: Readable | null, lines: string[]) =>
      createInterface({ input: stream as Readable }).on('line', (line) => lines.push(line))
    read(this.#child.stdout, this.stdout)
    read(this.#child.stderr, this.stderr)
    this.ended = new Promise((resolve) => this.#child.once('close', (code) => resolve(code)))
  }

  signal(signal: NodeJS.Signals): void {
    this.#child.kill(signal)
  }

  line(pattern: RegExp): Promise<void> {
    return until(
      `the demo prints a line like ${pattern}`,
      () => this.stdout.some((line) => pattern.test(line)),
      HANGS_MS,
    )
  }

  left(): string[] {
    return [...this.alive(), ...readdirSync(this.#tmp)]
  }

  alive(): string[] {
    const mark = Buffer.from(`DEMO_TEST=${this.#mark}\0`)
    const pids = [...readProcesses().keys()].filter((pid) => carries(pid, mark) === 'yes')
    return pids.map(commandLineOf)
  }

  gone(): Promise<void> {
    return until('no process and no file of the demo is left', () => this.left().length === 0, HANGS_MS)
  }

  async dispose(): Promise<void> {
    this.signal('SIGTERM')
    await this.ended
    rmSync(this.#tmp, { recursive: true, force: true })
  }
}
