import { FatalError } from '../../exit.ts'

/** One object, of a stream or as the API server sends it. */
export interface Manifest {
  readonly value: Fields
  readonly kind: string
  readonly name: string
  /** `null`: the namespace that the stream is applied to. */
  readonly namespace: string | null
}

export function manifestOf(value: Fields): Manifest {
  return {
    value,
    kind: asText(value.kind),
    name: asText(dig(value, 'metadata', 'name')),
    namespace: asText(dig(value, 'metadata', 'namespace')) || null,
  }
}

export function titleOf({ kind, name }: { readonly kind: string; readonly name: string }): string {
  return `${kind}/${name}`
}

/** Why an object can't be handled: a sentence whose subject is the object. */
export function unfit(manifest: Pick<Manifest, 'kind' | 'name'>, sentence: string): FatalError {
  return new FatalError(`${titleOf(manifest)}: ${sentence}`)
}

/** Manifests come from outside: the type of a value is unknown until it was looked at. */
export type Fields = Record<string, unknown>

export function isFields(value: unknown): value is Fields {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

export function asFields(value: unknown): Readonly<Fields> {
  return isFields(value) ? value : {}
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

/** The value at the end of the path; `undefined` if a step is missing. */
export function dig(value: unknown, ...path: readonly string[]): unknown {
  return path.reduce<unknown>((at, step) => asFields(at)[step], value)
}
