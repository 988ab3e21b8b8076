import { styleText } from 'node:util'
import { stringify } from 'yaml'
import { FatalError, oneLine } from '../exit.ts'
import { OperationError } from './exit-codes.ts'

export type Format = 'table' | 'wide' | 'json' | 'yaml'

type Style = 'bold' | 'green' | 'yellow' | 'red'

/** What stands in one place of a table: a word or a name of printable ASCII, each as wide as it has characters. */
export type Cell = string | readonly [Style, string]

/**
 * Columns under their heads, two spaces apart and without lines, as kubectl prints them; control characters escaped. With colours if
 * standard output is a terminal that takes them (NO_COLOR).
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

const UNITS = { d: 86_400_000, h: 3_600_000, m: 60_000, s: 1000 } as const

/** A time span in at most two units, such as `3m12s` or `2d4h`; negative ones count as none, `null` as unknown. */
export function span(ms: number | null): string {
  if (ms === null || Number.isNaN(ms)) return '-'
  const units = Object.entries(UNITS)
  const first = units.findIndex(([, size]) => ms >= size)
  if (first < 0) return '0s'
  let rest = ms
  const parts = units.slice(first, first + 2).map(([unit, size]) => {
    const count = Math.floor(rest / size)
    rest -= count * size
    return count === 0 ? '' : `${count}${unit}`
  })
  return parts.join('')
}

/** `value` in this format; `asTable`: the same for people, with a line break at its end. */
export function formatted(format: Format, value: unknown, asTable: () => string): string {
  if (format === 'json') return `${JSON.stringify(value, null, 2)}\n`
  return format === 'yaml' ? stringify(value, { lineWidth: 0 }) : asTable()
}

/** Writes on standard output. Rejects with a `FatalError` if its reader has ended. */
export function write(text: string): Promise<void> {
  return new Promise((resolve, reject) => {
    const fail = (error: Error) =>
      reject(new FatalError(`cannot write to standard output: ${error.message}`, { cause: error }))
    process.stdout.once('error', fail)
    process.stdout.write(text, (error) => {
      // A failure is also an event, after this: it must still find its listener.
      if (error) return fail(error)
      process.stdout.off('error', fail)
      resolve()
    })
  })
}

/**
 * Runs a command for people. A failure that was foreseen is one sentence on standard error in any case, and with
 * `-o json` or `-o yaml` also `{"error": {"code", "message"}}` on standard output, for scripts.
 */
export async function operating<T>(format: Format, run: () => Promise<T>): Promise<T> {
  try {
    return await run()
  } catch (error) {
    if (error instanceof FatalError) {
      const code = error instanceof OperationError ? error.code : 'failed'
      const told = { error: { code, message: oneLine(error.message) } }
      await write(formatted(format, told, () => ''))
    }
    throw error
  }
}
