import { execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { accessSync, constants, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { delimiter, join } from 'node:path'
import { promisify } from 'node:util'
import { DEPLOY } from '../deploy/manifests.ts'
import { freePort } from '../harness/free-port.ts'
import { until } from '../harness/wait.ts'

const run = promisify(execFile)
/** Where Debian puts servers, which is not on everybody's PATH. */
const PLACES = [...(process.env.PATH ?? '').split(delimiter), '/usr/sbin', '/usr/local/sbin']

/** A frozen LangFlow never answers. */
const ANSWER_WITHIN_MS = 2_000

/** Ports on loopback of one replica. */
export interface Backend {
  readonly port: number
  readonly httpPort: number
}

const KINDS = {
  haproxy: {
    file: 'haproxy/haproxy.cfg',
    check: (file: string) => ['-c', '-f', file],
    start: (file: string) => ['-db', '-f', file],
  },
  nginx: {
    file: 'nginx/nginx.conf',
    check: (file: string) => ['-t', '-c', file],
    start: (file: string) => ['-c', file, '-g', 'daemon off; error_log stderr;'],
  },
} as const
export type FrontKind = keyof typeof KINDS
export const FRONTS = Object.keys(KINDS) as FrontKind[]

/** A real HAProxy or nginx with the file of deploy/examples, in front of two replicas on loopback. */
export class Front {
  readonly url: string
  private readonly directory: string
  private readonly process

  private constructor(program: string, kind: FrontKind, file: string, directory: string, port: number) {
    this.url = `http://127.0.0.1:${port}`
    this.directory = directory
    this.process = spawn(program, KINDS[kind].start(file), { stdio: 'ignore' })
  }

  /** Throws one sentence where the program is missing, and what it says where it refuses the file. */
  static async start(kind: FrontKind, backends: readonly [Backend, Backend]): Promise<Front> {
    const program = find(kind)
    const directory = mkdtempSync(join(tmpdir(), `${kind}-`))
    const file = join(directory, 'front.conf')
    const port = await freePort()
    // Addresses in regular expressions too.
    let text = readFileSync(join(DEPLOY, 'examples', KINDS[kind].file), 'utf8').replaceAll('\\.', '.')
    for (const [i, backend] of backends.entries()) {
      const address = `10.0.0.1${i + 1}`
      text = text
        .replaceAll(`${address}:7860 port 8090`, `127.0.0.1:${backend.port} port ${backend.httpPort}`)
        .replaceAll(`${address}:8090`, `127.0.0.1:${backend.httpPort}`)
        .replaceAll(`${address}:7860`, `127.0.0.1:${backend.port}`)
    }
    text = text
      .replace('bind :7860', `bind 127.0.0.1:${port}`)
      .replace('listen 7860', `listen 127.0.0.1:${port}`)
      .replace('/run/nginx.pid', join(directory, 'pid'))
    writeFileSync(file, text)
    await run(program, KINDS[kind].check(file))
    const front = new Front(program, kind, file, directory, port)
    await until(`${kind} answers`, async () => (await front.ask('/').catch(() => undefined)) !== undefined)
    return front
  }

  async ask(path: string, init: RequestInit = {}): Promise<{ status: number; text: string }> {
    const response = await fetch(this.url + path, { signal: AbortSignal.timeout(ANSWER_WITHIN_MS), ...init })
    return { status: response.status, text: await response.text() }
  }

  async close(): Promise<void> {
    if (this.process.exitCode === null && this.process.signalCode === null) {
      this.process.kill('SIGTERM')
      await once(this.process, 'exit')
    }
    rmSync(this.directory, { recursive: true })
  }
}

function find(program: string): string {
  const found = PLACES.map((place) => join(place, program)).find((path) => {
    try {
      accessSync(path, constants.X_OK)
      return true
    } catch {
      return false
    }
  })
  if (found !== undefined) return found
  throw new Error(`${program} is not installed: apt-get install haproxy nginx-light`)
}
