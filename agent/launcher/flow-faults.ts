import { execFile } from 'node:child_process'
import { delimiter, dirname } from 'node:path'
import { promisify } from 'node:util'
import * as z from 'zod/mini'
import { findProgram } from '../processes/spawn.ts'
import { readLangflowCommand } from './langflow-command.ts'

const VALIDATE_WITHIN_MS = 60_000

/** LangFlow 1.13 aborts its start if a flow is anything else, as far as it depends on the file alone. */
const Flow = z.object({
  name: z.string(),
  id: z.optional(z.string()),
  endpoint_name: z.nullish(z.string().check(z.regex(/^[\w-]+$/))),
  data: z.nullish(z.union([z.strictObject({}), z.object({ nodes: z.any(), edges: z.any() })])),
})

/** Why LangFlow would abort its start because of a flow, in one sentence without its text. `null`: no known reason. */
export function faultOfFlow(path: string, bytes: Uint8Array): string | null {
  let flow: unknown
  try {
    flow = JSON.parse(new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes))
  } catch {
    return `LangFlow would not start: ${path} is not JSON in UTF-8 without a byte order mark`
  }
  const [issue] = z.safeParse(Flow, flow).error?.issues ?? []
  if (issue === undefined) return null
  const [field] = issue.path
  const fault = field === undefined ? 'is not a JSON object' : `has no valid "${String(field)}"`
  return `LangFlow would not start: ${path} ${fault}`
}

/**
 * `lfx validate`, which is part of LangFlow: a child process with a time limit, and without LangFlow's variables. Resolves
 * to why the flows are refused, in one sentence, or to `null`. Rejects if it was interrupted.
 */
export async function validateFlows(lfx: string, directory: string, signal: AbortSignal) {
  const env = { HOME: '/tmp', DO_NOT_TRACK: 'true' }
  const options = { signal, timeout: VALIDATE_WITHIN_MS, killSignal: 'SIGKILL', env } as const
  try {
    await promisify(execFile)(lfx, ['validate', '--format', 'json', '--dir', directory], options)
    return null
  } catch (error) {
    if (signal.aborted) throw new Error('the check of the flows was interrupted')
    const { stdout = '' } = error as { stdout?: string }
    const [, message = 'it did not report a result'] =
      /"error".*?"message": "((?:[^"\\]|\\.){1,200})/s.exec(stdout) ?? []
    return `lfx validate refuses ${directory}: ${message}`
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
