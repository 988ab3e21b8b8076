import { execFileSync } from 'node:child_process'
import { existsSync, mkdirSync } from 'node:fs'
import { dirname, join } from 'node:path'

const API_KEY = 'sk-e2e-0001'

/** The `langflow` program to test with; `undefined` where none is named. */
export function langflowBinary(): string | undefined {
  const binary = process.env.LANGFLOW_BIN
  if (binary !== undefined && !existsSync(binary))
    throw new Error(`LANGFLOW_BIN names ${binary}, which does not exist`)
  return binary
}

export const LANGFLOW_MISSING =
  'no LangFlow: set LANGFLOW_BIN to a langflow program (pip install "langflow-base[postgresql]==1.13.0" in a Python 3.11 venv)'

/** Writes the flow `echo`, or one that takes its time, into a directory for LANGFLOW_LOAD_FLOWS_PATH. */
export function writeFlow(binary: string, directory: string, flow: 'echo' | 'hold' = 'echo'): string {
  mkdirSync(directory, { recursive: true })
  const python = join(dirname(binary), 'python')
  execFileSync(python, [join(import.meta.dirname, `${flow}-flow.py`), join(directory, `${flow}.json`)], {
    env: { ...process.env, DO_NOT_TRACK: 'true' },
  })
  return directory
}

/** What one replica's LangFlow is told. */
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

/** How a flow is told a text. */
export function flowRequest(text: string) {
  return {
    method: 'POST',
    headers: { 'content-type': 'application/json', 'x-api-key': API_KEY },
    body: JSON.stringify({ input_value: text, input_type: 'chat', output_type: 'chat' }),
  }
}

/** Runs a flow that says what it hears. Resolves to what it said. */
export async function runEcho(port: number, text: string, flow = 'echo'): Promise<string> {
  const response = await fetch(`http://127.0.0.1:${port}/api/v1/run/${flow}?stream=false`, flowRequest(text))
  const body = await response.text()
  if (response.status !== 200) throw new Error(`the flow answered ${response.status}: ${body.slice(0, 500)}`)
  const answer = JSON.parse(body) as { outputs: { outputs: { results: { message: { text: string } } }[] }[] }
  return answer.outputs[0]?.outputs[0]?.results.message.text ?? ''
}
