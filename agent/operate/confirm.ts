import { once } from 'node:events'
import { createInterface } from 'node:readline/promises'
import type { Readable, Writable } from 'node:stream'
import { OperationError } from './exit-codes.ts'

export interface Terminal {
  readonly input: Readable
  readonly output: Writable
}

/** Where a person can be asked; `null`: nowhere. What is asked does not go where the result goes. */
export function terminal({ stdin, stderr }: NodeJS.Process): Terminal | null {
  return stdin.isTTY && stderr.isTTY ? { input: stdin, output: stderr } : null
}

/** Whether the answer is yes. Rejects with an `OperationError` where somebody interrupts, or says anything else. */
export async function confirm(
  { input, output }: Terminal,
  question: string,
  signal: AbortSignal,
): Promise<void> {
  // Without its own editing, Ctrl-C remains a signal.
  const lines = createInterface({ input, output, terminal: false })
  try {
    const closed = once(lines, 'close').then(() => '')
    const answer = await Promise.race([lines.question(`${question} [y/N] `, { signal }), closed])
    if (!/^\s*y(es)?\s*$/i.test(answer))
      throw new OperationError('declined', 'not confirmed: nothing was done')
  } catch (error) {
    throw signal.aborted ? new OperationError('interrupted', 'interrupted: nothing was done') : error
  } finally {
    lines.close()
  }
}
