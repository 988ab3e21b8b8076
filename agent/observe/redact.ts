const SECRET_KEY = /authorization|token|password|secret|cookie|credential|(?:api|private|client)[-_]?key/i
const SECRET_TEXT = /\b(Bearer|Basic)\s+[\w.~+/-]+=*|\beyJ[\w-]{8,}\.[\w-]+(?:\.[\w-]*)?/gi
/** What fronts trust each other by: in the Lease's annotation, and in the header of a request. */
const FRONT_KEY = /(langflow-leader[/-](?:front|hop)\W{1,8}\d{1,15} (?:\S{1,300} )?)[\w-]{22}/gi
const REDACTED = '[redacted]'
const DEEPEST = 6

/** Text without bearer tokens, basic credentials, JSON web tokens and keys of fronts. Valid JSON stays valid. */
export function redactText(text: string): string {
  return text
    .replace(SECRET_TEXT, (_, scheme: string | undefined) => (scheme ? `${scheme} ${REDACTED}` : REDACTED))
    .replace(FRONT_KEY, `$1${REDACTED}`)
}

/**
 * A plain copy for the log: no value under a key that names a secret, errors as their name, code, message and cause,
 * nothing circular or deeper than six levels. It is a second line of defence; nothing logs a secret on purpose.
 */
export function redact(value: unknown, depth = 0): unknown {
  if (typeof value === 'string') return redactText(value)
  if (typeof value === 'bigint') return value.toString()
  if (typeof value !== 'object' || value === null) return value
  if (depth >= DEEPEST) return '[...]'
  if (value instanceof Date) return value
  if (Array.isArray(value)) return value.map((one) => redact(one, depth + 1))
  const entries = value instanceof Error ? partsOf(value) : Object.entries(value)
  return Object.fromEntries(
    entries.map(([key, one]) => [key, SECRET_KEY.test(key) ? REDACTED : redact(one, depth + 1)]),
  )
}

function partsOf(error: Error): [string, unknown][] {
  const { name, message, cause } = error
  const code = 'code' in error ? error.code : undefined
  const parts: [string, unknown][] = [
    ['name', name],
    ['code', code],
    ['message', message],
    ['cause', cause],
  ]
  return parts.filter(([, part]) => part !== undefined)
}
