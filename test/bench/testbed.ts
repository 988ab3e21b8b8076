import { copyFileSync, existsSync, mkdirSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { BUNDLE } from '../harness/bundle.ts'
import { type ControlPlane, startControlPlane } from '../harness/control-plane.ts'
import type { LoggedProcess } from '../harness/logged-process.ts'
import { Guard } from '../harness/server-process.ts'

/** A replica that is told to end has drained, stopped and released by then. */
const END_WITHIN_MS = 20_000

/** What the bench stands on: the API server, a directory, and the knowledge of everything that it started. */
export class Testbed {
  readonly plane: ControlPlane
  readonly dir: string
  /** The bundle, copied, so that a build meanwhile changes nothing. */
  readonly main: string
  readonly #processes = new Set<LoggedProcess>()
  readonly #strays = new Set<number>()
  readonly #guard: Guard
  readonly #first: (() => Promise<unknown>)[] = []
  #files = 0
  #closed: Promise<void> | undefined

  private constructor(plane: ControlPlane, main: string) {
    this.plane = plane
    this.dir = mkdtempSync(join(tmpdir(), 'bench-'))
    this.#guard = new Guard(this.dir)
    this.main = join(this.dir, 'langflow-leader.mjs')
    copyFileSync(main, this.main)
    mkdirSync(join(this.dir, 'tmp'))
  }

  /** Throws one sentence where the bundle or the control plane's binaries are missing. */
  static async open(main = BUNDLE): Promise<Testbed> {
    if (!existsSync(main)) throw new Error(`there is no ${main}: run \`npm run build\` first`)
    return new Testbed(await startControlPlane({ audit: true }), main)
  }

  /** What processes under test are given, so that what a killed one leaves behind goes with the bench. */
  get env(): NodeJS.ProcessEnv {
    return { TMPDIR: join(this.dir, 'tmp') }
  }

  /** A path that nothing has yet. */
  path(name: string): string {
    this.#files += 1
    return join(this.dir, `${name}-${this.#files}`)
  }

  /** Sees to it that a process does not outlive the bench. Throws where the bench is ending already. */
  keep<P extends LoggedProcess>(one: P): P {
    if (this.#closed !== undefined) {
      one.signal('SIGKILL')
      throw new Error('the bench is ending')
    }
    this.#processes.add(one)
    void one.exited.then(() => {
      this.#processes.delete(one)
      this.#tellGuard()
    })
    this.#tellGuard()
    return one
  }

  /** The same for a process that another one started, and which nothing else would end. */
  keepStray(pid: number): void {
    this.#strays.add(pid)
    this.#tellGuard()
  }

  forgetStray(pid: number): void {
    this.#strays.delete(pid)
    this.#tellGuard()
  }

  /** What is to be ended before all else, the latest first. */
  endFirst(end: () => Promise<unknown>): void {
    this.#first.push(end)
  }

  /** On SIGINT and SIGTERM it is closed, and the program ends. */
  endOnSignals(): void {
    for (const [signal, code] of [
      ['SIGINT', 130],
      ['SIGTERM', 143],
    ] as const)
      process.once(signal, () => this.giveUp(signal, code))
  }

  /** Closes it, and ends the program with this exit code. */
  giveUp(why: string, code: number): void {
    process.stderr.write(`${why}: ending what was started\n`)
    void this.close().finally(() => process.exit(code))
  }

  /** Ends everything that was started; a second call waits for the same end. */
  close(): Promise<void> {
    this.#closed ??= this.#close()
    return this.#closed
  }

  async #close(): Promise<void> {
    for (const end of this.#first.reverse()) await end()
    await Promise.all([...this.#processes].map(end))
    await this.plane.close()
    await this.#guard.close()
    rmSync(this.dir, { recursive: true, force: true })
  }

  #tellGuard(): void {
    const strays = [...this.#strays].map((pid) => ({ pid, alive: true }))
    const own = [...this.#processes].map((one) => ({ pid: one.pid, alive: !one.ended }))
    this.#guard.watch([...own, ...strays])
  }
}

/** In the planned way, by SIGKILL if that takes too long. */
export async function end(one: LoggedProcess): Promise<void> {
  const timer = setTimeout(() => one.signal('SIGKILL'), END_WITHIN_MS)
  await one.stop()
  clearTimeout(timer)
}

const started = performance.now()

/** Tells on stderr what goes on. */
export function say(text: string): void {
  const seconds = Math.round((performance.now() - started) / 1000)
  const clock = `${Math.floor(seconds / 60)}:${String(seconds % 60).padStart(2, '0')}`
  process.stderr.write(`${clock.padStart(5)}  ${text}\n`)
}
