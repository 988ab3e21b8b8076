import { isCollection, isScalar, type Node, type Pair, type YAMLMap, type YAMLSeq } from 'yaml'
import { Unfit } from '../unfit.ts'

/** The offset at which the line of `at` begins. */
export function lineStart(text: string, at: number): number {
  return text.lastIndexOf('\n', at - 1) + 1
}

/** Where the next line begins after something that ends at `end`: a block scalar ends there already. */
export function nextLine(text: string, end: number): number {
  if (end > 0 && text[end - 1] === '\n') return end
  const at = text.indexOf('\n', end)
  return at < 0 ? text.length : at + 1
}

export function columnOf(text: string, at: number): number {
  return at - lineStart(text, at)
}

/** Whether nothing but indentation stands before `at` on its line. */
export function beginsLine(text: string, at: number): boolean {
  return /^ *$/.test(text.slice(lineStart(text, at), at))
}

/**
 * Where a block collection whose first entry begins its line at `at` begins when the comments above that entry are
 * counted in: a new first entry goes there, and leaves each comment with what it is about.
 */
export function aboveComments(text: string, at: number): number {
  let start = lineStart(text, at)
  while (start > 0) {
    const above = lineStart(text, start - 1)
    if (!/^\s*(#.*)?$/.test(text.slice(above, start - 1))) break
    start = above
  }
  return start
}

export function startOfPair({ key, srcToken }: Pair<Node, Node | null>): number {
  const dressed = srcToken?.start.some(({ type }) => /^(explicit-key-ind|anchor|tag)$/.test(type))
  if (dressed || !isScalar(key) || key.anchor !== undefined)
    throw new Unfit(`the key ${String(key)} is written in a rare form of YAML: write it as "key: value"`)
  return key.range![0]
}

export function endOfPair({ key, value, srcToken }: Pair<Node, Node | null>): number {
  const sep = srcToken && 'sep' in srcToken ? (srcToken.sep ?? []) : []
  const colon = sep.find(({ type }) => type === 'map-value-ind')?.offset
  const bare = colon === undefined ? key.range![1] : colon + 1
  // A value that is nothing but an anchor or a tag has no range of its own.
  const dressed = sep.findLast(({ type }) => type === 'anchor' || type === 'tag')
  const dress = dressed === undefined ? bare : dressed.offset + dressed.source.length
  return value === null || isEmpty(value) ? dress : endOf(value)
}

/** Where the last character of a node ends, without what follows it on its line. */
export function endOf(node: Node): number {
  if (!isCollection(node) || node.flow || node.items.length === 0) return node.range![1]
  const last = node.items.at(-1) as Node | Pair<Node, Node | null>
  if ('key' in last) return endOfPair(last)
  return isEmpty(last) ? dashes(node as YAMLSeq).at(-1)! + 1 : endOf(last)
}

function isEmpty(node: Node): boolean {
  return isScalar(node) && node.range![0] === node.range![1]
}

/** The offset of the dash before each item of a block sequence. */
export function dashes(seq: YAMLSeq): number[] {
  const token = seq.srcToken
  if (token?.type !== 'block-seq') return []
  return token.items.flatMap(({ start }) =>
    start.filter(({ type }) => type === 'seq-item-ind').map(({ offset }) => offset),
  )
}

/** The offset after the bracket that opens a flow collection. */
export function inside(collection: YAMLMap | YAMLSeq): number {
  return collection.range![0] + 1
}
