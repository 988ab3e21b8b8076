import { stringify } from 'yaml'

/** Where a piece of YAML stands: in block style at a column, or in flow style, where a column means nothing. */
export interface Setting {
  readonly flow: boolean
  readonly column: number
}

/** `key: value` for that place; of several lines, all but the first with their indentation. */
export function renderPair(
  key: string,
  value: unknown,
  { flow, column }: Setting,
  lineBreak: string,
): string {
  if (flow) return `${JSON.stringify(key)}: ${JSON.stringify(value)}`
  return indented(stringify({ [key]: value }, STYLE), column, lineBreak)
}

/** The item of a list for that place, in block style with its dash. */
export function renderItem(value: unknown, { flow, column }: Setting, lineBreak: string): string {
  if (flow) return JSON.stringify(value)
  return indented(stringify([value], STYLE), column, lineBreak)
}

/** Whole documents, each but the last followed by `---`. */
export function renderDocuments(values: readonly object[], lineBreak: string): string {
  const text = values.map((value) => stringify(value, STYLE)).join('---\n')
  return text.replaceAll('\n', lineBreak)
}

const STYLE = { lineWidth: 0, aliasDuplicateObjects: false, version: '1.1' } as const

function indented(text: string, column: number, lineBreak: string): string {
  return text.trimEnd().replaceAll('\n', lineBreak + ' '.repeat(column))
}
