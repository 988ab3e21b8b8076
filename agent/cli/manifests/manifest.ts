import { FatalError } from '../../exit.ts'
import type { StreamDocument } from './manifest-stream.ts'

/** One object, as somebody wrote it. */
export interface Manifest {
  readonly value: Fields
  readonly kind: string
  readonly name: string
  /** `null`: the one that the stream is applied to. */
  readonly namespace: string | null
}

/** One object of a stream: a document, or an item of a List. */
export interface StreamManifest extends Manifest {
  readonly document: StreamDocument
  /** `null`: it is a document of its own. */
  readonly list: unknown[] | null
}

/** The objects in a document: itself, or what it lists. */
export function manifestsIn(document: StreamDocument): StreamManifest[] {
  const { value } = document
  const items = dig(value, 'kind') === 'List' ? dig(value, 'items') : null
  const list = Array.isArray(items) ? items : null
  return (list ?? [value]).filter(isFields).map((object) => ({ document, list, ...manifestOf(object) }))
}

/** An object by itself, of a stream or as the API server sends it. */
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

/** Why one object cannot be handled: a sentence whose subject is the object. */
export function unfit(manifest: Pick<Manifest, 'kind' | 'name'>, sentence: string): FatalError {
  return new FatalError(`${titleOf(manifest)}: ${sentence}`)
}

/** Manifests are what others wrote: nothing is known about a value until it was looked at. */
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

/** YAML 1.1, which kubectl reads, has more words for it than 1.2. */
export function isTrue(value: unknown): boolean {
  return value === true || /^(y|yes|on|true)$/i.test(asText(value))
}

/** What is at the end of the path; `undefined` where it leads nowhere. */
export function dig(value: unknown, ...path: readonly string[]): unknown {
  return path.reduce<unknown>((at, step) => asFields(at)[step], value)
}
