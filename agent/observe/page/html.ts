import { oneLine } from '../../exit.ts'

/** Markup that is safe to send: made by `html` alone, which escapes every value. */
export class Html {
  readonly text: string

  constructor(text: string) {
    this.text = text
  }
}

/** What is not shown: `null`, `false` and `''`. */
export type Value = Html | string | number | null | false | readonly Value[]

/** Every value is text, also within the quotes of an attribute, unless it is itself made by `html`. */
export function html(parts: TemplateStringsArray, ...values: readonly Value[]): Html {
  return new Html(String.raw({ raw: parts }, ...values.map(shown)))
}

function shown(value: Value): string {
  if (value === null || value === false) return ''
  if (value instanceof Html) return value.text
  if (typeof value === 'object') return value.map(shown).join('')
  // One line, control characters escaped.
  return oneLine(String(value)).replace(/[&<>"']/g, (c) => `&#${c.charCodeAt(0)};`)
}
