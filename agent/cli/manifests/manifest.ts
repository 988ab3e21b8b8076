import type { Command } from 'commander'
import { FatalError } from '../../exit.ts'

export interface Manifest {
  readonly value: Fields
  readonly kind: string
  readonly name: string
  /** `null` for the namespace to which the stream is applied. */
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

/** An error about an object. The sentence refers to the object as "it". */
export function unfit(manifest: Pick<Manifest, 'kind' | 'name'>, sentence: string): FatalError {
  return new FatalError(`${titleOf(manifest)}: ${sentence}`)
}

/** The types of values in a manifest are unknown until they are checked. */
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

/** The values of all fields with such a name, at any depth. A list counts as its elements. */
export function fieldsNamed(value: unknown, pattern: RegExp): unknown[] {
  const found: unknown[] = []
  JSON.stringify(value, (name, one) => {
    if (pattern.test(name)) found.push(...[one].flat())
    return one
  })
  return found
}

export function addFilenames(command: Command): Command {
  const repeated = (file: string, others: readonly string[] = []) => [...others, file]
  return command.option(
    '-f, --filename <file>',
    'a file or directory with manifests, or - for standard input; repeatable',
    repeated,
  )
}
