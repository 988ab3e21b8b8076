import { isDeepStrictEqual } from 'node:util'
import {
  type Document,
  isMap,
  isScalar,
  isSeq,
  type Node,
  Pair,
  parseDocument,
  type Scalar,
  stringify,
  type Tags,
  type YAMLMap,
  type YAMLSeq,
} from 'yaml'
import { asFields, asText, dig, type Fields, isFields, unfit } from './manifest.ts'

export const READING = {
  merge: true,
  uniqueKeys: false,
  logLevel: 'error',
  // Numbers are written as they were read: kubectl takes 0644 for an octal one, as YAML 1.1 has it.
  customTags: (tags: Tags) =>
    tags.map((tag) =>
      typeof tag === 'object' && tag.collection === undefined && /:(int|float)$/.test(tag.tag)
        ? { ...tag, stringify: ({ source = '' }: Scalar) => source }
        : tag,
    ),
} as const

/** What is quoted for YAML 1.2 only, kubectl would read as something else. */
export const WRITING = { lineWidth: 0, aliasDuplicateObjects: false, version: '1.1' } as const

type OwnMap = YAMLMap<Node, Node | null>
/** The object that is changed, for whoever reads why it cannot be. */
type Title = Parameters<typeof unfit>[0]

/** Has the document say `value`. What says it already stays as it is, with its comments. Throws `FatalError`. */
export function update(yaml: Document, value: unknown): void {
  yaml.contents = updated(yaml, yaml.contents, value, { kind: '', name: '' })
}

function updated(yaml: Document, node: Node | null, value: unknown, title: Title): Node | null {
  if (isDeepStrictEqual(node?.toJS(yaml) ?? null, value)) return node
  if (isMap(node) && isFields(value)) return updatedMap(yaml, node as OwnMap, value, title)
  if (isSeq(node) && Array.isArray(value)) return updatedList(yaml, node as YAMLSeq<Node>, value, title)
  const fresh = nodeOf(value)
  if (isScalar(node) && isScalar(fresh)) {
    const { comment, commentBefore } = node
    Object.assign(fresh, { comment, commentBefore })
  }
  return fresh
}

function updatedMap(yaml: Document, map: OwnMap, value: Fields, outer: Title): OwnMap {
  const own = { kind: asText(value.kind), name: asText(dig(value, 'metadata', 'name')) }
  const title = own.kind === '' ? outer : own
  const old = asFields(map.toJS(yaml))
  for (const key of Object.keys(old).filter((key) => !(key in value))) {
    ownPair(map, key, title)
    map.delete(key)
  }
  for (const [i, key] of Object.keys(value).entries()) {
    if (!(key in old)) {
      const at = map.items.findIndex((pair) => keyOf(pair) === Object.keys(value)[i - 1]) + 1
      map.items.splice(at, 0, new Pair(nodeOf(key), nodeOf(value[key])))
    } else if (!isDeepStrictEqual(old[key], value[key])) {
      const pair = ownPair(map, key, title)
      pair.value = updated(yaml, pair.value, value[key], title)
    }
  }
  return map
}

function ownPair(map: OwnMap, key: string, title: Title): Pair<Node, Node | null> {
  const [pair, other] = map.items.filter((pair) => keyOf(pair) === key)
  if (pair === undefined) throw unfit(title, `its ${key} comes from a YAML merge key (<<): write it out`)
  if (other !== undefined) throw unfit(title, `the key ${key} is there twice`)
  return pair
}

function updatedList(yaml: Document, list: YAMLSeq<Node>, values: unknown[], title: Title): YAMLSeq<Node> {
  const left = [...list.items]
  const [first] = left
  list.items = values.map((value) => {
    const at = left.findIndex((node) => isDeepStrictEqual(identityOf(node.toJS(yaml)), identityOf(value)))
    const [node] = at < 0 ? [] : left.splice(at, 1)
    return updated(yaml, node ?? null, value, title) as Node
  })
  // A comment above the first item stays its own.
  if (first !== undefined && list.commentBefore && list.items.indexOf(first) > 0) {
    first.commentBefore = list.commentBefore
    list.commentBefore = null
  }
  return list
}

/** By what an item of a list is known again. */
function identityOf(item: unknown): unknown {
  if (!isFields(item)) return item
  const { kind, name } = item
  return { kind, name: name ?? dig(item, 'metadata', 'name'), namespace: dig(item, 'metadata', 'namespace') }
}

function nodeOf(value: unknown): Node {
  return parseDocument(stringify(value, WRITING), READING).contents as Node
}

function keyOf({ key }: Pair): unknown {
  return isScalar(key) ? key.value : key
}
