import { readdirSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import type { Readable } from 'node:stream'
import type { Clock } from '../clock.ts'
import { killMarked } from '../processes/process-tree.ts'

/** Variable that marks all that a demo started; its value also tells the replicas apart. */
export const DEMO_MARKER = 'LANGFLOW_LEADER_DEMO'
/** Where a demo's logs are, in its directory. */
export const LOGS = 'logs'
/** Told to a keeper that shall leave the logs where they are. */
export const KEEP_LOGS = 'keep-logs'

/** How long one round of SIGKILL goes on before the next. */
const KILL_WITHIN_MS = 3_000

/**
 * Waits until `leash` ends, however the demo that holds it does, and then clears up behind it. Resolves to the exit
 * code.
 */
export async function keepWatch(
  leash: Readable,
  dir: string,
  marks: readonly string[],
  clock: Clock,
): Promise<number> {
  // What ends the demo must not end the one who clears up.
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, () => {})
  let told = ''
  leash.setEncoding('utf8')
  leash.on('data', (text: string) => {
    told += text
  })
  await new Promise((resolve) => leash.on('close', resolve))
  await clearUp(dir, marks, told.includes(KEEP_LOGS), clock)
  return 0
}

/** Ends every process that carries one of the marks, stopped ones and those in sessions of their own too. */
export async function killReplica(mark: string, clock: Clock): Promise<void> {
  const marker = { name: DEMO_MARKER, value: mark }
  while ((await killMarked(marker, KILL_WITHIN_MS, clock)).length > 0);
}

/** Ends all processes of a demo, then removes its directory, with or without the logs in it. */
export async function clearUp(
  dir: string,
  marks: readonly string[],
  keepLogs: boolean,
  clock: Clock,
): Promise<void> {
  await Promise.all(marks.map((mark) => killReplica(mark, clock)))
  const goes = keepLogs ? readdirSync(dir).filter((name) => name !== LOGS) : ['']
  for (const name of goes) rmSync(join(dir, name), { recursive: true, force: true })
}
