import { FatalError, oneLine, print } from '../exit.ts'
import { OperationError } from './exit-codes.ts'
import { renderStream } from './manifests/manifest-stream.ts'

// The output of all commands passes through this file. A text from an object, a file or a server that contains a line break stays one
// line, and no control character of it reaches the terminal.

export type Format = 'table' | 'wide' | 'json' | 'yaml'

/** The lines of a table in kubectl's form: columns under their heads, two spaces apart. The cells are printable; controls are escaped. */
export function table(head: readonly string[], rows: readonly (readonly string[])[]): string[] {
  const shown = [head, ...rows].map((row) => row.map(oneLine))
  const widths = head.map((_, column) => Math.max(...shown.map((row) => row[column]?.length ?? 0)))
  const lineOf = (row: readonly string[]) =>
    row.map((cell, column) => cell.padEnd(widths[column] ?? 0)).join('  ')
  return shown.map((row) => lineOf(row).trimEnd())
}

/** Each element is one line of the text, with its control characters escaped. */
export function textOf(lines: readonly string[]): string {
  return lines.map((line) => `${oneLine(line)}\n`).join('')
}

/** `value` in this format. `lines` returns the text for people. */
export function formatted(format: Format, value: unknown, lines: () => readonly string[]): string {
  // An escape in JSON has the same value as its character.
  if (format === 'json') return textOf(JSON.stringify(value, null, 2).split('\n'))
  return format === 'yaml' ? renderStream([value]) : textOf(lines())
}

/** Prints lines on standard output, without waiting for their reader. */
export function printLines(...lines: readonly string[]): void {
  print(textOf(lines))
}

/** Prints a line on standard error. */
export function note(line: string): void {
  process.stderr.write(textOf([line]))
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
      await write(formatted(format, { error: { code, message: oneLine(error.message) } }, () => []))
    }
    throw error
  }
}
