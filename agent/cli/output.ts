import { styleText } from 'node:util'
import { stringify } from 'yaml'
import { FatalError, oneLine } from '../exit.ts'
import { OperationError } from './exit-codes.ts'

export type Format = 'table' | 'wide' | 'json' | 'yaml'

type Style = 'bold' | 'green' | 'yellow' | 'red'

/** A cell of a table: a text of printable ASCII, whose width is its number of characters. */
export type Cell = string | readonly [Style, string]

/**
 * A table in kubectl's form: columns under their heads, two spaces apart, without lines. Control characters are escaped. Cells have
 * colours if standard output is a terminal that supports them and NO_COLOR is not set.
 */
export function table(head: readonly string[], rows: readonly (readonly Cell[])[]): string {
  const shown = [head, ...rows].map((row) =>
    row.map((cell) => {
      const text = oneLine(typeof cell === 'string' ? cell : cell[1])
      return { text: typeof cell === 'string' ? text : styleText(cell[0], text), width: text.length }
    }),
  )
  const widths = head.map((_, column) => Math.max(...shown.map((row) => row[column]?.width ?? 0)))
  const padded = ({ text, width }: { text: string; width: number }, column: number) =>
    text + ' '.repeat((widths[column] ?? 0) - width)
  return shown.map((row) => row.map(padded).join('  ').trimEnd()).join('\n')
}

/** `value` in this format. `asTable` returns the text for people, which ends with a line break. */
export function formatted(format: Format, value: unknown, asTable: () => string): string {
  if (format === 'json') return `${JSON.stringify(value, null, 2)}\n`
  return format === 'yaml' ? stringify(value, { lineWidth: 0 }) : asTable()
}

/** Writes to standard output. Rejects with a `FatalError` if the reader has closed it. */
export function write(text: string): Promise<void> {
  return new Promise((resolve, reject) => {
    const fail = (error: Error) =>
      reject(new FatalError(`cannot write to standard output: ${error.message}`, { cause: error }))
    process.stdout.once('error', fail)
    process.stdout.write(text, (error) => {
      // After this call, a failure is also emitted as an event, so its listener stays.
      if (error) return fail(error)
      process.stdout.off('error', fail)
      resolve()
    })
  })
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
