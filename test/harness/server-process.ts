import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { closeSync, openSync, readFileSync } from 'node:fs'
import { until } from './wait.ts'

const TERM_MS = 5_000
const READY_WITHIN_MS = 60_000

export class ServerProcess {
  readonly pid: number
  readonly #child: ChildProcess
  readonly #log: string
  readonly #exited: Promise<unknown>

  constructor(command: string, args: readonly string[], log: string) {
    const output = openSync(log, 'a')
    this.#child = spawn(command, args, { stdio: ['ignore', output, output] })
    closeSync(output)
    this.#log = log
    this.#exited = once(this.#child, 'exit')
    if (this.#child.pid === undefined) throw new Error(`cannot start ${command}`)
    this.pid = this.#child.pid
  }

  get alive(): boolean {
    return this.#child.exitCode === null && this.#child.signalCode === null
  }

  signal(signal: NodeJS.Signals): void {
    if (this.alive) process.kill(this.pid, signal)
  }

  async stop(first: NodeJS.Signals = 'SIGTERM'): Promise<void> {
    this.signal(first)
    this.signal('SIGCONT')
    const timer = setTimeout(() => this.signal('SIGKILL'), TERM_MS)
    if (this.alive) await this.#exited
    clearTimeout(timer)
  }

  async ready(name: string, probe: () => Promise<boolean>): Promise<void> {
    await until(
      `${name} is ready`,
      async () => {
        if (!this.alive) throw new Error(`${name} ended`)
        return await probe().catch(() => false)
      },
      READY_WITHIN_MS,
    ).catch((error) => {
      throw new Error(`${error.message}:\n${readFileSync(this.#log, 'utf8').slice(-2000)}`)
    })
  }
}

/**
 * Ends a test's processes when the test itself ends, even if it is killed. A shell waits for the end of its input. Then it kills
 * the processes in the last line that it read, and removes the directory.
 */
export class Guard {
  readonly #child: ChildProcess
  readonly #exited: Promise<unknown>

  constructor(dir: string) {
    const script = 'while read -r line; do pids=$line; done; [ -z "$pids" ] || kill -KILL $pids; rm -rf "$1"'
    this.#child = spawn('sh', ['-c', script, 'guard', dir], {
      stdio: ['pipe', 'ignore', 'ignore'],
      detached: true,
    })
    this.#exited = once(this.#child, 'exit')
    this.#child.stdin!.on('error', () => {})
  }

  watch(processes: readonly { readonly alive: boolean; readonly pid: number }[]): void {
    const pids = processes.filter(({ alive }) => alive).map(({ pid }) => pid)
    this.#child.stdin!.write(`${pids.join(' ')}\n`)
  }

  async close(): Promise<void> {
    this.#child.stdin!.end()
    await this.#exited
  }
}
