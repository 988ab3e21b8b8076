import { execFileSync } from 'node:child_process'
import { existsSync, mkdirSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { after, type TestContext, test } from 'node:test'
import { Client } from './client.ts'
import { startControlPlane } from './control-plane.ts'
import { freePort } from './free-port.ts'
import type { Line } from './logged-process.ts'
import { type Postgres, startPostgres } from './postgres.ts'
import type { Replica, ReplicaOptions } from './replica.ts'
import { ApiServerScene, type Linked } from './scene.ts'

export const API_KEY = 'sk-e2e-0001'

function binaryOf(variable: string): string | undefined {
  const binary = process.env[variable]
  if (binary !== undefined && !existsSync(binary))
    throw new Error(`${variable} is set to ${binary}, which does not exist`)
  return binary
}

export const langflowBinary = () => binaryOf('LANGFLOW_BIN')
export const olderLangflowBinary = () => binaryOf('LANGFLOW_OLDER_BIN')

export const LANGFLOW_MISSING =
  'no LangFlow: set LANGFLOW_BIN to a langflow program (pip install "langflow-base[postgresql]==1.13.0" in a Python 3.11 venv)'

/** Writes one of the flows in `flows` into a directory for LANGFLOW_LOAD_FLOWS_PATH. */
export function writeFlow(
  binary: string,
  directory: string,
  flow: 'echo' | 'hold' | 'text' = 'echo',
): string {
  mkdirSync(directory, { recursive: true })
  const python = join(dirname(binary), 'python')
  execFileSync(
    python,
    [join(import.meta.dirname, `flows/${flow}-flow.py`), join(directory, `${flow}.json`)],
    { env: { ...process.env, DO_NOT_TRACK: 'true' } },
  )
  return directory
}

export function langflowEnvironment(directory: string, port: number, flows: string): NodeJS.ProcessEnv {
  mkdirSync(directory, { recursive: true })
  return {
    DO_NOT_TRACK: 'true',
    LANGFLOW_AUTO_LOGIN: 'true',
    LANGFLOW_SKIP_AUTH_AUTO_LOGIN: 'true',
    LANGFLOW_SUPERUSER: 'admin',
    LANGFLOW_SUPERUSER_PASSWORD: 'e2e-password',
    LANGFLOW_SECRET_KEY: 'ZTJlIHNlY3JldCBrZXkgdGhhdCBldmVyeSBvbmUgaGE=',
    LANGFLOW_API_KEY_SOURCE: 'env',
    LANGFLOW_API_KEY: API_KEY,
    LANGFLOW_CONFIG_DIR: directory,
    LANGFLOW_DATABASE_URL: `sqlite:///${directory}/langflow.db`,
    LANGFLOW_HOST: '127.0.0.1',
    LANGFLOW_PORT: String(port),
    LANGFLOW_LOG_LEVEL: 'warning',
    LANGFLOW_LOAD_FLOWS_PATH: flows,
    LANGFLOW_CREATE_STARTER_PROJECTS: 'false',
  }
}

export const ECHO_PATH = '/api/v1/run/echo?stream=false'

export function flowRequest(text: string, key = API_KEY) {
  return {
    method: 'POST' as const,
    headers: { 'content-type': 'application/json', 'x-api-key': key },
    body: JSON.stringify({ input_value: text, input_type: 'chat', output_type: 'chat' }),
  }
}

export async function runEcho(port: number, text: string, flow = 'echo'): Promise<string> {
  const response = await fetch(`http://127.0.0.1:${port}/api/v1/run/${flow}?stream=false`, flowRequest(text))
  const body = await response.text()
  if (response.status !== 200)
    throw new Error(`LangFlow answered the flow's run with ${response.status}: ${body.slice(0, 500)}`)
  return outputOf(body)
}

export function outputOf(body: string): string {
  const answer = JSON.parse(body) as { outputs: { outputs: { results: { message: { text: string } } }[] }[] }
  return answer.outputs[0]?.outputs[0]?.results.message.text ?? ''
}

export function flowClient(
  ports: readonly number[],
  { everyMs = 500, withinMs = 60_000, path = ECHO_PATH } = {},
): Client<string> {
  let turn = 0
  const target = () => {
    const port = ports[turn++ % ports.length]
    return { to: String(port), url: `http://127.0.0.1:${port}${path}` }
  }
  return new Client<string>({ everyMs, withinMs, target, asked: flowRequest('hello'), read: outputOf })
}

const STARTS_WITHIN_MS = 270_000

/** Replicas with a real LangFlow, each with its own home in the scene's directory. The database is SQLite by default. */
export class LangflowScene extends ApiServerScene {
  readonly binary = langflowBinary() as string
  readonly flows = writeFlow(this.binary, join(this.dir, 'flows'))

  protected override async prepare(identity: string, { env, flags = [], ...more }: Partial<ReplicaOptions>) {
    const port = more.port ?? (await freePort())
    // LangFlow keeps lock files there. In a pod, each LangFlow has its own directory.
    const TMPDIR = join(this.dir, `${identity}-tmp`)
    mkdirSync(TMPDIR, { recursive: true })
    return super.prepare(identity, {
      port,
      command: [this.binary, 'run', '--backend-only'],
      ...more,
      flags: ['--stop-timeout=60s', ...flags],
      env: { TMPDIR, ...langflowEnvironment(join(this.dir, identity), port, this.flows), ...env },
    })
  }

  async withFront(
    identity: string,
    { flags = [], ...more }: Partial<ReplicaOptions> = {},
  ): Promise<Replica & Linked & { readonly front: number }> {
    const front = await freePort()
    const at = `127.0.0.1:${front}`
    const ofFront = ['--traffic=front', `--front-listen=${at}`]
    // On a busy machine, the run of a flow can take longer than the default drain timeout, and wait longer than the queue wait.
    const replica = await this.replica(identity, {
      ...more,
      flags: [...ofFront, '--drain-timeout=30s', '--queue-wait=0', ...flags],
    })
    return Object.assign(replica, { front })
  }

  serves(replica: Replica, from = 0): Promise<Line> {
    return replica.event('serving', from, STARTS_WITHIN_MS)
  }

  standsBy(replica: Replica): Promise<Line> {
    return replica.event('standby_ready', 0, STARTS_WITHIN_MS)
  }
}

interface Given {
  readonly scene: LangflowScene
  readonly postgres: Postgres
  readonly another: () => Promise<LangflowScene>
}

/** Registers tests with a real LangFlow, on one API server and one PostgreSQL. They are skipped if LangFlow is missing. */
export async function langflowTests() {
  const plane = await startControlPlane()
  after(() => plane.close())
  const postgres = await startPostgres()
  after(() => postgres.close())
  return (title: string, run: (given: Given, t: TestContext) => Promise<unknown>): void => {
    test(title, async (t) => {
      if (langflowBinary() === undefined) return t.skip(LANGFLOW_MISSING)
      const another = () => LangflowScene.open(plane, t)
      await run({ scene: await another(), postgres, another }, t)
    })
  }
}
