import { isMap, isScalar, isSeq, type Node, type YAMLSeq } from 'yaml'
import { Unfit } from '../unfit.ts'
import { withComma } from './pairs.ts'
import { aboveComments, beginsLine, columnOf, dashes, endOf, inside, lineStart, nextLine } from './places.ts'
import { renderItem } from './render.ts'
import { type Path, shown, type YamlText } from './yaml-text.ts'

/** The list at `path`, or `null` where there is none: no such key, or nothing after it. */
export function listAt(yaml: YamlText, path: Path): YAMLSeq<Node> | null {
  const node = yaml.find(path)
  if (node === undefined || (isScalar(node) && node.value === null)) return null
  if (isSeq(node)) return node as YAMLSeq<Node>
  throw new Unfit(`${shown(path)} is not a list`)
}

/** Puts items before the one at `index`, in the list's own style. */
export function insertItems(yaml: YamlText, path: Path, index: number, values: readonly unknown[]): void {
  const seq = listAt(yaml, path)
  if (seq === null) throw new Unfit(`${shown(path)} is not a list`)
  const { at, text } = insertion(yaml, seq, index, values)
  yaml.replace(at, at, text)
}

function insertion(
  { text, lineBreak }: YamlText,
  seq: YAMLSeq<Node>,
  index: number,
  values: readonly unknown[],
) {
  if (seq.flow) {
    const items = values.map((value) => renderItem(value, { flow: true, column: 0 }, lineBreak)).join(', ')
    const at = index === 0 ? inside(seq) : seq.items[index]!.range![0]
    return { at, text: seq.items.length > 0 ? `${items}, ` : items }
  }
  const dash = dashes(seq)[index]!
  const column = columnOf(text, dash)
  const indent = ' '.repeat(column)
  const items = values.map((value) => renderItem(value, { flow: false, column }, lineBreak))
  if (!beginsLine(text, dash))
    return { at: dash, text: items.map((item) => item + lineBreak + indent).join('') }
  const at = index === 0 ? aboveComments(text, dash) : lineStart(text, dash)
  return { at, text: items.map((item) => indent + item + lineBreak).join('') }
}

/** Takes out each item of the list at `path` that is meant; a list that is not there has none. */
export function removeItems(yaml: YamlText, path: Path, meant: (item: Node, index: number) => boolean): void {
  for (let i = (listAt(yaml, path)?.items.length ?? 0) - 1; i >= 0; i--) {
    const seq = listAt(yaml, path)!
    if (meant(seq.items[i]!, i)) removeItem(yaml, seq, i)
  }
}

function removeItem(yaml: YamlText, seq: YAMLSeq<Node>, index: number): void {
  const { text } = yaml
  const item = seq.items[index]!
  const marks = dashes(seq)
  const next = marks[index + 1]
  const dash = marks[index] ?? item.range![0]
  const end = endOf(item)
  if (seq.flow) yaml.replace(...withComma(text, dash, end), '')
  else if (seq.items.length === 1) yaml.replace(dash, end, '[]')
  else if (next === undefined || beginsLine(text, dash))
    yaml.replace(lineStart(text, dash), nextLine(text, end), '')
  else yaml.replace(dash, next, '')
}

/** What a list's item is called, for lists in which names tell items apart. */
export function nameOf(item: Node): unknown {
  return isMap(item) ? item.get('name') : undefined
}

export function textOf(item: Node): string | null {
  return isScalar(item) && typeof item.value === 'string' ? item.value : null
}
