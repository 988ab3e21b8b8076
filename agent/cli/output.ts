import { stringify } from 'yaml'
import { FatalError, oneLine } from '../exit.ts'
import { OperationError } from './exit-codes.ts'

export type Format = 'table' | 'wide' | 'json' | 'yaml'

/** A table in kubectl's form: columns under their heads, two spaces apart. The cells are printable ASCII; controls are escaped. */
export function table(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const shown = [head, ...rows].map((row) => row.map(oneLine))
  const widths = head.map((_, column) => Math.max(...shown.map((row) => row[column]?.length ?? 0)))
  const lineOf = (row: readonly string[]) =>
    row.map((cell, column) => cell.padEnd(widths[column] ?? 0)).join('  ')
  return shown.map((row) => lineOf(row).trimEnd()).join('\n')
}

/** `value` in this format. `asTable` returns the text for people, which ends with a line break. */
export function formatted(format: Format, value: unknown, asTable: () => string): string {
  if (format === 'json') return `${JSON.stringify(value, null, 2)}\n`
  return format === 'yaml' ? stringify(value, { lineWidth: 0 }) : asTable()
}

/** Writes to standard output. Rejects with a `FatalError` if the reader has closed it, or the disk is full. */
export async function write(text: string): Promise<void> {
  // A failure is also emitted as an event.
  process.stdout.once('error', () => {})
  const failure = await new Promise<Error | null | undefined>((done) => process.stdout.write(text, done))
  if (failure) throw new FatalError(`cannot write to standard output: ${failure.message}`, { cause: failure })
}

/**
 * Runs a command for people. A foreseen failure is one sentence on standard error. With `-o json` or `-o yaml`, it is also
 * `{"error": {"code", "message"}}` on standard output, for scripts.
 */
export async function operating<T>(format: Format, run: () => Promise<T>): Promise<T> {
  try {
    return await run()
  } catch (error) {
    if (error instanceof FatalError) {
      const code = error instanceof OperationError ? error.code : 'failed'
      const failure = { error: { code, message: oneLine(error.message) } }
      await write(formatted(format, failure, () => ''))
    }
    throw error
  }
}
