import assert from 'node:assert/strict'
import { type ChildProcess, spawn } from 'node:child_process'
import { createInterface } from 'node:readline'
import type { EventName } from '../../agent/observe/events.ts'

/** One line of a replica's log. */
export interface Line {
  readonly level: string
  readonly time: string
  readonly component: 'agent' | 'launcher'
  readonly identity: string
  readonly event?: EventName
  readonly epoch?: number
  readonly reason?: string
  readonly msg: string
  readonly [field: string]: unknown
}

/** How long any awaited event may take; no measurement, only the end of a test that hangs. */
const PATIENCE_MS = 90_000

/** A child process that is read through the JSON lines it logs. */
export class LoggedProcess {
  readonly name: string
  readonly lines: Line[] = []
  readonly output: string[] = []
  readonly process: ChildProcess
  readonly exited: Promise<{ code: number | null; signal: NodeJS.Signals | null }>
  private readonly listeners = new Set<() => void>()

  constructor(name: string, command: readonly string[], env: NodeJS.ProcessEnv = {}) {
    this.name = name
    const [program, ...args] = command
    this.process = spawn(program as string, args, {
      stdio: ['ignore', 'pipe', 'pipe'],
      env: { ...process.env, ...env },
    })
    for (const stream of [this.process.stdout, this.process.stderr]) {
      createInterface({ input: stream as NodeJS.ReadableStream }).on('line', (line) => this.hear(line))
    }
    this.exited = new Promise((resolve) =>
      this.process.once('close', (code, signal) => {
        resolve({ code, signal })
        for (const listener of this.listeners) listener()
      }),
    )
  }

  /** As a log collector that hangs: whatever is written stays in the pipe. */
  stopReading(): void {
    this.process.stdout?.pause()
  }

  get pid(): number {
    return this.process.pid as number
  }

  get ended(): boolean {
    return this.process.exitCode !== null || this.process.signalCode !== null
  }

  private hear(text: string): void {
    this.output.push(text)
    try {
      this.lines.push(JSON.parse(text) as Line)
    } catch {
      // The workload's own output, or a usage error.
    }
    for (const listener of this.listeners) listener()
  }

  /** The first line since `from` lines that matches; rejects with the log when it does not come. */
  async find(what: string, matches: (line: Line) => boolean, from = 0): Promise<Line> {
    const look = () => this.lines.slice(from).find(matches)
    const found = look()
    if (found) return found
    return new Promise((resolve, reject) => {
      const give = (reason: string) => {
        this.listeners.delete(listener)
        clearTimeout(timer)
        reject(new Error(`${this.name}: ${what} ${reason}\n${this.output.join('\n')}`))
      }
      const timer = setTimeout(() => give('did not come'), PATIENCE_MS)
      const listener = () => {
        const line = look()
        if (line) {
          this.listeners.delete(listener)
          clearTimeout(timer)
          resolve(line)
        } else if (this.ended) {
          give(`did not come before the end (exit code ${this.process.exitCode})`)
        }
      }
      this.listeners.add(listener)
      listener()
    })
  }

  event(event: EventName, from = 0): Promise<Line> {
    return this.find(event, (line) => line.event === event, from)
  }

  events(): string[] {
    return this.lines.flatMap((line) => (line.event ? [line.event] : []))
  }

  /** The newest line that carries a number under this name. */
  lastNumber(field: string): number {
    const line = this.lines.findLast((one) => typeof one[field] === 'number')
    assert.ok(line, `${this.name}: no ${field} was logged`)
    return line[field] as number
  }

  signal(signal: NodeJS.Signals): void {
    this.process.kill(signal)
  }

  /** Ends it in the planned way, whatever state a test left it in. */
  async stop(): Promise<number | null> {
    if (!this.ended) {
      this.signal('SIGCONT')
      this.signal('SIGTERM')
    }
    return (await this.exited).code
  }
}
