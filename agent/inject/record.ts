import type { Node } from 'yaml'
import * as z from 'zod/mini'
import { insertItems, listAt, nameOf, removeItems, textOf } from './text/items.ts'
import { cutPair, pastePair, refuseMerged, type Saved, setPair, unsetPair } from './text/pairs.ts'
import { type Path, shown, type YamlText } from './text/yaml-text.ts'
import { Unfit } from './unfit.ts'

const STEP = z.union([z.string(), z.number(), z.object({ name: z.string() })])
const SAVED = z.object({ flow: z.boolean(), column: z.number(), text: z.string(), value: z.unknown() })
const CHANGE = z.union([
  /** A key that was not there. */
  z.strictObject({ added: z.array(STEP) }),
  /** A key with another value. */
  z.strictObject({ set: z.array(STEP), saved: SAVED }),
  /** A key that is gone. */
  z.strictObject({ cut: z.array(STEP), saved: SAVED, after: z.nullable(z.string()) }),
  /** Items at the head of a list, by their names; with `made`, there was no list, but that or nothing. */
  z.strictObject({ items: z.array(STEP), names: z.array(z.string()), made: z.optional(z.nullable(SAVED)) }),
  /** Words at the head of a list. */
  z.strictObject({ words: z.array(STEP), head: z.array(z.string()) }),
])
type Change = z.infer<typeof CHANGE>

/** Where an object keeps what was changed in it, and what was there before. */
export const RECORD = 'langflow-leader/injected'
const CONTENT = z.object({
  version: z.string(),
  changes: z.array(CHANGE),
  /** What was there instead of annotations, where there were none. */
  made: z.optional(z.nullable(SAVED)),
})
type Content = z.infer<typeof CONTENT>

/** Edits one object, and keeps what it takes to undo each edit, whoever made others since. */
export class Recorder {
  readonly #yaml: YamlText
  readonly #root: Path
  readonly #changes: Change[] = []

  /** `root`: where the object is in its document. */
  constructor(yaml: YamlText, root: Path) {
    this.#yaml = yaml
    this.#root = root
  }

  /** Gives the map at `path` this value for `key`. */
  set(path: Path, key: string, value: unknown): void {
    const saved = this.#put(path, key, value)
    const place = [...path, key]
    this.#changes.push(saved === null ? { added: place } : { set: place, saved })
  }

  /** Takes `key` out of the map at `path`, if it is there. */
  cut(path: Path, key: string): void {
    refuseMerged(this.#yaml, [...this.#root, ...path], key)
    const cut = cutPair(this.#yaml, [...this.#root, ...path], key)
    if (cut !== null) this.#changes.push({ cut: [...path, key], ...cut })
  }

  /** Puts items that have names at the head of the list that is `key` in the map at `path`. */
  prepend(path: Path, key: string, items: readonly { readonly name: string }[]): void {
    const change = { items: [...path, key], names: items.map(({ name }) => name) }
    if (this.#insert(path, key, items)) this.#changes.push(change)
    else this.#changes.push({ ...change, made: this.#put(path, key, items) })
  }

  /** The same with words, for a list that is there. */
  prependWords(path: Path, key: string, words: readonly string[]): void {
    if (!this.#insert(path, key, words)) throw new Unfit(`${shown([...path, key])} is empty`)
    this.#changes.push({ words: [...path, key], head: [...words] })
  }

  /** Writes the record into the object's annotations: the last edit. */
  finish(version: string): void {
    const place: Path = [...this.#root, 'metadata', 'annotations']
    const content: Content = { version, changes: this.#changes }
    if ((this.#yaml.valueBefore(place) ?? null) === null)
      content.made = this.#put(['metadata'], 'annotations', { [RECORD]: '' })
    setPair(this.#yaml, place, RECORD, JSON.stringify(content))
  }

  #put(path: Path, key: string, value: unknown): Saved | null {
    refuseMerged(this.#yaml, [...this.#root, ...path], key)
    return setPair(this.#yaml, [...this.#root, ...path], key, value)
  }

  /** Whether there was such a list to insert into. */
  #insert(path: Path, key: string, items: readonly unknown[]): boolean {
    refuseMerged(this.#yaml, [...this.#root, ...path], key)
    const place = [...this.#root, ...path, key]
    if (listAt(this.#yaml, place) === null) return false
    insertItems(this.#yaml, place, 0, items)
    return true
  }
}

/** Undoes what the record of the object at `root` tells, and removes the record. Throws `Unfit`. */
export function undo(yaml: YamlText, root: Path): void {
  const { changes, made } = readRecord(yaml, root)
  const annotations: Path = [...root, 'metadata', 'annotations']
  const others = Object.keys(Object(yaml.valueBefore(annotations))).some((name) => name !== RECORD)
  if (made === undefined || others) unsetPair(yaml, annotations, RECORD, null)
  else undoPair(yaml, annotations, made)
  for (const change of changes.toReversed()) undoChange(yaml, root, change)
}

function readRecord(yaml: YamlText, root: Path): Content {
  try {
    const text = String(yaml.valueBefore([...root, 'metadata', 'annotations', RECORD]))
    return z.parse(CONTENT, JSON.parse(text))
  } catch {
    throw new Unfit(`its annotation ${RECORD} is not as inject wrote it: take out by hand what inject added`)
  }
}

function undoChange(yaml: YamlText, root: Path, change: Change): void {
  if ('added' in change) undoPair(yaml, [...root, ...change.added], null)
  else if ('set' in change) undoPair(yaml, [...root, ...change.set], change.saved)
  else if ('items' in change) undoItems(yaml, [...root, ...change.items], change.names, change.made)
  else if ('words' in change) undoWords(yaml, [...root, ...change.words], change.head)
  else {
    const { path, key } = split([...root, ...change.cut])
    if (yaml.find(path) !== undefined) pastePair(yaml, path, key, change)
  }
}

function undoPair(yaml: YamlText, place: Path, saved: Saved | null): void {
  const { path, key } = split(place)
  if (yaml.find(path) !== undefined) unsetPair(yaml, path, key, saved)
}

function undoItems(
  yaml: YamlText,
  place: Path,
  names: readonly string[],
  made: Saved | null | undefined,
): void {
  const isOurs = (item: Node) => names.includes(String(nameOf(item)))
  if (made === undefined || !listAt(yaml, place)?.items.every(isOurs)) removeItems(yaml, place, isOurs)
  else undoPair(yaml, place, made)
}

function undoWords(yaml: YamlText, place: Path, head: readonly string[]): void {
  const words = listAt(yaml, place)?.items.map(textOf) ?? []
  if (head.every((word, i) => words[i] === word)) removeItems(yaml, place, (_, i) => i < head.length)
}

function split(place: Path): { path: Path; key: string } {
  return { path: place.slice(0, -1), key: String(place.at(-1)) }
}
