import { randomUUID } from 'node:crypto'
import { delimiter, dirname } from 'node:path'
import { text } from 'node:stream/consumers'
import * as z from 'zod/mini'
import type { Clock } from '../clock.ts'
import { createProcessTree, type Exit } from '../processes/process-tree.ts'
import { findProgram, NO_REAPER, spawnCommand } from '../processes/spawn.ts'
import { readLangflowCommand } from './langflow-command.ts'

const VALIDATE_WITHIN_MS = 60_000
const KILL_WITHIN_MS = 3_000

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
 * `lfx validate`, which is part of LangFlow: a process tree of its own, without LangFlow's variables, that is killed at
 * its time limit or when `signal` aborts. Resolves to why the flows are refused, in one sentence, or to `null`.
 */
export async function validateFlows(lfx: string, clock: Clock, directory: string, signal: AbortSignal) {
  const { promise: ended, resolve: end } = Promise.withResolvers<Exit | null>()
  let output: Promise<string> | undefined
  const tree = createProcessTree({
    marker: { name: 'LANGFLOW_LEADER_CHECK', value: randomUUID() },
    clock,
    // LangFlow may run beside it.
    alone: false,
    async spawn(command, env) {
      const child = await spawnCommand(command, env, NO_REAPER, ['ignore', 'pipe', 'ignore'])
      output = child.stdout === null ? undefined : text(child.stdout)
      return child
    },
  })
  signal.addEventListener('abort', () => end(null))
  const late = clock.after(VALIDATE_WITHIN_MS, () => end(null))
  try {
    const command = [lfx, 'validate', '--format', 'json', '--dir', directory]
    await tree.start(command, { HOME: '/tmp', DO_NOT_TRACK: 'true' }, end)
    const exit = await ended
    // The output ends with the last process that could write to it.
    await tree.kill(KILL_WITHIN_MS)
    if (exit === null)
      return `lfx validate did not end within ${VALIDATE_WITHIN_MS / 1000} s for ${directory}`
    if (exit.code === 0) return null
    const [, message = 'it did not report a result'] =
      /"error".*?"message": "((?:[^"\\]|\\.){1,200})/s.exec((await output) ?? '') ?? []
    return `lfx validate refuses ${directory}: ${message}`
  } catch (error) {
    return `lfx validate of ${directory} failed: ${(error as Error).message}`
  } finally {
    late.cancel()
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
