import { execFile } from 'node:child_process'
import { readFile, stat } from 'node:fs/promises'
import { basename, delimiter, dirname } from 'node:path'
import { findProgram } from '../processes/spawn.ts'
import { readLangflowCommand } from './langflow-command.ts'

/** Parsing blocks the deadman's loop. A larger flow is not checked. */
const MOST_BYTES = 4 * 1024 * 1024
const UUID = /^[\da-f]{8}(-[\da-f]{4}){3}-[\da-f]{12}$/
const ENDPOINT = /^[\w-]+$/
const VALIDATE_WITHIN_MS = 60_000

/** Why LangFlow would abort its start because of one of the files, in one sentence. `null`: no known reason. */
export async function faultOfFlows(paths: readonly string[]): Promise<string | null> {
  for (const path of paths) {
    if ((await stat(path)).size > MOST_BYTES) continue
    const fault = faultOfFlow(basename(path, '.json'), await readFile(path))
    if (fault !== null) return `LangFlow would not start: ${path} ${fault}`
  }
  return null
}

/** What makes LangFlow 1.13 abort, as far as it depends on the file alone. The answer contains no text of the file. */
export function faultOfFlow(stem: string, bytes: Uint8Array): string | null {
  let flow: Readonly<Record<string, unknown>> | null
  try {
    flow = JSON.parse(new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes))
  } catch {
    return 'is not JSON in UTF-8 without a byte order mark'
  }
  if (typeof flow !== 'object' || flow === null || Array.isArray(flow)) return 'is not a JSON object'
  const { name, id, endpoint_name: endpoint = null, data = null } = flow
  if (typeof name !== 'string') return 'has no "name"'
  if (!UUID.test(stem) && 'id' in flow && typeof id !== 'string') return 'has an "id" that is not text'
  if (endpoint !== null && !(typeof endpoint === 'string' && ENDPOINT.test(endpoint)))
    return 'has an "endpoint_name" with other characters than letters, digits, - and _'
  if (data === null) return null
  if (typeof data !== 'object' || Array.isArray(data)) return 'has "data" that is not a JSON object'
  const isComplete = 'nodes' in data && 'edges' in data
  return isComplete || Object.keys(data).length === 0 ? null : 'has "data" without "nodes" and "edges"'
}

/** `lfx validate`, which is part of LangFlow: a child process with a time limit, and without LangFlow's variables. */
export class FlowValidation {
  private readonly program: string
  private running = new AbortController()

  constructor(program: string) {
    this.program = program
  }

  /** Resolves to why the flows are refused, in one sentence. `null`: they are not. Rejects if it was interrupted. */
  faultOf(directory: string): Promise<string | null> {
    this.running = new AbortController()
    const { signal } = this.running
    const env = { HOME: '/tmp', DO_NOT_TRACK: 'true' }
    const options = { signal, timeout: VALIDATE_WITHIN_MS, killSignal: 'SIGKILL', env } as const
    const args = ['validate', '--format', 'json', '--dir', directory]
    const { promise, resolve, reject } = Promise.withResolvers<string | null>()
    execFile(this.program, args, options, (error, output) => {
      const [, message = 'it did not report a result'] =
        /"error".*?"message": "(.{1,200})"/s.exec(output) ?? []
      if (signal.aborted) reject(new Error('the check of the flows was interrupted'))
      else resolve(error === null ? null : `lfx validate refuses ${directory}: ${message}`)
    })
    return promise
  }

  /** Its process counts as LangFlow's where LangFlow has a PID namespace of its own, so it must not outlive an order. */
  interrupt(): void {
    this.running.abort()
  }
}

/** The `lfx` beside LangFlow's interpreter, or in its PATH. `null`: it is not installed. */
export function findLfx(command: readonly string[], env: NodeJS.ProcessEnv): string | null {
  try {
    const { interpreter } = readLangflowCommand(command, env, process.cwd())
    const beside = dirname(findProgram(interpreter[0], env))
    return findProgram('lfx', { PATH: [beside, env.PATH].join(delimiter) })
  } catch {
    return null
  }
}
