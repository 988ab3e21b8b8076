import { oneLine } from '../../exit.ts'

/** Markup that is safe to send. Only `html` creates it, which escapes every value. */
export class Html {
  readonly text: string

  constructor(text: string) {
    this.text = text
  }
}

/** `null`, `false` and `''` are not shown. */
export type Value = Html | string | number | null | false | readonly Value[]

/** Every value is text, also within the quotes of an attribute, unless `html` created it. */
export function html(parts: TemplateStringsArray, ...values: readonly Value[]): Html {
  return new Html(String.raw({ raw: parts }, ...values.map(shown)))
}

function shown(value: Value): string {
  if (value === null || value === false) return ''
  if (value instanceof Html) return value.text
  if (typeof value === 'object') return value.map(shown).join('')
  // Values become one line, with control characters escaped.
  return oneLine(String(value)).replace(/[&<>"']/g, (c) => `&#${c.charCodeAt(0)};`)
}
