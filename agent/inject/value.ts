/** Manifests are what others wrote: nothing is known about a value until it was looked at. */
export type Fields = Readonly<Record<string, unknown>>

export function asFields(value: unknown): Fields {
  return typeof value === 'object' && value !== null && !Array.isArray(value) ? (value as Fields) : {}
}

export function asList(value: unknown): readonly unknown[] {
  return Array.isArray(value) ? value : []
}

export function asText(value: unknown): string {
  return typeof value === 'string' ? value : ''
}

export function asNumber(value: unknown): number | null {
  return typeof value === 'number' ? value : null
}

/** YAML 1.1, which kubectl reads, has more words for it than 1.2. */
export function isTrue(value: unknown): boolean {
  return value === true || /^(y|yes|on|true)$/i.test(asText(value))
}

/** What is at the end of the path, through maps and lists; `undefined` where it leads nowhere. */
export function dig(value: unknown, ...path: readonly (string | number)[]): unknown {
  return path.reduce<unknown>(
    (at, step) => (typeof step === 'number' ? asList(at)[step] : asFields(at)[step]),
    value,
  )
}
