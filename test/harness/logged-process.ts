import assert from 'node:assert/strict'
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { createInterface } from 'node:readline'
import type { EventName } from '../../agent/observe/log.ts'
import { Series } from './wait.ts'

export interface Line {
  readonly level: string
  readonly time: string
  readonly component: 'agent' | 'launcher' | 'front'
  readonly identity: string
  readonly event?: EventName
  readonly epoch?: number
  readonly reason?: string
  readonly code?: string
  readonly msg: string
  readonly [field: string]: unknown
}

const COMPONENTS: readonly unknown[] = ['agent', 'launcher', 'front'] satisfies Line['component'][]

/** Tells the product's lines from LangFlow's JSON lines, which also have an `event` and share the output. */
const isOurs = ({ component }: Partial<Line>) => COMPONENTS.includes(component)

/** `undefined` for output of the workload, and for a usage error. */
export function parseLine(text: string, isLine = isOurs): Line | undefined {
  if (!text.startsWith('{')) return undefined
  try {
    const line = JSON.parse(text) as Line
    return isLine(line) ? line : undefined
  } catch {
    return undefined
  }
}

export class LoggedProcess {
  readonly name: string
  readonly output: string[] = []
  readonly process: ChildProcess
  readonly gone: Promise<unknown>
  /** Resolves when the process has ended and all of its output has been read. */
  readonly exited: Promise<{ code: number | null; signal: NodeJS.Signals | null }>
  private readonly isLine: typeof isOurs
  private readonly log = new Series<Line>(() => `\n${this.name}:\n${this.output.join('\n')}`)

  /**
   * @param isLine for other programs, whose lines have another format
   * @param detached starts the process in its own session, so that a terminal's signals don't reach it
   */
  constructor(
    name: string,
    command: readonly string[],
    env: NodeJS.ProcessEnv = {},
    isLine = isOurs,
    detached = false,
  ) {
    this.name = name
    this.isLine = isLine
    const [program, ...args] = command
    this.process = spawn(program as string, args, {
      stdio: ['ignore', 'pipe', 'pipe'],
      env: { ...process.env, ...env },
      detached,
    })
    for (const stream of [this.process.stdout, this.process.stderr]) {
      createInterface({ input: stream as NodeJS.ReadableStream }).on('line', (line) => this.readLine(line))
    }
    this.gone = once(this.process, 'exit')
    this.exited = new Promise((resolve) =>
      this.process.once('close', (code, signal) => {
        resolve({ code, signal })
        this.log.end(`it ended with ${signal ?? `code ${code}`}`)
      }),
    )
  }

  get lines(): readonly Line[] {
    return this.log.list
  }

  get pid(): number {
    return this.process.pid as number
  }

  get ended(): boolean {
    return this.process.exitCode !== null || this.process.signalCode !== null
  }

  stopReading(): void {
    this.process.stdout?.pause()
  }

  protected readLine(text: string): void {
    this.output.push(text)
    const line = parseLine(text, this.isLine)
    if (line !== undefined) this.log.add(line)
  }

  /** The first matching line after the first `from` lines. Rejects with the whole log if none comes in time. */
  find(what: string, matches: (line: Line) => boolean, from = 0, withinMs?: number): Promise<Line> {
    return this.log.next(what, matches, from, withinMs)
  }

  event(event: EventName, from = 0, withinMs?: number): Promise<Line> {
    return this.find(event, (line) => line.event === event, from, withinMs)
  }

  events(): string[] {
    return this.lines.flatMap((line) => (line.event ? [line.event] : []))
  }

  /** The value of this field in the newest line that has it as a number. */
  lastNumber(field: string): number {
    const line = this.lines.findLast((one) => typeof one[field] === 'number')
    assert.ok(line, `${this.name}: no ${field} was logged`)
    return line[field] as number
  }

  signal(signal: NodeJS.Signals): void {
    this.process.kill(signal)
  }

  async stop(): Promise<number | null> {
    if (!this.ended) {
      this.signal('SIGCONT')
      this.signal('SIGTERM')
    }
    return (await this.exited).code
  }
}
