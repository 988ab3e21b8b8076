import { once } from 'node:events'
import { createInterface } from 'node:readline/promises'
import type { Readable, Writable } from 'node:stream'
import type { Command } from 'commander'
import { OperationError } from './exit-codes.ts'

export interface Terminal {
  readonly input: Readable
  readonly output: Writable
}

/**
 * Where a person is to be asked; `null`: `yes` says that nobody is. Ends with a usage error where there is no terminal. What is
 * asked does not go where the result goes.
 */
export function whomToAsk(command: Command, yes: boolean, { stdin, stderr } = process): Terminal | null {
  if (yes) return null
  if (stdin.isTTY && stderr.isTTY) return { input: stdin, output: stderr }
  return command.error('there is no terminal to ask on: add --yes')
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
