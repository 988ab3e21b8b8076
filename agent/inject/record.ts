import { isMap, isScalar, isSeq, type Node, Pair, type YAMLMap, type YAMLSeq } from 'yaml'
import * as z from 'zod/mini'
import { asFields, dig, type Manifest, unfit } from './manifest.ts'
import { nodeOf } from './stream.ts'

const PATH = z.array(z.union([z.string(), z.object({ name: z.string() })]))
/** Through maps by their keys, and to an item of a list by its `name`, since its place may change. */
export type Path = z.infer<typeof PATH>

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
const ANNOTATIONS = ['metadata', 'annotations']
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

  /** Gives the key at `place` this value. */
  set(place: Path, value: unknown): void {
    const saved = this.#put(place, value)
    this.#changes.push(saved === null ? { added: place } : { set: place, saved })
  }

  /** Takes the key at `place` out, if it is there. */
  cut(place: Path): void {
    const { map, pair } = this.#slot(place)
    if (pair === undefined) return
    const at = map.items.indexOf(pair)
    const previous = map.items[at - 1]
    map.items.splice(at, 1)
    const after = previous === undefined ? null : String(keyOf(previous))
    this.#changes.push({ cut: place, saved: this.#saved(pair), after })
  }

  /** Puts items that have names at the head of the list at `place`. */
  prepend(place: Path, items: readonly { readonly name: string }[]): void {
    const change = { items: place, names: items.map(({ name }) => name) }
    const list = this.#list(place)
    if (list === null) this.#changes.push({ ...change, made: this.#put(place, items) })
    else {
      insert(list, items)
      this.#changes.push(change)
    }
  }

  /** The same with words, for a list that is there. */
  prependWords(place: Path, words: readonly string[]): void {
    const list = this.#list(place)
    if (list === null) throw unfit(this.#manifest, `${shown(place)} is empty`)
    insert(list, words)
    this.#changes.push({ words: place, head: [...words] })
  }

  /** Writes the record into the object's annotations: the last change. */
  finish(version: string): void {
    const content: Content = { version, changes: this.#changes }
    const annotations = find(this.#manifest, ANNOTATIONS)
    if (isNothing(annotations)) content.made = this.#put(ANNOTATIONS, { [RECORD]: '' })
    this.#put([...ANNOTATIONS, RECORD], JSON.stringify(content))
    this.#manifest.document.changed = true
  }

  /** Returns what was there, or `null` where the key is new. */
  #put(place: Path, value: unknown): Saved | null {
    const slot = this.#slot(place)
    const saved = slot.pair === undefined ? null : this.#saved(slot.pair)
    fill(slot, value)
    return saved
  }

  #saved({ value }: OwnPair): Saved {
    return { value: value === null ? null : value.toJS(this.#manifest.document.yaml) }
  }

  #slot(place: Path): Slot {
    const slot = slotAt(this.#manifest, place)
    if (slot === null) throw unfit(this.#manifest, `${shown(place.slice(0, -1))} is not a map`)
    return slot
  }

  /** `null` where there is none: no such key, nothing after it, or an empty list. */
  #list(place: Path): YAMLSeq | null {
    const node = this.#slot(place).pair?.value
    if (isSeq(node)) return node.items.length > 0 ? node : null
    if (isNothing(node)) return null
    throw unfit(this.#manifest, `${shown(place)} is not a list`)
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
  else if ('items' in change) undoItems(manifest, change)
  else {
    const { words, head } = change
    const list = find(manifest, words)
    if (isSeq(list) && head.every((word, i) => list.get(i) === word)) list.items.splice(0, head.length)
  }
}

function undoItems(manifest: Manifest, { items, names, made }: Extract<Change, { items: Path }>): void {
  const list = find(manifest, items)
  if (!isSeq(list)) return
  const theirs = list.items.filter((item) => !names.includes(String(nameOf(item))))
  if (made === undefined || theirs.length > 0) list.items = theirs
  else restore(manifest, items, made)
}

/** `saved`: `null` where the key was not there. */
function restore(manifest: Manifest, place: Path, saved: Saved | null): void {
  const slot = slotAt(manifest, place)
  if (saved === null) slot?.map.delete(slot.key)
  else if (slot !== null) fill(slot, saved.value)
}

/** Unless somebody has given the map such a key again. */
function paste(manifest: Manifest, place: Path, saved: Saved, after: string | null): void {
  const slot = slotAt(manifest, place)
  if (slot === null || slot.pair !== undefined) return
  const { map, key } = slot
  const at = map.items.findIndex((pair) => keyOf(pair) === after) + 1
  map.items.splice(at, 0, new Pair(nodeOf(key), nodeOf(saved.value)))
}

type OwnPair = Pair<Node, Node | null>
type OwnMap = YAMLMap<Node, Node | null>

/** Where a value is or may be put. */
interface Slot {
  readonly map: OwnMap
  readonly key: string
  /** `undefined`: there is none yet. */
  readonly pair: OwnPair | undefined
}

/** `null` where there is no such map. Throws `FatalError` where it has the value by a merge key. */
function slotAt(manifest: Manifest, place: Path): Slot | null {
  const map = find(manifest, place.slice(0, -1)) as OwnMap | undefined
  if (!isMap(map)) return null
  const key = String(place.at(-1))
  const pair = pairOf(manifest, map, key)
  if (pair === undefined && key in asFields(map.toJS(manifest.document.yaml)))
    throw unfit(manifest, `its ${key} comes from a YAML merge key (<<): write it out`)
  return { map, key, pair }
}

function find(manifest: Manifest, path: Path): Node | undefined {
  return path.reduce<unknown>((at, step) => {
    if (typeof step === 'string') return isMap(at) ? pairOf(manifest, at as OwnMap, step)?.value : undefined
    return isSeq(at) ? at.items.find((item) => nameOf(item) === step.name) : undefined
  }, manifest.node) as Node | undefined
}

function pairOf(manifest: Manifest, map: OwnMap, key: string): OwnPair | undefined {
  const [pair, other] = map.items.filter((pair) => keyOf(pair) === key)
  if (other !== undefined) throw unfit(manifest, `the key ${key} is there twice`)
  return pair
}

/** Where a scalar takes the place of another, the comments stay. */
function fill({ map, key, pair }: Slot, value: unknown): void {
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
