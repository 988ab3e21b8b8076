import { createInterface } from 'node:readline'
import type { Readable, Writable } from 'node:stream'
import type { Command } from 'commander'
import { OperationError } from './exit-codes.ts'

/** Aborts on Ctrl-C, SIGTERM or a closed terminal. A second signal ends the process immediately. */
export function interruption(): { readonly signal: AbortSignal } & Disposable {
  const controller = new AbortController()
  const abort = () => controller.abort()
  const signals = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const
  for (const name of signals) process.once(name, abort)
  return {
    signal: controller.signal,
    [Symbol.dispose]: () => {
      for (const name of signals) process.off(name, abort)
    },
  }
}

export interface Terminal {
  readonly input: Readable
  readonly output: Writable
}

/**
 * The terminal for the confirmation; `null` if `--yes` skips it. Throws a usage error if there is no terminal. The question is written
 * to standard error, because standard output is for the result.
 */
export function terminalToAskOn(
  command: Command,
  yes: boolean,
  { stdin, stderr } = process,
): Terminal | null {
  if (yes) return null
  if (stdin.isTTY && stderr.isTTY) return { input: stdin, output: stderr }
  return command.error('cannot ask for confirmation without a terminal: add --yes')
}

/** Resolves if the answer is yes. Rejects with an `OperationError` after another answer and after Ctrl-C. */
export async function confirm(
  { input, output }: Terminal,
  question: string,
  signal: AbortSignal,
): Promise<void> {
  output.write(`${question} [y/N] `)
  // If readline edited the line itself, Ctrl-C would not be a signal.
  using lines = createInterface({ input, terminal: false, signal })
  const { value = '' } = await lines[Symbol.asyncIterator]().next()
  if (signal.aborted) throw new OperationError('interrupted', 'interrupted: nothing was done')
  if (!/^\s*y(es)?\s*$/i.test(value)) throw new OperationError('declined', 'not confirmed: nothing was done')
}
