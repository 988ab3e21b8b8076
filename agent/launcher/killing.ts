import { type Clock, pause } from '../clock.ts'
import type { LiveProcess, ProcessTree } from '../processes/process-tree.ts'

/** The port on which the tree serves. */
export interface ServedPort {
  readonly clock: Clock
  /** `null` where the port is free, otherwise one sentence that says who holds it. */
  readonly holder: () => Promise<string | null>
}

/** How long SIGKILL may take before what lives on counts as unstoppable. */
export const KILL_WITHIN_MS = 3_000
/** How often it is looked whether the kernel has closed a killed process's sockets. */
const PORT_CHECK_MS = 10

/**
 * SIGKILL to all of a tree; `null`: there is none, and only the port has to be free. Resolves to `null` where nothing lives
 * any more and the port is free, otherwise to one sentence that says what is left. Never rejects: what cannot be told
 * counts as left.
 */
export async function killAll(tree: ProcessTree | null, port: ServedPort): Promise<string | null> {
  try {
    const survivors = (await tree?.kill(KILL_WITHIN_MS)) ?? []
    return survivors.length === 0 ? await freed(port) : describe(survivors)
  } catch (error) {
    return (error as Error).message
  }
}

/** Whether nothing of a tree lives. What cannot be told counts as alive. */
export function isGone(tree: ProcessTree | null): boolean {
  try {
    return tree === null || tree.alive().length === 0
  } catch {
    return false
  }
}

/** The kernel closes a killed process's sockets a moment after it is gone. */
async function freed({ clock, holder: holderNow }: ServedPort): Promise<string | null> {
  const until = clock.mono() + KILL_WITHIN_MS
  for (;;) {
    const holder = await holderNow()
    if (holder === null || clock.mono() >= until) return holder
    await pause(clock, PORT_CHECK_MS)
  }
}

function describe(survivors: readonly LiveProcess[]): string {
  const names = survivors.slice(0, 5).map(({ pid, comm, state }) => `${comm} (pid ${pid}, state ${state})`)
  return `SIGKILL did not end ${names.join(', ')}`
}
