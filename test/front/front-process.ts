import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import type { Duplex } from 'node:stream'
import { FRONT_NODE_FLAGS } from '../../agent/front/agent-side/front-process.ts'
import type { FromFront, FrontConfig, FrontCounts } from '../../agent/front/front-messages.ts'
import { BUNDLE } from '../harness/bundle.ts'
import { FrontDriver } from './fixture.ts'

export class FrontProcess extends FrontDriver {
  output = ''
  readonly #child: ChildProcess

  private constructor(main: string, entry: readonly string[]) {
    const [program = '', ...args] = [...entry, process.execPath, ...FRONT_NODE_FLAGS, main, 'front']
    const child = spawn(program, args, {
      stdio: ['ignore', 'pipe', 'pipe', 'pipe'],
      // The test runner sets variables that an agent doesn't have.
      env: { PATH: process.env.PATH },
    })
    super(child.stdio[3] as Duplex)
    this.#child = child
    for (const stream of [child.stdout, child.stderr]) {
      stream?.setEncoding('utf8').on('data', (text: string) => {
        this.output += text
      })
    }
    child.once('exit', (code, signal) =>
      this.reports.end(`the front ended with ${signal ?? code}: ${this.output}`),
    )
  }

  static async start(
    targetPort: number,
    config: Partial<FrontConfig> = {},
    main = BUNDLE,
    entry: readonly string[] = [],
  ): Promise<FrontProcess> {
    const front = new FrontProcess(main, entry)
    await front.begin({ target: { host: '127.0.0.1', port: targetPort }, ...config })
    return front
  }

  get pid(): number {
    return this.#child.pid as number
  }

  async counted(what: string, holds: (counts: FrontCounts) => boolean): Promise<void> {
    const from = this.reports.list.findLastIndex((message) => message.type === 'counts')
    const matches = (message: FromFront) => message.type === 'counts' && holds(message.counts)
    await this.reports.next(what, matches, Math.max(from, 0))
  }

  closePipe(): Promise<unknown[]> {
    const exited = once(this.#child, 'exit')
    this.channel.end()
    return exited
  }

  async stop(): Promise<void> {
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return
    this.#child.kill('SIGKILL')
    await once(this.#child, 'exit')
  }
}
