import { isMap, isSeq, type Node, type YAMLMap, type YAMLSeq } from 'yaml'
import { FatalError } from '../exit.ts'
import type { StreamDocument } from './stream.ts'

/** One object of the stream: a document, or an item of a List. */
export interface Manifest {
  readonly document: StreamDocument
  /** `null`: it is a document of its own. */
  readonly list: YAMLSeq | null
  readonly node: YAMLMap
  /** What `node` says, merge keys resolved. */
  readonly value: Fields
  readonly kind: string
  readonly name: string
  /** `null`: the one that the stream is applied to. */
  readonly namespace: string | null
}

/** The objects in a document: itself, or what it lists. */
export function manifestsIn(document: StreamDocument): Manifest[] {
  const contents: Node | null = document.yaml.contents
  if (!isMap(contents)) return []
  const items = contents.get('kind') === 'List' ? contents.get('items') : null
  if (!isSeq(items)) return [manifest(document, null, contents)]
  return items.items.filter((item) => isMap(item)).map((item) => manifest(document, items, item))
}

function manifest(document: StreamDocument, list: YAMLSeq | null, node: YAMLMap): Manifest {
  const value = asFields(node.toJS(document.yaml))
  return {
    document,
    list,
    node,
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
export function unfit(manifest: Manifest, sentence: string): FatalError {
  return new FatalError(`${titleOf(manifest)}: ${sentence}`)
}

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

/** What is at the end of the path; `undefined` where it leads nowhere. */
export function dig(value: unknown, ...path: readonly string[]): unknown {
  return path.reduce<unknown>((at, step) => asFields(at)[step], value)
}
