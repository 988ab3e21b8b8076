import type { Node, Pair, YAMLMap } from 'yaml'
import { Unfit } from '../unfit.ts'
import { dig } from '../value.ts'
import {
  aboveComments,
  beginsLine,
  columnOf,
  endOfPair,
  inside,
  lineStart,
  nextLine,
  startOfPair,
} from './places.ts'
import { renderPair, type Setting } from './render.ts'
import { type Path, pairOf, type YamlText } from './yaml-text.ts'

/** What an edit took away: its text, for a document that still has that shape, and its value for one that has not. */
export interface Saved extends Setting {
  readonly text: string
  readonly value: unknown
}

type AnyPair = Pair<Node, Node | null>

/** Gives the map at `path` the pair. Returns what was there instead, or `null` where the key is new. */
export function setPair(yaml: YamlText, path: Path, key: string, value: unknown): Saved | null {
  const map = yaml.map(path)
  const pair = pairOf(map, key)
  if (pair === undefined) {
    insertPair(yaml, map, key, value)
    return null
  }
  const { start, end } = extent(yaml.text, pair)
  const setting = settingOf(yaml, map, pair)
  const text = yaml.text.slice(start, end)
  yaml.replace(start, end, renderPair(key, value, setting, yaml.lineBreak))
  return { ...setting, text, value: yaml.valueBefore([...path, key]) }
}

/** Takes back `setPair`. */
export function unsetPair(yaml: YamlText, path: Path, key: string, saved: Saved | null): void {
  const map = yaml.map(path)
  const pair = pairOf(map, key)
  if (pair === undefined) {
    if (saved !== null) insertPair(yaml, map, key, saved.value)
  } else if (saved === null) removePair(yaml, map, pair)
  else {
    const { start, end } = extent(yaml.text, pair)
    const setting = settingOf(yaml, map, pair)
    const fits = sameSetting(saved, setting)
    yaml.replace(start, end, fits ? saved.text : renderPair(key, saved.value, setting, yaml.lineBreak))
  }
}

export interface Cut {
  readonly saved: Saved
  /** The key before it; `null`: it was the first. */
  readonly after: string | null
}

/** Takes the pair out of the map at `path`, with the comments above it. `null` where there is none. */
export function cutPair(yaml: YamlText, path: Path, key: string): Cut | null {
  const map = yaml.map(path)
  const pair = pairOf(map, key)
  if (pair === undefined) return null
  const pairs = map.items as AnyPair[]
  const at = pairs.indexOf(pair)
  const [previous, next] = [pairs[at - 1], pairs[at + 1]]
  const { text } = yaml
  const setting = settingOf(yaml, map, pair)
  const { start, end } = extent(text, pair)
  const [from, to] = cuttingRange(text, map, start, end, previous, next)
  const saved = { ...setting, text: text.slice(from, to), value: yaml.valueBefore([...path, key]) }
  yaml.replace(from, to, '')
  return { saved, after: previous === undefined ? null : String(dig(previous.key, 'value')) }
}

/** A pair with what separates it from the next one, or from the previous one where that is simpler. */
function cuttingRange(
  text: string,
  { flow }: YAMLMap,
  start: number,
  end: number,
  previous: AnyPair | undefined,
  next: AnyPair | undefined,
): [number, number] {
  if (next !== undefined && (flow || previous === undefined)) return [start, startOfPair(next)]
  if (previous === undefined) return [start, end]
  if (flow) return [endOfPair(previous), end]
  const from = nextLine(text, endOfPair(previous))
  const to = nextLine(text, end)
  if (from !== endOfPair(previous)) return [from, to]
  // Empty lines and indented comments that came to stand below a block scalar would become its own.
  const own = new RegExp(`^(\\s*\\n| {${columnOf(text, start) + 1},}#[^\\n]*\\n)*`).exec(text.slice(to))
  return [from, to + (own?.[0].length ?? 0)]
}

/** Takes back `cutPair`, unless somebody has given the map such a pair again. */
export function pastePair(yaml: YamlText, path: Path, key: string, cut: Cut): void {
  const map = yaml.map(path)
  if (pairOf(map, key) !== undefined) return
  const at = pastingPlace(yaml, map, cut)
  if (at === null) insertPair(yaml, map, key, cut.saved.value)
  else yaml.replace(at, at, cut.saved.text)
}

/** Where the text that was cut fits again; `null`: nowhere, the document has changed too much. */
function pastingPlace(yaml: YamlText, map: YAMLMap, { saved, after }: Cut): number | null {
  const pairs = map.items as AnyPair[]
  const [first] = pairs
  if (first === undefined || !sameSetting(saved, settingOf(yaml, map, first))) return null
  if (after === null) return startOfPair(first)
  const previous = pairOf(map, after)
  if (previous === undefined) return null
  const end = endOfPair(previous)
  if (!map.flow) return nextLine(yaml.text, end)
  if (/^\s*,/.test(saved.text)) return end
  const next = pairs[pairs.indexOf(previous) + 1]
  return next === undefined ? null : startOfPair(next)
}

function insertPair(yaml: YamlText, map: YAMLMap, key: string, value: unknown): void {
  const { at, text } = insertion(yaml, map, key, value)
  yaml.replace(at, at, text)
}

/** As the first pair, or below the one beside a dash: never at the end, whose place comments make doubtful. */
function insertion({ text, lineBreak }: YamlText, map: YAMLMap, key: string, value: unknown) {
  if (map.flow) {
    const pair = renderPair(key, value, { flow: true, column: 0 }, lineBreak)
    return { at: inside(map), text: map.items.length > 0 ? `${pair}, ` : pair }
  }
  const first = map.items[0] as AnyPair
  const start = startOfPair(first)
  const column = columnOf(text, start)
  const indent = ' '.repeat(column)
  const pair = renderPair(key, value, { flow: false, column }, lineBreak)
  const line = `${indent}${pair}${lineBreak}`
  if (beginsLine(text, start)) return { at: aboveComments(text, start), text: line }
  const end = endOfPair(first)
  const below = nextLine(text, end)
  const isOneLine = !text.slice(start, end).includes('\n') && text[below - 1] === '\n'
  return isOneLine ? { at: below, text: line } : { at: start, text: `${pair}${lineBreak}${indent}` }
}

function removePair(yaml: YamlText, map: YAMLMap, pair: AnyPair): void {
  const { text } = yaml
  const next = map.items[map.items.indexOf(pair) + 1] as AnyPair | undefined
  const { start, end } = extent(text, pair)
  if (map.flow) {
    const [from, to] = withComma(text, start, end)
    yaml.replace(from, to, '')
  } else if (map.items.length === 1) yaml.replace(start, end, '{}')
  else if (next === undefined || beginsLine(text, start))
    yaml.replace(lineStart(text, start), nextLine(text, end), '')
  else yaml.replace(start, startOfPair(next), '')
}

/** The extent of an entry of a flow collection with the comma that goes with it. */
export function withComma(text: string, start: number, end: number): [number, number] {
  const after = /^\s*, ?/.exec(text.slice(end))
  if (after !== null) return [start, end + after[0].length]
  const before = /,\s*$/.exec(text.slice(0, start))
  return [before === null ? start : before.index, end]
}

/** From the key to the end of its value, without a line break that belongs to a block scalar. */
function extent(text: string, pair: AnyPair): { start: number; end: number } {
  const start = startOfPair(pair)
  const end = endOfPair(pair)
  const content = text.slice(start, end)
  return { start, end: content.endsWith('\n') ? end - (content.endsWith('\r\n') ? 2 : 1) : end }
}

function settingOf(yaml: YamlText, map: YAMLMap, pair: AnyPair): Setting {
  return { flow: map.flow ?? false, column: map.flow ? 0 : columnOf(yaml.text, startOfPair(pair)) }
}

function sameSetting(a: Setting, b: Setting): boolean {
  return a.flow === b.flow && a.column === b.column
}

/** Throws `Unfit` where a merge key gives the map at `path` a value for `key`, which an edit could only hide. */
export function refuseMerged(yaml: YamlText, path: Path, key: string): void {
  const value = yaml.valueBefore([...path, key])
  if (value !== undefined && pairOf(yaml.map(path), key) === undefined)
    throw new Unfit(`its ${key} comes from a YAML merge key (<<): write it out`)
}
