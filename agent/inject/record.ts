import { isMap, isScalar, isSeq, type Node, Pair, type YAMLMap, type YAMLSeq } from 'yaml'
import * as z from 'zod/mini'
import { asFields, dig, type Manifest, unfit } from './manifest.ts'
import { nodeOf } from './stream.ts'

/** Through maps by their keys, and to an item of a list by its `name`, since its place may change. */
export type Path = readonly (string | { readonly name: string })[]

const PATH = z.array(z.union([z.string(), z.object({ name: z.string() })]))
/** What was there before. */
const SAVED = z.object({ value: z.unknown() })
const CHANGE = z.union([
  /** A key that was not there. */
  z.object({ added: PATH }),
  /** A key with another value. */
  z.object({ set: PATH, saved: SAVED }),
  /** A key that is gone, and the key before it; `null`: it was the first. */
  z.object({ cut: PATH, saved: SAVED, after: z.nullable(z.string()) }),
  /** Items at the head of a list, by their names; with `made`, there was no list, but that or nothing. */
  z.object({ items: PATH, names: z.array(z.string()), made: z.optional(z.nullable(SAVED)) }),
  /** Words at the head of a list. */
  z.object({ words: PATH, head: z.array(z.string()) }),
])
type Change = z.infer<typeof CHANGE>
type Saved = z.infer<typeof SAVED>

/** Where an object keeps what was changed in it, and what was there before. */
export const RECORD = 'langflow-leader/injected'
const ANNOTATIONS = ['metadata', 'annotations'] as const
const CONTENT = z.object({
  version: z.string(),
  changes: z.array(CHANGE),
  /** What was there instead of annotations, where there were none. */
  made: z.optional(z.nullable(SAVED)),
})
type Content = z.infer<typeof CONTENT>

/** Changes one object, and keeps what it takes to undo each change, whoever makes others since. */
export class Recorder {
  readonly #manifest: Manifest
  readonly #changes: Change[] = []

  constructor(manifest: Manifest) {
    this.#manifest = manifest
  }

  /** Gives the map at `path` this value for `key`. */
  set(path: Path, key: string, value: unknown): void {
    const saved = this.#put(path, key, value)
    const place = [...path, key]
    this.#changes.push(saved === null ? { added: place } : { set: place, saved })
  }

  /** Takes `key` out of the map at `path`, if it is there. */
  cut(path: Path, key: string): void {
    const map = this.#map(path)
    const pair = ownPair(this.#manifest, map, key)
    if (pair === undefined) return
    const [at, saved] = [map.items.indexOf(pair), this.#saved(pair)]
    const previous = map.items[at - 1]
    map.items.splice(at, 1)
    this.#changes.push({ cut: [...path, key], saved, after: previous ? String(keyOf(previous)) : null })
  }

  /** Puts items that have names at the head of the list that is `key` in the map at `path`. */
  prepend(path: Path, key: string, items: readonly { readonly name: string }[]): void {
    const change = { items: [...path, key], names: items.map(({ name }) => name) }
    const list = this.#list(path, key)
    if (list === null) this.#changes.push({ ...change, made: this.#put(path, key, items) })
    else {
      insert(list, items)
      this.#changes.push(change)
    }
  }

  /** The same with words, for a list that is there. */
  prependWords(path: Path, key: string, words: readonly string[]): void {
    const list = this.#list(path, key)
    if (list === null) throw unfit(this.#manifest, `${shown([...path, key])} is empty`)
    insert(list, words)
    this.#changes.push({ words: [...path, key], head: [...words] })
  }

  /** Writes the record into the object's annotations: the last change. */
  finish(version: string): void {
    const content: Content = { version, changes: this.#changes }
    const annotations = find(this.#manifest, ANNOTATIONS)
    if (isNothing(annotations)) content.made = this.#put(['metadata'], 'annotations', { [RECORD]: '' })
    this.#put(ANNOTATIONS, RECORD, JSON.stringify(content))
    this.#manifest.document.changed = true
  }

  /** Returns what was there, or `null` where the key is new. */
  #put(path: Path, key: string, value: unknown): Saved | null {
    const map = this.#map(path)
    const pair = ownPair(this.#manifest, map, key)
    const saved = pair === undefined ? null : this.#saved(pair)
    setPair(map, pair, key, value)
    return saved
  }

  #saved({ value }: OwnPair): Saved {
    return { value: value === null ? null : value.toJS(this.#manifest.document.yaml) }
  }

  #map(path: Path): OwnMap {
    const node = find(this.#manifest, path)
    if (isMap(node)) return node as OwnMap
    throw unfit(this.#manifest, `${shown(path)} is not a map`)
  }

  /** `null` where there is none: no such key, nothing after it, or an empty list. */
  #list(path: Path, key: string): YAMLSeq | null {
    const node = ownPair(this.#manifest, this.#map(path), key)?.value
    if (isSeq(node)) return node.items.length > 0 ? node : null
    if (isNothing(node)) return null
    throw unfit(this.#manifest, `${shown([...path, key])} is not a list`)
  }
}

/** Undoes what the object's record tells, and removes the record. Throws `FatalError`. */
export function undo(manifest: Manifest): void {
  const { changes, made } = readRecord(manifest)
  const annotations = find(manifest, ANNOTATIONS)
  const others = isMap(annotations) && annotations.items.length > 1
  if (made === undefined || others) restore(manifest, [...ANNOTATIONS, RECORD], null)
  else restore(manifest, ANNOTATIONS, made)
  for (const change of changes.toReversed()) undoChange(manifest, change)
  manifest.document.changed = true
}

function readRecord(manifest: Manifest): Content {
  try {
    return z.parse(CONTENT, JSON.parse(String(dig(manifest.value, ...ANNOTATIONS, RECORD))))
  } catch {
    throw unfit(
      manifest,
      `its annotation ${RECORD} is not as inject wrote it: take out by hand what inject added`,
    )
  }
}

function undoChange(manifest: Manifest, change: Change): void {
  if ('added' in change) restore(manifest, change.added, null)
  else if ('set' in change) restore(manifest, change.set, change.saved)
  else if ('cut' in change) paste(manifest, change.cut, change.saved, change.after)
  else if ('items' in change) undoItems(manifest, change.items, change.names, change.made)
  else undoWords(manifest, change.words, change.head)
}

/** `saved`: `null` where the key was not there. */
function restore(manifest: Manifest, place: Path, saved: Saved | null): void {
  const map = find(manifest, place.slice(0, -1))
  if (!isMap(map)) return
  const key = String(place.at(-1))
  if (saved === null) map.delete(key)
  else setPair(map as OwnMap, ownPair(manifest, map as OwnMap, key), key, saved.value)
}

/** Unless somebody has given the map such a key again. */
function paste(manifest: Manifest, place: Path, saved: Saved, after: string | null): void {
  const map = find(manifest, place.slice(0, -1))
  const key = String(place.at(-1))
  if (!isMap(map) || map.has(key)) return
  const at = map.items.findIndex((pair) => keyOf(pair) === after) + 1
  map.items.splice(at, 0, new Pair(nodeOf(key), nodeOf(saved.value)))
}

function undoItems(
  manifest: Manifest,
  place: Path,
  names: readonly string[],
  made: Saved | null | undefined,
): void {
  const list = find(manifest, place)
  if (!isSeq(list)) return
  const theirs = list.items.filter((item) => !names.includes(String(nameOf(item))))
  if (made === undefined || theirs.length > 0) list.items = theirs
  else restore(manifest, place, made)
}

function undoWords(manifest: Manifest, place: Path, head: readonly string[]): void {
  const list = find(manifest, place)
  if (isSeq(list) && head.every((word, i) => list.get(i) === word)) list.items.splice(0, head.length)
}

type OwnPair = Pair<Node, Node | null>
type OwnMap = YAMLMap<Node, Node | null>

function find(manifest: Manifest, path: Path): Node | undefined {
  return path.reduce<unknown>((at, step) => {
    if (typeof step === 'string') return isMap(at) ? pairOf(manifest, at as OwnMap, step)?.value : undefined
    return isSeq(at) ? at.items.find((item) => nameOf(item) === step.name) : undefined
  }, manifest.node) as Node | undefined
}

/** The pair that the map itself has. Throws `FatalError` where it has two, or has the value by a merge key. */
function ownPair(manifest: Manifest, map: OwnMap, key: string): OwnPair | undefined {
  const pair = pairOf(manifest, map, key)
  if (pair === undefined && key in asFields(map.toJS(manifest.document.yaml)))
    throw unfit(manifest, `its ${key} comes from a YAML merge key (<<): write it out`)
  return pair
}

function pairOf(manifest: Manifest, map: OwnMap, key: string): OwnPair | undefined {
  const [pair, other] = map.items.filter((pair) => keyOf(pair) === key)
  if (other !== undefined) throw unfit(manifest, `the key ${key} is there twice`)
  return pair
}

/** Where a scalar takes the place of another, the comments stay. */
function setPair(map: OwnMap, pair: OwnPair | undefined, key: string, value: unknown): void {
  const node = nodeOf(value)
  if (pair === undefined) map.items.push(new Pair(nodeOf(key), node))
  else {
    const { comment, commentBefore } = pair.value ?? {}
    if (isScalar(pair.value) && isScalar(node)) Object.assign(node, { comment, commentBefore })
    pair.value = node
  }
}

/** Before the first item, whose comment stays its own. */
function insert(list: YAMLSeq, values: readonly unknown[]): void {
  const [first] = list.items as [Node]
  if (list.commentBefore) {
    first.commentBefore = list.commentBefore
    list.commentBefore = null
  }
  list.items.unshift(...values.map(nodeOf))
}

function keyOf({ key }: Pair): unknown {
  return isScalar(key) ? key.value : key
}

function nameOf(item: unknown): unknown {
  return isMap(item) ? item.get('name') : undefined
}

function isNothing(node: Node | null | undefined): boolean {
  return (node ?? null) === null || (isScalar(node) && node.value === null)
}

/** As people write it: spec.template.spec.containers[langflow] */
function shown(path: Path): string {
  return path
    .map((step) => (typeof step === 'object' ? `[${step.name}]` : `.${step}`))
    .join('')
    .replace(/^\./, '')
}
